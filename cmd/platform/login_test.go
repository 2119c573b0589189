package main

import (
	"bytes"
	"net/url"
	"strings"
	"testing"

	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

const (
	miniProgram     = wechatsim.SampleMiniProgram
	miniLoginPath   = "/sns/component/jscode2session"
	webLoginPath    = "/sns/oauth2/component/access_token"
	userRefreshPath = "/sns/oauth2/component/refresh_token"
)

// loginCode is what a mini program or a web page gets when the sample customer logs in.
func (w *world) loginCode(id wechat.AppID, scope string) string {
	w.t.Helper()
	code, err := w.sim.LogIn(id, customer, scope)
	w.must(code, err)
	return code
}

// logsIn calls one of the two calls with a code as SDKs do.
func (w *world) logsIn(path string, id wechat.AppID, code string) reply {
	w.t.Helper()
	query := url.Values{"appid": {string(id)}, "secret": {w.clientSecret()}, "js_code": {code}, "code": {code}, "grant_type": {"authorization_code"}}
	return w.raw("GET", path+"?"+query.Encode(), nil, "")
}

// about asks for the sample customer with a user's token, as SDKs do.
func (w *world) about(path, token string) reply {
	w.t.Helper()
	return w.raw("GET", path+"?"+url.Values{"access_token": {token}, "openid": {string(customer)}, "lang": {"zh_CN"}}.Encode(), nil, "")
}

func (w *world) renewed(id wechat.AppID, token string) reply {
	w.t.Helper()
	return w.raw("GET", "/sns/oauth2/refresh_token?"+url.Values{"appid": {string(id)}, "grant_type": {"refresh_token"}, "refresh_token": {token}}.Encode(), nil, "")
}

func TestAnSDKLogsAUserInToAMiniProgram(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(miniProgram, "18")
	code := w.loginCode(miniProgram, "")
	answer := w.logsIn("/sns/jscode2session", miniProgram, code)
	w.speaksWeChat("login", answer)
	if answer.field("openid") != string(customer) || answer.field("unionid") == "" || len(answer.field("session_key")) != 24 || answer.field("errcode") != "" {
		t.Errorf("got %s, want the customer and a session key", answer.body)
	}
	w.refusedByWeChat("the code again", w.logsIn("/sns/jscode2session", miniProgram, code), "40163")
	w.refusedByWeChat("another code", w.logsIn("//sns/jscode2session/", miniProgram, "invented"), "40029")
	w.refusedSDK("a missing code", w.logsIn("/sns/jscode2session", miniProgram, ""), "41008")
	native := w.ask("GET", "/v1/authorizers/"+string(miniProgram)+"/sns/jscode2session?js_code="+w.loginCode(miniProgram, ""), "")
	if native.status != 200 || native.field("openid") != string(customer) || len(native.field("session_key")) != 24 {
		t.Errorf("native: got %d %s, want the same", native.status, native.body)
	}
}

// refusedByWeChat fails unless the answer is WeChat's own, with its own request id.
func (w *world) refusedByWeChat(what string, answer reply, code string) {
	w.t.Helper()
	w.speaksWeChat(what, answer)
	if answer.field("errcode") != code || strings.Contains(answer.field("errmsg"), answer.header.Get("Request-Id")) {
		w.t.Errorf("%s: got %s, want WeChat's %s", what, answer.body, code)
	}
}

func TestAWebPageLogsAUserInWithTokensThatWorkHereAlone(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		w.grant(service, "4")
		given := w.logsIn("/sns/oauth2/access_token", service, w.loginCode(service, wechatsim.ScopeUserInfo))
		w.speaksWeChat("login", given)
		access, refresh := given.field("access_token"), given.field("refresh_token")
		if !strings.HasPrefix(access, "wxu_") || len(access) > 512 || len(refresh) > 512 || given.field("openid") != string(customer) || given.field("scope") != "snsapi_userinfo" || given.field("expires_in") != "7200" || given.field("unionid") == "" {
			w.t.Errorf("got %s, want sealed tokens and the rest as WeChat said it", given.body)
		}
		known, renewing := w.sim.LastUserTokens()
		if bytes.Contains(given.body, []byte(known)) || bytes.Contains(given.body, []byte(renewing)) {
			w.t.Errorf("got %s, want no token of WeChat's", given.body)
		}
		who := w.about("/sns/userinfo", access)
		w.speaksWeChat("userinfo", who)
		if !strings.Contains(string(who.body), `"nickname":"小雨 <&> 🌧"`) || who.field("openid") != string(customer) {
			w.t.Errorf("got %s, want the customer as WeChat said it", who.body)
		}
		if ok := w.about("/sns/auth", access); string(ok.body) != `{"errcode":0,"errmsg":"ok"}` {
			w.t.Errorf("got %s, want the token valid", ok.body)
		}
		again := w.renewed(service, refresh)
		w.speaksWeChat("refresh", again)
		if token := again.field("access_token"); token == access || w.about("/sns/userinfo", token).field("openid") != string(customer) {
			w.t.Errorf("got %s, want another access token that works", again.body)
		}
		if w.renewed(service, again.field("refresh_token")).field("openid") != string(customer) {
			w.t.Error("got the refresh token of a refresh refused, want it to work")
		}
	})
}

func TestTheNativeDoorHasAllCallsForUsers(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "4")
	at := "/v1/authorizers/" + string(service) + "/sns/"
	given := w.ask("GET", at+"oauth2/access_token?code="+w.loginCode(service, wechatsim.ScopeUserInfo), "")
	access := given.field("access_token")
	for path, want := range map[string]string{
		"userinfo?access_token=" + access + "&openid=" + string(customer) + "&lang=zh_CN":             `"nickname":"小雨 <&> 🌧"`,
		"auth?access_token=" + access + "&openid=" + string(customer):                                 `{"errcode":0,"errmsg":"ok"}`,
		"oauth2/refresh_token?grant_type=refresh_token&refresh_token=" + given.field("refresh_token"): `"access_token":"wxu_`,
	} {
		if answer := w.ask("GET", at+path, ""); answer.status != 200 || !strings.Contains(string(answer.body), want) {
			t.Errorf("%.20s: got %d %s, want %s", path, answer.status, answer.body, want)
		}
	}
	for path, c := range map[string]struct {
		status int
		slug   string
	}{
		"GET oauth2/access_token?code=invented":                                   {422, "wechat-refused"},
		"GET oauth2/access_token":                                                 {400, "invalid-request"},
		"GET oauth2/access_token?code=x&secret=y":                                 {400, "invalid-request"},
		"GET oauth2/access_token?code=x&grant_type=refresh_token":                 {400, "invalid-request"},
		"POST oauth2/access_token?code=x":                                         {405, "method-not-allowed"},
		"GET userinfo?openid=x&access_token=" + w.jwt:                             {422, "invalid-user-token"},
		"GET userinfo?openid=x&access_token=" + given.field("refresh_token"):      {422, "invalid-user-token"},
		"GET oauth2/refresh_token?refresh_token=" + access:                        {422, "invalid-refresh-token"},
		"GET userinfo?access_token=" + access + "&openid=oDF3iY9ffA-hqb2vVvbr7q0": {422, "invalid-openid"},
		"GET component/jscode2session?js_code=x":                                  {403, "api-not-relayed"},
	} {
		method, path, _ := strings.Cut(path, " ")
		w.wants(w.ask(method, at+path, ""), c.status, c.slug)
	}
	if answer := w.ask("POST", at+"auth", ""); answer.header.Get("Allow") != "GET" {
		t.Errorf("got %v, want GET allowed", answer.header)
	}
}

func TestAUsersTokenServesNobodyElse(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "4")
	w.grant(wechatsim.SampleOfficial, "4")
	given := w.logsIn("/sns/oauth2/access_token", service, w.loginCode(service, wechatsim.ScopeUserInfo))
	access, refresh := given.field("access_token"), given.field("refresh_token")
	another := w.as("another tenant")
	another.grant(miniProgram, "18")
	use := func(who *world, id wechat.AppID) (reply, reply) {
		at := "/v1/authorizers/" + string(id) + "/sns/"
		return who.ask("GET", at+"auth?openid="+string(customer)+"&access_token="+access, ""), who.ask("GET", at+"oauth2/refresh_token?refresh_token="+refresh, "")
	}
	for what, c := range map[string]struct {
		who *world
		id  wechat.AppID
	}{"another account": {w, wechatsim.SampleOfficial}, "another tenant": {another, miniProgram}} {
		checked, renewed := use(c.who, c.id)
		if checked.field("type") != "/problems/invalid-user-token" || renewed.field("type") != "/problems/invalid-refresh-token" {
			t.Errorf("%s: got %s and %s, want both refused", what, checked.body, renewed.body)
		}
	}
	if n := w.sim.Calls("/sns/auth") + w.sim.Calls(userRefreshPath); n != 0 {
		t.Errorf("got %d calls of WeChat, want none", n)
	}
	w.refusedSDK("of another appid", w.renewed(wechatsim.SampleOfficial, refresh), "40030")
	w.refusedSDK("a token for a refresh token", w.renewed(service, access), "40030")
	w.refusedSDK("a refresh token for a token", w.about("/sns/auth", refresh), "40001")
	w.refusedSDK("a token of WeChat's", w.about("/sns/auth", "83_"+strings.Repeat("x", 107)), "40001")
	w.refusedSDK("a JWT", w.about("/sns/userinfo", w.sdkJWT(service)), "40001")
	w.refusedSDK("no token", w.about("/sns/userinfo", ""), "41001")
	var shown any
	w.command(&shown, "authorizer", "move", string(service), another.tenant)
	w.eventually("the move to be seen", func() bool { return w.about("/sns/auth", access).field("errcode") == "48001" })
	w.refusedSDK("after the account moved", w.renewed(service, refresh), "48001")
	checked, renewed := use(another, service)
	if checked.field("type") != "/problems/invalid-user-token" || renewed.field("type") != "/problems/invalid-refresh-token" {
		t.Errorf("the account's new tenant: got %s and %s, want both refused", checked.body, renewed.body)
	}
}

func TestAUsersTokenEndsWithItsClient(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "4")
	access := w.logsIn("/sns/oauth2/access_token", service, w.loginCode(service, "")).field("access_token")
	var shown any
	for _, c := range []struct {
		code string
		args []string
	}{
		{"48001", []string{"client", "set", w.tenant, w.clientID(), "--scope", "users:write"}},
		{"0", []string{"client", "set", w.tenant, w.clientID(), "--scope", "users:read"}},
		{"48001", []string{"tenant", "suspend", w.tenant}},
		{"0", []string{"tenant", "resume", w.tenant}},
		{"40001", []string{"client", "revoke", w.tenant, w.clientID()}},
	} {
		w.command(&shown, c.args...)
		w.eventually(strings.Join(c.args, " "), func() bool { return w.about("/sns/auth", access).field("errcode") == c.code })
	}
}

func TestALoginWithoutARightIsRefusedAsTheTokenCallIs(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "4")
	secret := w.clientSecret()
	for what, c := range map[string]struct{ query, code string }{
		"no appid":          {"secret=" + secret, "40013"},
		"unknown appid":     {"appid=wx00000000000000ff&secret=" + secret, "40013"},
		"two appids":        {"appid=" + string(service) + "&appid=wx00000000000000ff&secret=" + secret, "40013"},
		"no secret":         {"appid=" + string(service), "40125"},
		"WeChat's secret":   {"appid=" + string(service) + "&secret=0123456789abcdef0123456789abcdef", "40125"},
		"another's secret":  {"appid=" + string(service) + "&secret=" + forgedSecret(w.clientID()), "40125"},
		"another grant":     {"appid=" + string(service) + "&grant_type=x&secret=" + secret, "40002"},
		"unreadable":        {"appid=%zz&secret=" + secret, "47001"},
		"a semicolon in it": {"appid=" + string(service) + ";x&secret=" + secret, "47001"},
	} {
		query := c.query + "&code=x&grant_type=authorization_code"
		w.refusedSDK(what, w.raw("GET", "/sns/oauth2/access_token?"+query, nil, ""), c.code)
	}
	w.refusedSDK("POST", w.raw("POST", "/sns/oauth2/access_token?appid="+string(service), nil, ""), "43001")
	w.refusedSDK("another path", w.raw("GET", "/sns/snsapi/x?access_token=x", nil, ""), "48001")
	w.refusedSDK("clear_quota/v2", w.raw("POST", "/cgi-bin/clear_quota/v2", nil, `{"appid":"`+string(service)+`","appsecret":"`+secret+`"}`), "48001")
	w.refusedSDK("clear_quota/v2 in a query", w.raw("POST", "/cgi-bin/clear_quota/v2?appid="+string(service)+"&appsecret="+secret, nil, ""), "48001")
	w.wants(w.ask("POST", "/v1/authorizers/"+string(service)+"/cgi-bin/clear_quota/v2", "{}"), 403, "api-not-relayed")
	if n := w.sim.Calls(webLoginPath); n != 0 {
		t.Errorf("got %d calls of WeChat, want none", n)
	}
	var shown any
	w.command(&shown, "client", "set", w.tenant, w.clientID(), "--scope", "users:write")
	w.eventually("the scope to be gone", func() bool { return w.logsIn("/sns/oauth2/access_token", service, "x").field("errcode") == "48001" })
	w.command(&shown, "tenant", "suspend", w.tenant)
	w.eventually("the suspension", func() bool { return w.logsIn("/sns/oauth2/access_token", service, "x").field("errcode") == "40125" })
}

func TestACodeIsNeverSentTwice(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "4")
	w.grant(miniProgram, "18")
	paths := map[string]struct {
		path string
		id   wechat.AppID
	}{webLoginPath: {"/sns/oauth2/access_token", service}, miniLoginPath: {"/sns/jscode2session", miniProgram}}
	for upstream, c := range paths {
		for what, f := range map[string]wechatsim.Fault{
			"cut":            {When: wechatsim.After, Do: wechatsim.Cut},
			"reset":          {When: wechatsim.Before, Do: wechatsim.Reset},
			"-1":             {When: wechatsim.After, Code: -1},
			"a page":         {When: wechatsim.After, Status: 502},
			"half":           {When: wechatsim.After, Wire: wechatsim.CloseHalf},
			"without openid": {When: wechatsim.After, Drop: []string{"openid"}},
		} {
			f.Path = upstream
			w.sim.ResetCalls()
			w.sim.Fault(f)
			code := w.loginCode(c.id, "")
			w.refusedSDK(what, w.logsIn(c.path, c.id, code), "-1000")
			w.sim.Fault(f)
			native := w.ask("GET", "/v1/authorizers/"+string(c.id)+c.path+"?"+url.Values{map[string]string{webLoginPath: "code", miniLoginPath: "js_code"}[upstream]: {w.loginCode(c.id, "")}}.Encode(), "")
			w.wants(native, 504, "outcome-unknown")
			if n := w.sim.Calls(upstream); n != 2 {
				t.Errorf("%s, %s: got %d calls of WeChat for two logins, want 2", upstream, what, n)
			}
		}
	}
}

func TestARejectedComponentTokenIsReplacedAndTheCodeIsNotSentAgain(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "4")
	w.settles()
	if err := w.sim.Reject(w.sim.Config().AppID); err != nil {
		t.Fatal(err)
	}
	w.sim.ResetCalls()
	code := w.loginCode(service, "")
	w.refusedSDK("rejected", w.logsIn("/sns/oauth2/access_token", service, code), "-1")
	if calls, tokens, refreshes := w.sim.Calls(webLoginPath), w.sim.Calls("/cgi-bin/component/api_component_token"), w.sim.Calls("/cgi-bin/component/api_authorizer_token"); calls != 1 || tokens != 1 || refreshes != 0 {
		t.Errorf("got %d calls, %d component tokens and %d access tokens, want 1, 1 and none", calls, tokens, refreshes)
	}
	given := w.logsIn("/sns/oauth2/access_token", service, code)
	if given.field("openid") != string(customer) {
		t.Fatalf("the code again: got %s, want it accepted", given.body)
	}
	if err := w.sim.Reject(w.sim.Config().AppID); err != nil {
		t.Fatal(err)
	}
	if again := w.renewed(service, given.field("refresh_token")); again.field("openid") != string(customer) || w.sim.Calls(userRefreshPath) != 2 {
		t.Errorf("refresh: got %s after %d calls, want it repeated with a new component token", again.body, w.sim.Calls(userRefreshPath))
	}
}

// Nothing that WeChat says of a user's token makes the platform replace a token of its own.
func TestARejectedUserTokenIsTheUsersAffair(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "4")
	w.settles()
	given := w.logsIn("/sns/oauth2/access_token", service, w.loginCode(service, ""))
	access := given.field("access_token")
	w.sim.ResetCalls()
	native := "/v1/authorizers/" + string(service) + "/sns/auth?openid=" + string(customer) + "&access_token=" + access
	for _, c := range []struct {
		code       int
		drop, slug string
	}{{40001, "40001", "invalid-user-token"}, {40014, "40001", "invalid-user-token"}, {42001, "42001", "user-token-expired"}} {
		w.sim.Fault(wechatsim.Fault{Path: "/sns/auth", Code: c.code, Count: 2})
		if answer := w.about("/sns/auth", access); answer.field("errcode") != c.drop {
			t.Errorf("%d: got %s, want %s", c.code, answer.body, c.drop)
		}
		w.wants(w.ask("GET", native, ""), 422, c.slug)
	}
	for code, want := range map[int]string{40030: "40030", 42002: "42002", 40029: "40029"} {
		w.sim.Fault(wechatsim.Fault{Path: userRefreshPath, Code: code})
		w.refusedByWeChat("refresh", w.renewed(service, given.field("refresh_token")), want)
	}
	w.sim.Fault(wechatsim.Fault{Path: "/sns/userinfo", Body: `{"openid":"oSomebodyElse","nickname":"李四"}`})
	w.refusedSDK("somebody else's profile", w.about("/sns/userinfo", access), "-1")
	w.refusedByWeChat("a login without the profile", w.about("/sns/userinfo", access), "48001")
	if n := w.sim.Calls("/cgi-bin/component/api_component_token") + w.sim.Calls("/cgi-bin/component/api_authorizer_token"); n != 0 {
		t.Errorf("got %d tokens replaced, want none", n)
	}
}

func TestALoginSaysWhyTheAccountCannotBeUsed(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "4")
	w.settles()
	w.sim.Fault(wechatsim.Fault{Path: webLoginPath, Code: 61003})
	w.refusedSDK("61003, not confirmed", w.logsIn("/sns/oauth2/access_token", service, "x"), "-1")
	w.sim.Fault(wechatsim.Fault{Path: webLoginPath, Code: 45011})
	w.refusedByWeChat("a quota", w.logsIn("/sns/oauth2/access_token", service, "x"), "45011")
	w.refusedByWeChat("of another kind", w.logsIn("/sns/jscode2session", service, "x"), "48001")
	w.sim.Fault(wechatsim.Fault{Path: webLoginPath, Code: 61004})
	w.refusedSDK("61004", w.logsIn("/sns/oauth2/access_token", service, "x"), "-1")
}

func TestWeChatSeesNoCredentialOfACallerAtALogin(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.heard.kept.Store(true)
	w.grant(service, "4")
	w.grant(miniProgram, "18")
	given := w.logsIn("/sns/oauth2/access_token", service, w.loginCode(service, wechatsim.ScopeUserInfo))
	w.logsIn("/sns/jscode2session", miniProgram, w.loginCode(miniProgram, ""))
	w.about("/sns/userinfo", given.field("access_token"))
	w.renewed(service, given.field("refresh_token"))
	w.ask("GET", "/v1/authorizers/"+string(service)+"/sns/auth?openid="+string(customer)+"&access_token="+given.field("access_token"), "")
	secrets := canaries{"client secret": w.clientSecret(), "JWT": w.jwt, "sealed token": given.field("access_token"), "sealed refresh token": given.field("refresh_token")}
	said := w.heard.got.String()
	w.clean(secrets, "what WeChat was sent", said)
	about := w.sim.Config()
	for _, part := range []string{
		"GET /sns/oauth2/component/access_token?appid=" + string(service) + "&code=", "GET /sns/component/jscode2session?appid=" + string(miniProgram) + "&js_code=",
		"&grant_type=authorization_code&component_appid=" + string(about.AppID) + "&component_access_token=",
		"GET /sns/userinfo?openid=" + string(customer) + "&lang=zh_CN&access_token=83_", "GET /sns/auth?openid=" + string(customer) + "&access_token=83_",
	} {
		if !strings.Contains(said, part) {
			t.Errorf("got %s, want %s in it", said, part)
		}
	}
	if n := strings.Count(said, "secret="); n != 0 {
		t.Errorf("got %d secrets sent to WeChat, want none", n)
	}
}
