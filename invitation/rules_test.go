package invitation

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"wxplatform/component"
	"wxplatform/internal/seal"
	"wxplatform/internal/strict"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

const (
	shop  = wechat.AppID("wx00000000000000aa")
	other = wechat.AppID("wx00000000000000bb")
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestAPendingInvitationExpiresWithTime(t *testing.T) {
	for _, c := range []struct {
		stored Status
		now    time.Time
		want   Status
	}{
		{Pending, noon.Add(-time.Millisecond), Pending},
		{Pending, noon, Expired},
		{Pending, noon.Add(time.Hour), Expired},
		{Authorized, noon.Add(time.Hour), Authorized},
		{NotBound, noon.Add(time.Hour), NotBound},
		{Cancelled, noon.Add(time.Hour), Cancelled},
	} {
		if got := (Invitation{Status: c.stored, Expires: noon}).at(c.now).Status; got != c.want {
			t.Errorf("%s at %v: got %s, want %s", c.stored, c.now, got, c.want)
		}
	}
}

func TestWhichRequestsAreAccepted(t *testing.T) {
	owner := tenant.Tenant{Redirects: []string{"https://shop.example.com/done", "https://shop.example.com/?a=1"}}
	good := Request{RedirectURL: "https://shop.example.com/done", Kind: PC}
	for name, c := range map[string]struct {
		change func(*Request)
		field  string // of the fault, "" for none
	}{
		"the least":                 {func(*Request) {}, ""},
		"the other redirect":        {func(r *Request) { r.RedirectURL = "https://shop.example.com/?a=1" }, ""},
		"no redirect":               {func(r *Request) { r.RedirectURL = "" }, "redirect_url"},
		"a redirect not registered": {func(r *Request) { r.RedirectURL = "https://shop.example.com/done/" }, "redirect_url"},
		"a redirect with a query":   {func(r *Request) { r.RedirectURL = "https://shop.example.com/done?x" }, "redirect_url"},
		"a redirect without TLS":    {func(r *Request) { r.RedirectURL = "http://shop.example.com/done" }, "redirect_url"},
		"another tenant's redirect": {func(r *Request) { r.RedirectURL = "https://other.example.com/" }, "redirect_url"},
		"a redirect in capitals":    {func(r *Request) { r.RedirectURL = "https://SHOP.example.com/done" }, "redirect_url"},
		"for a phone":               {func(r *Request) { r.Kind = Mobile }, ""},
		"no kind":                   {func(r *Request) { r.Kind = "" }, "kind"},
		"another kind":              {func(r *Request) { r.Kind = "PC" }, "kind"},
		"a long state":              {func(r *Request) { r.State = strings.Repeat("语", 128) }, ""},
		"too long a state":          {func(r *Request) { r.State = strings.Repeat("x", 129) }, "state"},
		"a state SQL cannot store":  {func(r *Request) { r.State = "a\x00b" }, "state"},
		"permission sets":           {func(r *Request) { r.PermissionSets = wechat.PermissionSets{1, 100} }, ""},
		"a set that cannot be":      {func(r *Request) { r.PermissionSets = wechat.PermissionSets{1, 0} }, "permission_sets"},
		"a negative set":            {func(r *Request) { r.PermissionSets = wechat.PermissionSets{-1} }, "permission_sets"},
		"too many sets":             {func(r *Request) { r.PermissionSets = make(wechat.PermissionSets, 101) }, "permission_sets"},
		"a minute":                  {func(r *Request) { r.ExpiresIn = 60 }, ""},
		"less than a minute":        {func(r *Request) { r.ExpiresIn = 59 }, "expires_in"},
		"thirty days":               {func(r *Request) { r.ExpiresIn = 30 * 86400 }, ""},
		"more than thirty days":     {func(r *Request) { r.ExpiresIn = 30*86400 + 1 }, "expires_in"},
		"a negative time":           {func(r *Request) { r.ExpiresIn = -1 }, "expires_in"},
	} {
		r := good
		c.change(&r)
		err := r.check(owner)
		fault := (*strict.Fault)(nil)
		if errors.As(err, &fault) != (c.field != "") || fault != nil && fault.Field != c.field || c.field == "" && err != nil {
			t.Errorf("%s: got %v, want a fault in %q", name, err, c.field)
		}
	}
}

func TestAnInvitationLastsAWeekUnlessTold(t *testing.T) {
	for seconds, want := range map[int64]time.Duration{0: 7 * 24 * time.Hour, 60: time.Minute, 86400: 24 * time.Hour} {
		if got := (Request{ExpiresIn: seconds}).lifetime(); got != want {
			t.Errorf("%d: got %v, want %v", seconds, got, want)
		}
	}
}

func TestWhatAnInvitationBinds(t *testing.T) {
	for name, c := range map[string]struct {
		Invitation
		id   wechat.AppID
		want tenant.ID
	}{
		"any account":                     {Invitation{Tenant: "t1", Status: Pending}, shop, "t1"},
		"the invited account":             {Invitation{Tenant: "t1", Status: Pending, AppID: shop}, shop, "t1"},
		"another account":                 {Invitation{Tenant: "t1", Status: Pending, AppID: shop}, other, ""},
		"after it was used":               {Invitation{Tenant: "t1", Status: Authorized, Bound: shop}, shop, ""},
		"after it was cancelled":          {Invitation{Tenant: "t1", Status: Cancelled}, shop, ""},
		"after it expired":                {Invitation{Tenant: "t1", Status: Expired}, shop, ""},
		"after another tenant's was used": {Invitation{Tenant: "t1", Status: NotBound}, shop, ""},
		"no invitation":                   {Invitation{}, shop, ""},
	} {
		if got := c.inviter(c.id); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestWhatABrowserIsTold(t *testing.T) {
	pending := Invitation{hash: "h", Tenant: "t1", Status: Pending}
	with := func(status Status, invited wechat.AppID) Invitation {
		return Invitation{hash: "h", Tenant: "t1", Status: status, AppID: invited}
	}
	for name, c := range map[string]struct {
		Invitation
		bound tenant.ID
		want  Status
	}{
		"bound to its tenant":                       {pending, "t1", Authorized},
		"bound to nobody":                           {pending, "", NotBound},
		"bound to another tenant":                   {pending, "t2", NotBound},
		"the invited account":                       {with(Pending, shop), "t1", Authorized},
		"another account of the tenant":             {with(Pending, other), "t1", NotBound},
		"used before, and bound":                    {with(Authorized, ""), "t1", Authorized},
		"used before for another tenant's":          {with(Authorized, ""), "t2", NotBound},
		"cancelled, and not bound":                  {with(Cancelled, ""), "", Cancelled},
		"cancelled, but bound by another one":       {with(Cancelled, ""), "t1", Authorized},
		"expired, and not bound":                    {with(Expired, ""), "t2", Expired},
		"cancelled, another account of the tenant":  {with(Cancelled, other), "t1", Cancelled},
		"no invitation, whatever it is bound to":    {Invitation{}, "t1", ""},
		"no invitation, and it is bound to nobody":  {Invitation{}, "", ""},
		"an ended one, and the account is nobody's": {with(NotBound, ""), "", NotBound},
	} {
		if got := c.result(shop, c.bound); got != (Result{AppID: shop, Status: c.want}) {
			t.Errorf("%s: got %+v, want %q", name, got, c.want)
		}
	}
}

func TestWhereTheBrowserIsSent(t *testing.T) {
	id := seal.NewSecret("ID")
	for name, c := range map[string]struct {
		redirect, state string
		Result
		want string
	}{
		"authorized": {"https://a.example/done", "s1", Result{AppID: shop, Status: Authorized},
			"https://a.example/done?appid=" + string(shop) + "&invitation=ID&result=authorized&state=s1"},
		"not bound": {"https://a.example/done", "", Result{AppID: shop, Status: NotBound},
			"https://a.example/done?invitation=ID&result=not-bound&state="},
		"cancelled": {"https://a.example/done", "", Result{AppID: shop, Status: Cancelled},
			"https://a.example/done?invitation=ID&result=cancelled&state="},
		"with a query of its own": {"https://a.example/?x=%41&x=b", "a&b=c", Result{AppID: shop, Status: Expired},
			"https://a.example/?x=%41&x=b&invitation=ID&result=expired&state=a%26b%3Dc"},
		"on a port": {"http://127.0.0.1:8080/x", "", Result{AppID: shop, Status: Expired},
			"http://127.0.0.1:8080/x?invitation=ID&result=expired&state="},
	} {
		got, err := Invitation{RedirectURL: c.redirect, State: c.state}.target(id, c.Result)
		if err != nil || got != c.want {
			t.Errorf("%s: got %s, %v, want %s", name, got, err, c.want)
		}
	}
}

func TestWhoMayExchangeACode(t *testing.T) {
	held, over := noon.Add(time.Second), noon
	ahead := noon.Add(exchangeLease + time.Millisecond) // given before the clock was set back
	authorized := Result{AppID: shop, Status: Authorized}
	for name, c := range map[string]struct {
		codeRecord
		invitation time.Time // its lease
		want       claim
	}{
		"a new code":                          {codeRecord{}, time.Time{}, claim{fresh: true, sent: noon}},
		"one that was sent before":            {codeRecord{sent: noon.Add(-time.Minute)}, time.Time{}, claim{sent: noon}},
		"one that is being exchanged":         {codeRecord{sent: noon, lease: held}, time.Time{}, claim{busy: true}},
		"one whose lease is over":             {codeRecord{sent: noon, lease: over}, over, claim{sent: noon}},
		"one whose lease ends too late":       {codeRecord{sent: noon, lease: ahead}, ahead, claim{sent: noon}},
		"another of the invitation's is":      {codeRecord{}, held, claim{busy: true}},
		"at the last moment of a lease":       {codeRecord{lease: noon.Add(exchangeLease)}, time.Time{}, claim{busy: true}},
		"one with a result":                   {codeRecord{sent: noon, done: true, result: authorized}, time.Time{}, claim{result: &authorized, sent: noon}},
		"one with a result, while it is held": {codeRecord{sent: noon, done: true, lease: held, result: authorized}, held, claim{result: &authorized, sent: noon}},
		"one that WeChat did not know":        {codeRecord{sent: noon, done: true}, time.Time{}, claim{result: &Result{}, sent: noon}},
	} {
		got := c.claim(Invitation{lease: c.invitation}, noon)
		same := (got.result == nil) == (c.want.result == nil) && (got.result == nil || *got.result == *c.want.result)
		if !same || got.busy != c.want.busy || got.fresh != c.want.fresh || !got.sent.Equal(c.want.sent) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestOnlyTwoDifferentAccountsContradict(t *testing.T) {
	for _, c := range []struct {
		event, answer wechat.AppID
		want          bool
	}{
		{shop, shop, false}, {shop, other, true}, {"", other, false}, {shop, "", false}, {"", "", false},
	} {
		if got := (Result{AppID: c.answer}).contradicts(source{appid: c.event}); got != c.want {
			t.Errorf("event %q, answer %q: got %v, want %v", c.event, c.answer, got, c.want)
		}
	}
}

func TestTheConsentPageAsksForWhatWasInvited(t *testing.T) {
	s := &Service{component: &component.Component{AppID: "wx0123456789abcdef"}}
	const done = "https://wx.example.com/authorize/ID/done"
	for name, c := range map[string]struct {
		Invitation
		page string // without query
		want url.Values
	}{
		"any account, from a computer": {Invitation{Kind: PC}, "https://mp.weixin.qq.com/cgi-bin/componentloginpage",
			url.Values{"auth_type": {"3"}}},
		"one account, with permission sets": {Invitation{Kind: PC, AppID: shop, PermissionSets: wechat.PermissionSets{1, 100}},
			"https://mp.weixin.qq.com/cgi-bin/componentloginpage",
			url.Values{"biz_appid": {string(shop)}, "category_id_list": {"1|100"}}},
		"on a phone": {Invitation{Kind: Mobile}, "https://open.weixin.qq.com/wxaopen/safe/bindcomponent",
			url.Values{"auth_type": {"3"}, "action": {"bindcomponent"}, "no_scan": {"1"}}},
	} {
		u, err := url.Parse(s.consent(c.Invitation, seal.NewSecret("CODE"), done))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"component_appid": "wx0123456789abcdef", "pre_auth_code": "CODE", "redirect_uri": done} {
			c.want.Set(name, value)
		}
		if got := u.Scheme + "://" + u.Host + u.Path; got != c.page || u.Query().Encode() != c.want.Encode() {
			t.Errorf("%s: got %s, want %s?%s", name, u, c.page, c.want.Encode())
		}
		if want := map[Kind]string{Mobile: "wechat_redirect"}[c.Kind]; u.Fragment != want {
			t.Errorf("%s: got the fragment %q, want %q", name, u.Fragment, want)
		}
	}
}

func TestEachStatusHasItsPage(t *testing.T) {
	for status, want := range map[Status]page{Authorized: pageUsed, NotBound: pageEnded, Cancelled: pageEnded, Expired: pageEnded} {
		if got := (Invitation{Status: status}).ended(); got != want {
			t.Errorf("%s: got %q, want %q", status, got.TitleEN, want.TitleEN)
		}
	}
	v := visit{tenant: "Tea House", consent: "https://consent.example/"}
	for kind, note := range map[Kind]string{PC: notePC, Mobile: noteMobile} {
		got := Invitation{Kind: kind, AppID: shop}.invited(v)
		if got.Tenant != "Tea House" || got.Account != shop || got.Button != v.consent || got.Note != note {
			t.Errorf("%s: got %+v, want the tenant, the account, the consent page and the note for it", kind, got)
		}
	}
}
