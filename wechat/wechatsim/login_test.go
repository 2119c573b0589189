package wechatsim

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"wxplatform/wechat"
)

// asks calls one of the APIs for users' logins as the component, with more parameters in pairs.
func (r *rig) asks(path string, id wechat.AppID, more ...string) object {
	r.t.Helper()
	token := r.LastComponentToken()
	if token == "" {
		token = r.componentToken()
	}
	query := url.Values{"component_access_token": {token}, "component_appid": {string(DefaultAppID)}, "appid": {string(id)}, "grant_type": {"authorization_code"}}
	for i := 0; i < len(more); i += 2 {
		query.Set(more[i], more[i+1])
	}
	return r.do("/sns/"+path, query, nil)
}

func (r *rig) code(id wechat.AppID, scope string) string {
	r.t.Helper()
	code, err := r.LogIn(id, SampleCustomer, scope)
	r.must(err)
	return code
}

func TestALoginCodeWorksOnceForFiveMinutes(t *testing.T) {
	r := newRig(t)
	r.authorized(SampleMiniProgram)
	r.authorized(SampleService)
	code := r.code(SampleMiniProgram, "")
	given := r.asks("component/jscode2session", SampleMiniProgram, "js_code", code)
	if given["openid"] != string(SampleCustomer) || len(r.text(given, "session_key")) != 24 || r.text(given, "unionid") == "" {
		t.Errorf("got %v, want the customer and a session key", given)
	}
	r.want(40163, r.asks("component/jscode2session", SampleMiniProgram, "js_code", code))
	late := r.code(SampleMiniProgram, "")
	r.clock.advance(5 * time.Minute)
	r.want(40029, r.asks("component/jscode2session", SampleMiniProgram, "js_code", late))
	web := r.code(SampleService, ScopeBase)
	r.want(40029, r.asks("component/jscode2session", SampleMiniProgram, "js_code", web))
	r.want(48001, r.asks("component/jscode2session", SampleService, "js_code", web))
	r.want(41008, r.asks("component/jscode2session", SampleMiniProgram))
	r.want(40029, r.asks("component/jscode2session", SampleMiniProgram, "js_code", "invented"))
	r.want(40002, r.asks("component/jscode2session", SampleMiniProgram, "js_code", "x", "grant_type", "x"))
	r.want(61003, r.asks("component/jscode2session", SampleOfficial, "js_code", "x"))
}

func TestALoginIsTheComponentsAlone(t *testing.T) {
	r := newRig(t)
	access := r.authorized(SampleService)
	code := r.code(SampleService, ScopeBase)
	const path = "oauth2/component/access_token"
	r.want(61014, r.asks(path, SampleService, "code", code, "component_access_token", access))
	r.want(40001, r.asks(path, SampleService, "code", code, "component_access_token", "invented"))
	r.want(61011, r.asks(path, SampleService, "code", code, "component_appid", string(SampleService)))
	given := r.asks(path, SampleService, "code", code)
	r.want(0, given)
	r.want(40001, r.asks(path, SampleService, "code", code, "component_access_token", r.text(given, "access_token")))
	r.want(40001, r.do("/cgi-bin/customservice/getkflist", url.Values{"access_token": {r.text(given, "access_token")}}, nil))
}

func TestAUsersTokensLiveAndAreRefreshed(t *testing.T) {
	r := newRig(t)
	r.authorized(SampleService)
	given := r.asks("oauth2/component/access_token", SampleService, "code", r.code(SampleService, ScopeUserInfo))
	about := func(token, openid string) url.Values { return url.Values{"access_token": {token}, "openid": {openid}} }
	access := r.text(given, "access_token")
	if got := r.do("/sns/userinfo", about(access, string(SampleCustomer)), nil); got["nickname"] != "小雨 <&> 🌧" {
		t.Errorf("got %v, want the customer", got)
	}
	r.want(0, r.do("/sns/auth", about(access, string(SampleCustomer)), nil))
	r.want(40003, r.do("/sns/auth", about(access, "oAnother"), nil))
	r.want(41009, r.do("/sns/auth", about(access, ""), nil))
	r.want(40001, r.do("/sns/auth", about(r.LastAccessToken(SampleService), string(SampleCustomer)), nil))
	r.clock.advance(2 * time.Hour)
	r.want(42001, r.do("/sns/auth", about(access, string(SampleCustomer)), nil))
	refresh := func(token string) object {
		return r.asks("oauth2/component/refresh_token", SampleService, "grant_type", "refresh_token", "refresh_token", token, "component_access_token", r.componentToken())
	}
	again := refresh(r.text(given, "refresh_token"))
	if r.text(again, "access_token") == access || r.text(again, "refresh_token") != r.text(given, "refresh_token") {
		t.Errorf("got %v after %v, want another access token and the same refresh token", again, given)
	}
	r.want(40030, refresh(access))
	r.clock.advance(30 * 24 * time.Hour)
	r.want(42002, refresh(r.text(given, "refresh_token")))
}

func TestABaseLoginDoesNotShowTheProfile(t *testing.T) {
	r := newRig(t)
	r.authorized(SampleService)
	given := r.asks("oauth2/component/access_token", SampleService, "code", r.code(SampleService, ""))
	r.want(48001, r.do("/sns/userinfo", url.Values{"access_token": {r.text(given, "access_token")}, "openid": {string(SampleCustomer)}}, nil))
}

func TestTheAuthorizePageLeadsBackWithACode(t *testing.T) {
	r := newRig(t)
	r.authorized(SampleService)
	query := url.Values{"appid": {string(SampleService)}, "redirect_uri": {"https://shop.example/back?x=1"}, "response_type": {"code"}, "scope": {ScopeBase}, "state": {"s1"}, "component_appid": {string(DefaultAppID)}}
	resp, _ := r.raw(authorizePath, query, nil)
	back, err := url.Parse(resp.Header.Get("Location"))
	r.must(err)
	if resp.StatusCode != http.StatusFound || back.Host != "shop.example" || back.Query().Get("state") != "s1" || back.Query().Get("x") != "1" {
		t.Fatalf("got %d %s, want the browser led back", resp.StatusCode, back)
	}
	r.want(0, r.asks("oauth2/component/access_token", SampleService, "code", back.Query().Get("code")))
	query.Set("component_appid", string(SampleService))
	if resp, page := r.raw(authorizePath, query, nil); resp.Header.Get("Location") != "" || !strings.Contains(string(page), "component_appid") {
		t.Errorf("got %d %s, want a complaint about component_appid", resp.StatusCode, page)
	}
}

func TestTheControlAPILogsAUserIn(t *testing.T) {
	r := newRig(t)
	r.authorized(SampleService)
	code := r.steered("POST", "/_sim/accounts/"+string(SampleService)+"/login", `{"scope":"snsapi_userinfo"}`)
	given := r.asks("oauth2/component/access_token", SampleService, "code", r.text(code, "code"))
	if given["openid"] != string(SampleCustomer) || given["scope"] != ScopeUserInfo {
		t.Errorf("got %v, want the sample customer's login", given)
	}
}
