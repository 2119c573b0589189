package wechatsim

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"wxplatform/wechat"
)

func TestComponentTokenChecksItsCaller(t *testing.T) {
	r := newRig(t)
	with := func(key string, value any) object {
		b := r.credentials()
		b[key] = value
		return b
	}
	for name, c := range map[string]struct {
		body any
		code int
	}{
		"good":                {r.credentials(), 0},
		"not JSON":            {"{", 47001},
		"number for a text":   {with("component_appid", 1), 47001},
		"empty":               {"", 44002},
		"no appid":            {with("component_appid", ""), 41018},
		"malformed appid":     {with("component_appid", "gh_1"), 40013},
		"foreign appid":       {with("component_appid", SampleService), 61011},
		"no secret":           {with("component_appsecret", ""), 41004},
		"wrong secret":        {with("component_appsecret", "x"), 40125},
		"the other page's":    {with("component_appsecret", nil), 41004},
		"invented ticket":     {with("component_verify_ticket", "ticket@@@x"), 61006},
		"an access token":     {with("component_verify_ticket", r.authorized(SampleService)), 61006},
		"a get, not a post":   {nil, 43002},
		"a wrong secret name": {object{"component_appid": DefaultAppID, "component_secret": DefaultSecret}, 41004},
	} {
		t.Run(name, func(t *testing.T) {
			(&rig{Sim: r.Sim, t: t, server: r.server}).want(c.code, r.do(componentTokenPath, nil, c.body))
		})
	}
}

func TestTicketExpiresAfterTwelveHours(t *testing.T) {
	r := newRig(t)
	old := r.credentials()
	r.clock.advance(11 * time.Hour)
	r.want(0, r.do(componentTokenPath, nil, old))
	r.clock.advance(2 * time.Hour)
	r.want(61005, r.do(componentTokenPath, nil, old))
	r.want(0, r.do(componentTokenPath, nil, r.credentials()))
}

func TestStartPushTicketPushesOne(t *testing.T) {
	r := newRig(t)
	r.StopTickets()
	body := object{"component_appid": DefaultAppID, "component_secret": DefaultSecret}
	const path = "/cgi-bin/component/api_start_push_ticket"
	for _, want := range []string{"ok", "in a normal state"} {
		answer := r.do(path, nil, body)
		if r.want(0, answer); answer["errmsg"] != want {
			t.Errorf("got %v, want %s", answer, want)
		}
		got := r.pushes()
		if len(got) != 1 || got[0].InfoType != "component_verify_ticket" || got[0].ComponentVerifyTicket != r.Ticket() || got[0].AppId != string(DefaultAppID) {
			t.Errorf("got %+v, want one ticket", got)
		}
	}
	r.want(41004, r.do(path, nil, object{"component_appid": DefaultAppID, "component_appsecret": DefaultSecret}))
}

func TestTokensHaveTheFormatsOfTheWild(t *testing.T) {
	r := newRig(t)
	r.authorized(SampleService)
	preAuth := r.text(r.component("api_create_preauthcode", object{"component_appid": DefaultAppID}), "pre_auth_code")
	redirect, err := r.Consent(t.Context(), preAuth, SampleOfficial)
	r.must(err)
	for text, format := range map[string]string{
		r.Ticket():                       `^ticket@@@[A-Za-z0-9_-]+$`,
		preAuth:                          `^preauthcode@@@[A-Za-z0-9_-]{86}$`,
		redirect.AuthCode:                `^queryauthcode@@@[A-Za-z0-9_-]{86}$`,
		r.RefreshToken(SampleService):    `^refreshtoken@@@[A-Za-z0-9_-]{43}$`,
		r.LastComponentToken():           `^\d\d_[A-Za-z0-9_-]{133,154}$`,
		r.LastAccessToken(SampleService): `^\d\d_[A-Za-z0-9_-]{133,154}$`,
	} {
		if !regexp.MustCompile(format).MatchString(text) {
			t.Errorf("%q does not match %s", text, format)
		}
	}
}

func TestReplacedTokensOverlapAndThenDie(t *testing.T) {
	r := newRig(t)
	info := object{"component_appid": DefaultAppID, "authorizer_appid": SampleService}
	first := r.componentToken()
	r.authorized(SampleService)
	ask := func(token string) object {
		return r.do("/cgi-bin/component/api_get_authorizer_info", url.Values{"access_token": {token}}, info)
	}
	second := r.componentToken()
	r.want(0, ask(first))
	r.clock.advance(299 * time.Second)
	r.want(0, ask(first))
	r.clock.advance(time.Second)
	r.want(40001, ask(first))
	r.want(0, ask(second))
	r.clock.advance(2 * time.Hour)
	r.want(42001, ask(second))
	r.want(40001, ask(second+"x"))
	r.want(41001, ask(""))
}

func TestAccessTokensOverlapAndTheLastOneWins(t *testing.T) {
	r := newRig(t)
	tokens := []string{r.authorized(SampleService), r.refresh(SampleService), r.refresh(SampleService)}
	ask := func(token string) object {
		return r.do("/customservice/kfsession/getwaitcase", url.Values{"access_token": {token}}, nil)
	}
	for _, token := range tokens {
		r.want(0, ask(token))
	}
	if got := r.LastAccessToken(SampleService); got != tokens[2] {
		t.Errorf("got %q, want the last one", got)
	}
	r.clock.advance(300 * time.Second)
	r.want(40001, ask(tokens[0]))
	r.want(40001, ask(tokens[1]))
	r.want(0, ask(tokens[2]))
	r.clock.advance(2 * time.Hour)
	r.want(42001, ask(tokens[2]))
	r.componentToken()
	if r.Works(tokens[2]) || !r.Works(r.refresh(SampleService)) {
		t.Error("Works does not say what the API says")
	}
}

func TestTokensOfTheWrongKind(t *testing.T) {
	r := newRig(t)
	access := r.authorized(SampleService)
	r.want(61014, r.do("/cgi-bin/component/api_create_preauthcode", url.Values{"component_access_token": {access}}, object{"component_appid": DefaultAppID}))
	wait := func() object {
		return r.do("/customservice/kfsession/getwaitcase", url.Values{"access_token": {r.LastComponentToken()}}, nil)
	}
	r.want(48001, wait())
	r.SetBehaviour(Behaviour{Code61015: true})
	r.want(61015, wait())
}

func TestRejectedTokenIsRefusedUntilItIsReplaced(t *testing.T) {
	r := newRig(t)
	token := r.authorized(SampleService)
	r.must(r.Reject(SampleService))
	r.want(40001, r.do("/customservice/kfsession/getwaitcase", url.Values{"access_token": {token}}, nil))
	token = r.refresh(SampleService)
	r.want(0, r.do("/customservice/kfsession/getwaitcase", url.Values{"access_token": {token}}, nil))
	r.must(r.Reject(DefaultAppID))
	r.want(40001, r.component("api_create_preauthcode", object{"component_appid": DefaultAppID}))
	r.componentToken()
	r.want(0, r.component("api_create_preauthcode", object{"component_appid": DefaultAppID}))
}

func TestCallsFromElsewhereAreRefused(t *testing.T) {
	r := newRig(t, func(c *Config) { c.AllowedIPs = []string{"10.0.0.1"} })
	answer := r.do(componentTokenPath, nil, r.credentials())
	r.want(61004, answer)
	if text := r.text(answer, "errmsg"); !strings.Contains(text, "requestIP: 127.0.0.1") {
		t.Errorf("got %q, want the address", text)
	}
	r.SetAllowedIPs("10.0.0.1", "127.0.0.1")
	r.want(0, r.do(componentTokenPath, nil, r.credentials()))
	r.SetAllowedIPs("10.0.0.1")
	r.want(61004, r.component("api_create_preauthcode", object{"component_appid": DefaultAppID}))
}

func TestAnswersCarryWeChatsClock(t *testing.T) {
	r := newRig(t)
	resp, _ := r.raw(componentTokenPath, nil, r.credentials())
	if got, want := resp.Header.Get("Date"), r.clock.Now().Format(http.TimeFormat); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestReadingCallsAnswerWithoutAnErrcode(t *testing.T) {
	r := newRig(t)
	r.authorized(SampleService)
	for _, name := range []string{"api_get_authorizer_info", "api_get_authorizer_list", "api_authorizer_token", "api_create_preauthcode"} {
		body := r.refreshBody(SampleService)
		body["count"] = 10
		if _, has := r.component(name, body)["errcode"]; has {
			t.Errorf("%s has an errcode", name)
		}
	}
}

func TestUnknownPathIsRefused(t *testing.T) {
	r := newRig(t)
	r.want(40066, r.do("/cgi-bin/nothing", nil, nil))
}

func TestSecretAndEnvelopeCanBeReset(t *testing.T) {
	r := newRig(t)
	r.SetSecret("another")
	r.want(40125, r.do(componentTokenPath, nil, r.credentials()))
	const otherKey = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
	r.must(r.SetEnvelope("othertoken", otherKey))
	var err error
	r.inbox.envelope, err = wechat.NewEnvelope(DefaultAppID, []string{"othertoken"}, []string{otherKey})
	r.must(err)
	r.PushTicket()
	if got := r.pushes(); len(got) != 1 {
		t.Errorf("got %d pushes under the new key, want 1", len(got))
	}
}

func TestSameSeedMintsTheSame(t *testing.T) {
	one, other := newRig(t), newRig(t)
	if a, b := one.authorized(SampleService), other.authorized(SampleService); a != b {
		t.Errorf("got %q and %q, want the same", a, b)
	}
	foreign := newRig(t, func(c *Config) { c.Seed = 8 })
	foreign.authorized(SampleService)
	if foreign.Works(one.LastAccessToken(SampleService)) {
		t.Error("a token of another seed works")
	}
}
