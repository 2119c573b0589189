package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"wxplatform/authorizer"
	"wxplatform/tenant"
	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

// sdkToken asks for a JWT as SDKs do.
func (w *world) sdkToken(appid wechat.AppID, secret string) reply {
	w.t.Helper()
	query := url.Values{"grant_type": {"client_credential"}, "appid": {string(appid)}, "secret": {secret}}
	return w.raw("GET", "/cgi-bin/token?"+query.Encode(), nil, "")
}

func (w *world) clientID() string     { return strings.Split(w.basic, ":")[0] }
func (w *world) clientSecret() string { return strings.Split(w.basic, ":")[1] }

// speaksWeChat fails unless the answer is one that every SDK can read.
func (w *world) speaksWeChat(what string, answer reply) {
	w.t.Helper()
	if answer.status != 200 || answer.header.Get("Content-Type") != "application/json; encoding=utf-8" || answer.header.Get("Cache-Control") != "no-store" {
		w.t.Errorf("%s: got %d %v, want 200 as WeChat says it, and not stored", what, answer.status, answer.header)
	}
	if !json.Valid(answer.body) || strings.ContainsFunc(string(answer.body), func(r rune) bool { return r < ' ' }) {
		w.t.Errorf("%s: got %q, want JSON without line breaks", what, answer.body)
	}
}

// refusedSDK fails unless the answer is a refusal with the given errcode.
func (w *world) refusedSDK(what string, answer reply, code string) {
	w.t.Helper()
	w.speaksWeChat(what, answer)
	if rid := " rid: " + answer.header.Get("Request-Id"); answer.field("errcode") != code || !strings.HasSuffix(answer.field("errmsg"), rid) {
		w.t.Errorf("%s: got %s, want %s and an errmsg that ends with%s", what, answer.body, code, rid)
	}
}

var givenToken = regexp.MustCompile(`^\{"access_token":"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+","expires_in":7200\}$`)

// givenSDK returns the JWT of an answer.
func (w *world) givenSDK(what string, answer reply) string {
	w.t.Helper()
	w.speaksWeChat(what, answer)
	if !givenToken.Match(answer.body) {
		w.t.Fatalf("%s: got %s, want a JWT for 7200 s", what, answer.body)
	}
	return answer.field("access_token")
}

func TestAnSDKGetsAJWTForItsAccountByEitherCall(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		w.grant(service, "1")
		query := "grant_type=client_credential&appid=" + string(service) + "&secret=" + w.clientSecret()
		object := `{"appid":"` + string(service) + `","force_refresh":true,"grant_type":"client_credential","secret":"` + w.clientSecret() + `"}` + "\n"
		var all []string
		for what, answer := range map[string]reply{
			"GET token":           w.raw("GET", "/cgi-bin/token?neededText=&"+query, nil, ""),
			"POST token":          w.raw("POST", "/cgi-bin/token", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, query),
			"POST stable_token":   w.raw("POST", "/cgi-bin/stable_token", map[string]string{"Content-Type": "application/json;charset=utf-8"}, object),
			"POST without a type": w.raw("POST", "/cgi-bin/stable_token", nil, object),
		} {
			all = append(all, w.givenSDK(what, answer))
		}
		for _, jwt := range all {
			if caller, err := w.platform.tenants.AuthenticateToken(anyContext, jwt); err != nil || caller.AppID != string(service) || len(jwt) > tenant.LongestComfortable {
				w.t.Errorf("got %+v, %v and %d characters, want each of them valid for %s", caller, err, len(jwt), service)
			}
		}
	})
}

func TestAnSDKWithoutARightIsToldWhyAsWeChatTells(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	_, others := w.newTenant("another")
	secret := w.clientSecret()
	for what, c := range map[string]struct {
		appid  wechat.AppID
		secret string
		code   string
	}{
		"no appid":             {"", secret, "40013"},
		"no appid of WeChat's": {"gh_0123456789ab", secret, "40013"},
		"unknown appid":        {"wx00000000000000ff", secret, "40013"},
		"another tenant's":     {service, strings.Split(others, ":")[1], "40013"},
		"no secret":            {service, "", "40125"},
		"mistyped secret":      {service, secret + "x", "40125"},
		"another's secret":     {service, forgedSecret(w.clientID()), "40125"},
		"unknown client":       {service, forgedSecret("c0123456789a"), "40125"},
		"WeChat's appsecret":   {service, "0123456789abcdef0123456789abcdef", "40125"},
	} {
		w.refusedSDK(what, w.sdkToken(c.appid, c.secret), c.code)
	}
	query := "/cgi-bin/token?appid=" + string(service) + "&secret=" + secret
	w.refusedSDK("no grant_type", w.raw("GET", query, nil, ""), "40002")
	w.refusedSDK("OAuth's grant_type", w.raw("GET", query+"&grant_type=client_credentials", nil, ""), "40002")
	w.refusedSDK("two appids", w.raw("GET", query+"&grant_type=client_credential&appid=wx00000000000000ff", nil, ""), "40013")
	w.refusedSDK("two secrets", w.raw("POST", query, nil, `{"grant_type":"client_credential","secret":"x"}`), "40125")
	w.refusedSDK("no JSON", w.raw("POST", "/cgi-bin/stable_token", nil, `{"appid":`), "47001")
}

func TestAnSDKIsToldOfWhatTheOperatorDid(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	var shown any
	for _, c := range []struct {
		code, errmsg string
		args         []string
	}{
		{"45011", "fewer requests a second", []string{"tenant", "limit", w.tenant, "--rate", "1", "--burst", "1"}},
		{"", "", []string{"tenant", "limit", w.tenant, "--default"}},
		{"40125", "suspended", []string{"tenant", "suspend", w.tenant}},
		{"", "", []string{"tenant", "resume", w.tenant}},
		{"40125", "revoked", []string{"client", "revoke", w.tenant, w.clientID()}},
	} {
		w.command(&shown, c.args...)
		var answer reply
		w.eventually(strings.Join(c.args, " "), func() bool {
			answer = w.sdkToken(service, w.clientSecret())
			return answer.field("errcode") == c.code && strings.Contains(answer.field("errmsg"), c.errmsg)
		})
		if c.code == "" {
			w.givenSDK(strings.Join(c.args, " "), answer)
		} else {
			w.refusedSDK(strings.Join(c.args, " "), answer, c.code)
		}
	}
}

// The calls that the JWT is used for say that the merchant withdrew; the SDK must not be told that
// its appid is wrong.
func TestAnSDKGetsAJWTForAnAccountThatItsMerchantWithdrew(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.settles()
	if err := w.sim.Unauthorize(service); err != nil {
		t.Fatal(err)
	}
	w.later(61 * time.Second)
	w.eventually("the withdrawal to be stored", func() bool { return w.authorizer(service).field("state") == "revoked" })
	w.givenSDK("withdrawn", w.sdkToken(service, w.clientSecret()))
}

func TestABoundJWTInTheQueryAdmitsToItsAccountAlone(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.grant(wechatsim.SampleOfficial, "1")
	jwt := w.givenSDK("token", w.sdkToken(service, w.clientSecret()))
	gate := tenant.Gate{Tenants: w.platform.tenants, Query: "access_token"}
	authorizers := &authorizer.Handler{Authorizers: w.platform.authorizers, Gate: gate}
	e := echo.New()
	e.HTTPErrorHandler = answerProblem
	admit := func(c echo.Context) error {
		a, err := authorizers.Admit(c, authorizer.Need{Scope: tenant.KFSessionRead})
		if err != nil {
			return err
		}
		return c.String(http.StatusOK, string(a.AppID))
	}
	e.GET("/of/:appid", admit)
	e.GET("/own", admit)
	e.GET("/list", func(c echo.Context) error {
		_, err := gate.Tenant(c.Request(), tenant.AuthorizersRead)
		return err
	})
	for path, want := range map[string]int{"/own": 200, "/of/" + string(service): 200, "/of/" + string(wechatsim.SampleOfficial): 404, "/list": 403} {
		answer := httptest.NewRecorder()
		e.ServeHTTP(answer, httptest.NewRequest("GET", path+"?access_token="+jwt, nil))
		if answer.Code != want || want == 200 && answer.Body.String() != string(service) {
			t.Errorf("%s: got %d %s, want %d", path, answer.Code, answer.Body, want)
		}
	}
}

func TestBothSecretsOfAClientGiveAnSDKItsJWTUntilTheOldOneIsEnded(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		w.grant(service, "1")
		old := w.clientSecret()
		var made struct{ ID, Secret string }
		w.command(&made, "client", "rotate", w.tenant, w.clientID())
		if made.ID != w.clientID() || made.Secret == "" || made.Secret == old {
			w.t.Fatalf("got %s with a secret of %d characters, want another secret of %s", made.ID, len(made.Secret), w.clientID())
		}
		w.eventually("the new secret to be known", func() bool { return w.sdkToken(service, made.Secret).field("errcode") == "" })
		w.givenSDK("new", w.sdkToken(service, made.Secret))
		jwt := w.givenSDK("old", w.sdkToken(service, old))
		if _, err := w.token(anyContext, w.clientID()+":"+old); err != nil {
			w.t.Errorf("got %v, want the old secret accepted by /oauth/token too", err)
		}
		var shown []struct {
			OldEnds *time.Time `json:"old_secret_ends_at"`
		}
		w.command(&shown, "client", "list", w.tenant)
		if ends := shown[0].OldEnds; ends == nil || time.Until(*ends) < 23*time.Hour || time.Until(*ends) > 24*time.Hour {
			w.t.Errorf("got the old secret listed until %v, want in 24 hours", ends)
		}
		w.command(&shown, "client", "rotate", w.tenant, w.clientID(), "--end-old")
		w.eventually("the old secret to be refused", func() bool { return w.sdkToken(service, old).field("errcode") == "40125" })
		w.givenSDK("new", w.sdkToken(service, made.Secret))
		if _, err := w.platform.tenants.AuthenticateToken(anyContext, jwt); err != nil || shown[0].OldEnds != nil {
			w.t.Errorf("got %v and %v, want the JWT to live and no old secret", err, shown[0].OldEnds)
		}
	})
}

func TestAnSDKsJWTGetsTheScopesThatTheOperatorSets(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	jwt := w.givenSDK("token", w.sdkToken(service, w.clientSecret()))
	var shown any
	for _, scopes := range []tenant.Scopes{tenant.NewScopes(tenant.KFSessionRead), tenant.NewScopes(tenant.KFSessionRead, tenant.WeChatAny)} {
		args := []string{"client", "set", w.tenant, w.clientID()}
		for _, scope := range strings.Fields(scopes.String()) {
			args = append(args, "--scope", scope)
		}
		w.command(&shown, args...)
		w.eventually("the scopes "+scopes.String(), func() bool {
			caller, err := w.platform.tenants.AuthenticateToken(anyContext, jwt)
			return err == nil && caller.Scopes == scopes
		})
	}
}
