package wechatsim

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

const startPage = "https://platform.example.com"

// browse opens a link as a browser does, or posts a form to it.
func (r *rig) browse(path, referer string, query, form url.Values) (*http.Response, string) {
	r.t.Helper()
	method, body := http.MethodGet, io.Reader(nil)
	if form != nil {
		method, body = http.MethodPost, strings.NewReader(form.Encode())
	}
	req, err := http.NewRequest(method, r.server.URL+path+"?"+query.Encode(), body)
	r.must(err)
	req.Header.Set("Referer", referer)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	r.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	r.must(err)
	return resp, string(text)
}

func (r *rig) link() url.Values {
	return url.Values{
		"component_appid": {string(DefaultAppID)},
		"pre_auth_code":   {r.preAuthCode()},
		"redirect_uri":    {startPage + "/authorize/i1/done?a=b#c"},
		"auth_type":       {"3"},
	}
}

func TestMerchantConsentsInABrowser(t *testing.T) {
	for path := range consentPaths {
		r := newRig(t)
		link := r.link()
		resp, page := r.browse(path, startPage+"/authorize/i1", link, nil)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: got %s", path, resp.Status)
		}
		for _, want := range []string{"四季花店", "老王读书会", "巷口小面", "快递小助手", "消息管理", "message management", `value="100"`, `value="19"`, "<form method=\"post\">", "授权"} {
			if !strings.Contains(page, want) {
				t.Errorf("%s: the page has no %q", path, want)
			}
		}
		if strings.Contains(page, "src=") || strings.Contains(page, "href=") {
			t.Errorf("%s: the page needs something from elsewhere", path)
		}
		resp, page = r.browse(path, r.server.URL+path, link, url.Values{"appid": {string(SampleService)}, "set": {"1", "6"}})
		target, err := resp.Location()
		if err != nil || resp.StatusCode != http.StatusFound {
			t.Fatalf("%s: got %s %s", path, resp.Status, page)
		}
		query := target.Query()
		if target.Path != "/authorize/i1/done" || target.Fragment != "c" || query.Get("a") != "b" || query.Get("expires_in") != "3600" {
			t.Errorf("%s: redirected to %s", path, target)
		}
		if push := r.pushes()[0]; push.InfoType != "authorized" || push.AuthorizationCode != query.Get("auth_code") || push.PreAuthCode != link.Get("pre_auth_code") {
			t.Errorf("%s: got %+v, want authorized with %s", path, push, query)
		}
		r.want(0, r.exchange(query.Get("auth_code")))
		if got := fmt.Sprint(r.Granted(SampleService)); got != "[1 6]" {
			t.Errorf("%s: granted %s, want [1 6]", path, got)
		}
	}
}

func TestConsentPageRefusesABadLink(t *testing.T) {
	r := newRig(t)
	good := r.link()
	used := r.link()
	_, err := r.Consent(t.Context(), used.Get("pre_auth_code"), SampleService)
	r.must(err)
	with := func(key, value string) url.Values {
		link := url.Values{}
		for k, v := range good {
			link[k] = v
		}
		link.Set(key, value)
		return link
	}
	for name, c := range map[string]struct {
		referer string
		link    url.Values
		want    string
	}{
		"good":               {startPage, good, "四季花店"},
		"other component":    {startPage, with("component_appid", "wx1"), "component_appid"},
		"invented code":      {startPage, with("pre_auth_code", "preauthcode@@@x"), "pre_auth_code"},
		"used code":          {startPage, used, "pre_auth_code"},
		"no redirect":        {startPage, with("redirect_uri", ""), "redirect_uri"},
		"script as redirect": {startPage, with("redirect_uri", "javascript:alert(1)"), "redirect_uri"},
		"other scheme":       {startPage, with("redirect_uri", "javascript://platform.example.com/%0aalert(1)"), "redirect_uri"},
		"no referer":         {"", good, "platform.example.com"},
		"other referer":      {"https://elsewhere.example.com/page", good, "elsewhere.example.com"},
		"other port":         {startPage + ":8443", good, "platform.example.com:8443"},
		"bad auth_type":      {startPage, with("auth_type", "7"), "auth_type"},
		"channels only":      {startPage, with("auth_type", "5"), "no account of this kind"},
		"bad sets":           {startPage, with("category_id_list", "1,2"), "category_id_list"},
		"unknown biz_appid":  {startPage, with("biz_appid", "wx0000000000000000"), "biz_appid"},
	} {
		t.Run(name, func(t *testing.T) {
			_, page := r.browse("/wxaopen/safe/bindcomponent", c.referer, c.link, nil)
			if !strings.Contains(page, c.want) || strings.Contains(page, "<form") != (name == "good") {
				t.Errorf("got %s, want %q", page, c.want)
			}
		})
	}
	r.clock.advance(time.Hour)
	if _, page := r.browse("/wxaopen/safe/bindcomponent", startPage, good, nil); !strings.Contains(page, "pre_auth_code") {
		t.Errorf("got %s, want the link to have ended", page)
	}
}

func TestRefererCheckCanBeSwitchedOffAndBoundToAHost(t *testing.T) {
	r := newRig(t, func(c *Config) { c.StartPageHost = "registered.example.com" })
	link := r.link()
	if _, page := r.browse("/safe/bindcomponent", startPage, link, nil); !strings.Contains(page, "registered.example.com") {
		t.Errorf("got %s, want the registered host", page)
	}
	r.SetBehaviour(Behaviour{AnyReferer: true})
	if _, page := r.browse("/safe/bindcomponent", "", link, nil); !strings.Contains(page, "<form") {
		t.Errorf("got %s, want the form", page)
	}
}

func TestConsentPageOffersWhatTheLinkAllows(t *testing.T) {
	r := newRig(t)
	r.must(r.ChangeAccount(SampleOfficial, func(a *Account) { a.Status = 19 }))
	for name, c := range map[string]struct {
		key, value string
		has, hasNo string
	}{
		"official accounts":   {"auth_type", "1", "四季花店", "快递小助手"},
		"mini programs":       {"auth_type", "2", "快递小助手", "四季花店"},
		"one account":         {"biz_appid", string(SampleUnverified), "巷口小面", "四季花店"},
		"two sets":            {"category_id_list", "1|6", `value="6"`, `value="11"`},
		"no frozen account":   {"auth_type", "3", "四季花店", "老王读书会"},
		"an unnamed set":      {"category_id_list", "1|999", `value="1"`, `value="999"`},
		"the default is both": {"auth_type", "", "快递小助手", "老王读书会"},
	} {
		t.Run(name, func(t *testing.T) {
			link := r.link()
			link.Set(c.key, c.value)
			_, page := r.browse("/cgi-bin/componentloginpage", startPage, link, nil)
			if !strings.Contains(page, c.has) || strings.Contains(page, c.hasNo) {
				t.Errorf("got %s, want %q and not %q", page, c.has, c.hasNo)
			}
		})
	}
}

func TestConsentFormTakesOnlyWhatWasOffered(t *testing.T) {
	r := newRig(t)
	link := r.link()
	link.Set("biz_appid", string(SampleService))
	link.Set("category_id_list", "1|6")
	for name, form := range map[string]url.Values{
		"another account": {"appid": {string(SampleOfficial)}, "set": {"1"}},
		"another set":     {"appid": {string(SampleService)}, "set": {"11"}},
		"no set":          {"appid": {string(SampleService)}},
	} {
		if resp, _ := r.browse("/cgi-bin/componentloginpage", "", link, form); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: got %s, want an error page", name, resp.Status)
		}
	}
	if got := r.Granted(SampleService); got != nil {
		t.Errorf("granted %v, want nothing", got)
	}
}

func TestConsentPageEscapesNames(t *testing.T) {
	r := newRig(t)
	r.must(r.ChangeAccount(SampleService, func(a *Account) { a.NickName = `<script>alert("花")</script>` }))
	if _, page := r.browse("/cgi-bin/componentloginpage", startPage, r.link(), nil); strings.Contains(page, "<script>") {
		t.Errorf("got %s, want the name escaped", page)
	}
	if _, page := r.browse("/cgi-bin/componentloginpage", "https://<script>x", r.link(), nil); strings.Contains(page, "<script>") {
		t.Errorf("got %s, want the referer escaped", page)
	}
}

func TestRedirectKeepsQueryAndFragment(t *testing.T) {
	redirect := Redirect{AuthCode: "queryauthcode@@@x", ExpiresIn: 3600}
	for target, want := range map[string]string{
		"https://a/b":       "https://a/b?auth_code=queryauthcode%40%40%40x&expires_in=3600",
		"https://a/b?c=d":   "https://a/b?c=d&auth_code=queryauthcode%40%40%40x&expires_in=3600",
		"https://a/b?c=d#e": "https://a/b?c=d&auth_code=queryauthcode%40%40%40x&expires_in=3600#e",
	} {
		if got := redirect.AppendTo(target); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestInactiveAccountCannotConsent(t *testing.T) {
	r := newRig(t)
	r.must(r.ChangeAccount(SampleService, func(a *Account) { a.Status = 16 }))
	code := r.preAuthCode()
	if _, err := r.Consent(t.Context(), code, SampleService); err != ErrInactive {
		t.Errorf("got %v, want ErrInactive", err)
	}
	if _, err := r.Consent(t.Context(), code, "wx0000000000000000"); err != ErrUnknownAccount {
		t.Errorf("got %v, want ErrUnknownAccount", err)
	}
	if _, err := r.Consent(t.Context(), code, SampleOfficial); err != nil {
		t.Errorf("got %v: a failed consent must not use the code up", err)
	}
}
