package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"wxplatform/authorizer"
	"wxplatform/internal/db"
	"wxplatform/relay"
	"wxplatform/session"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// A route reads the JWT from the header or from the query, and has its refusals written as
// problem+json or in WeChat's form; neither choice affects the other.
func TestEverySourceOfTheCredentialGoesWithEveryAnswerer(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	sources := map[string]tenant.Gate{"header": {}, "query": {Query: "access_token"}}
	answerers := map[string]echo.HTTPErrorHandler{"problem": answerProblem, "wechat": answerLikeWeChat, "default": w.platform.answerError}
	servers := map[string]*echo.Echo{}
	for source, gate := range sources {
		gate.Tenants = w.platform.tenants
		authorizers := &authorizer.Handler{Authorizers: w.platform.authorizers, Gate: gate}
		for name, answerer := range answerers {
			e := echo.New()
			e.HTTPErrorHandler = answerer
			servers[source+name] = e
			e.GET("/"+source+"/"+name+"/:appid", func(c echo.Context) error {
				a, err := authorizers.Admit(c, authorizer.Need{Scope: tenant.KFSessionRead})
				if err != nil {
					return err
				}
				return c.String(http.StatusOK, string(a.AppID))
			})
		}
	}
	for source := range sources {
		for name := range answerers {
			path, bad := "/"+source+"/"+name+"/", map[string]problemType{}
			twice := false
			send := func(appid, jwt string) *httptest.ResponseRecorder {
				r := httptest.NewRequest("GET", path+appid+"?openid=o1", nil)
				if jwt != "" && source == "header" {
					r.Header.Set("Authorization", "Bearer "+jwt)
				} else if jwt != "" {
					r.URL.RawQuery += "&access_token=" + jwt
				}
				if twice {
					r.Header["Authorization"] = []string{"Bearer " + w.jwt, "Bearer " + w.jwt}
				}
				answer := httptest.NewRecorder()
				servers[source+name].ServeHTTP(answer, r)
				return answer
			}
			if got := send(string(service), w.jwt); got.Code != 200 || got.Body.String() != string(service) {
				t.Errorf("%s: got %d %s, want the account admitted", path, got.Code, got.Body)
			}
			bad["none"] = problemOf(tenant.ErrNoToken)
			bad["garbage"] = problemOf(tenant.ErrInvalidToken)
			bad["two headers"] = problemOf(tenant.ErrInvalidToken)
			bad["another account"] = problemOf(authorizer.ErrUnknown)
			for what, want := range bad {
				jwt, appid := w.jwt, string(service)
				twice = what == "two headers"
				switch what {
				case "none":
					jwt = ""
				case "garbage":
					jwt = "garbage"
				case "another account":
					appid = "wx00000000000000ff"
				}
				got := send(appid, jwt)
				if name != "wechat" {
					wantsProblem(t, path+" "+what, got, want)
				} else {
					wantsErrcode(t, path+" "+what, got, map[int]int{401: 40001, 404: 48001}[want.status])
				}
			}
		}
	}
}

func wantsProblem(t *testing.T, what string, got *httptest.ResponseRecorder, want problemType) {
	t.Helper()
	if got.Code != want.status || got.Header().Get("Content-Type") != "application/problem+json" ||
		!strings.Contains(got.Body.String(), "/problems/"+want.slug) {
		t.Errorf("%s: got %d %v %s, want the problem %s", what, got.Code, got.Header(), got.Body, want.slug)
	}
}

func wantsErrcode(t *testing.T, what string, got *httptest.ResponseRecorder, code int) {
	t.Helper()
	var said struct {
		Code    *int    `json:"errcode"`
		Message *string `json:"errmsg"`
	}
	body, _ := io.ReadAll(got.Body)
	err := json.Unmarshal(body, &said)
	if err != nil || got.Code != http.StatusOK || said.Code == nil || *said.Code != code || said.Message == nil ||
		!strings.HasPrefix(got.Header().Get("Content-Type"), "application/json") {
		t.Errorf("%s: got %d %v %s, want 200 with errcode %d and an errmsg", what, got.Code, got.Header(), body, code)
	}
	if strings.ContainsFunc(string(body), func(r rune) bool { return r < ' ' }) {
		t.Errorf("%s: got %q, want no control character", what, body)
	}
}

func TestTheErrcodeOfAnError(t *testing.T) {
	for _, c := range []struct {
		err     error
		refused wechat.Code
		want    wechat.Code
	}{
		{tenant.ErrNoToken, 0, 40001},
		{tenant.ErrTokenExpired, 0, 40001},
		{tenant.ErrSuspended, 0, 48001},
		{authorizer.ErrRevoked, 0, 61003},
		{db.ErrUnavailable, 0, -1},
		{session.ErrUnknownOutcome, 0, -1000},
		{session.ErrServedByAnother, 65400, 65400},
		{authorizer.ErrRevoked, 61003, 61003},
		{authorizer.ErrRejected, wechat.InvalidCredential, -1000},
		{authorizer.ErrRejected, wechat.InvalidToken, -1000},
		{authorizer.ErrRejected, wechat.TokenExpired, -1000},
	} {
		if got := errcodeOf(problemOf(c.err), c.refused); got != c.want {
			t.Errorf("%v with %d: got %d, want %d", c.err, c.refused, got, c.want)
		}
	}
}

func TestNoRefusalOfATokenCallMakesAnSDKAskAgain(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{&relay.Fault{Code: 40002, Why: "x"}, 40002},
		{authorizer.ErrUnknown, 40013},
		{tenant.ErrSuspended, 40125},
		{&tenant.RateError{}, 45011},
		{errOverloaded, 45011},
		{db.ErrUnavailable, 45011},
		{context.DeadlineExceeded, 45011},
		{tenant.ErrNoToken, 45011},
		{&relay.MethodError{Allowed: []string{"POST"}}, 43002},
		{errors.New("anything else"), 45011},
	} {
		answer := httptest.NewRecorder()
		answerTokenCall(fmt.Errorf("wrapped: %w", c.err), echo.New().NewContext(httptest.NewRequest("GET", "/", nil), answer))
		wantsErrcode(t, fmt.Sprint(c.err), answer, c.want)
		if strings.Contains(answer.Body.String(), "wrapped") {
			t.Errorf("got %s, want words for callers", answer.Body)
		}
	}
}

// A problem type that the table of errcodes forgets would be told as of unknown outcome.
func TestEveryProblemOfOursHasAnErrcode(t *testing.T) {
	pages := []string{"unknown-invitation", "invitation-ended", "too-many-invitations", "not-authentic"} // of routes that no SDK calls
	wechats := []string{"wechat-refused", "invalid-openid"}
	for _, p := range problemTypes() {
		_, ours := errcodes[p.slug]
		_, either := unsaid[p.slug]
		kf := slices.ContainsFunc(kfRules(), func(r problemRule) bool { return r.problem.slug == p.slug })
		if !ours && !either && !kf && !slices.Contains(pages, p.slug) && !slices.Contains(wechats, p.slug) {
			t.Errorf("%s: got no errcode for SDKs, want one", p.slug)
		}
	}
}

func TestAnErrorAfterTheAnswerBeganIsNotWritten(t *testing.T) {
	answer := httptest.NewRecorder()
	c := echo.New().NewContext(httptest.NewRequest("GET", "/", nil), answer)
	_ = c.String(http.StatusOK, "begun")
	answerLikeWeChat(tenant.ErrNoToken, c)
	if answer.Body.String() != "begun" {
		t.Errorf("got %q, want nothing after what was written", answer.Body)
	}
}
