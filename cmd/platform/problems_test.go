package main

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/labstack/echo/v4"

	"wxplatform/component"
	"wxplatform/internal/db"
	"wxplatform/tenant"
	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

// These cases are those that no caller can cause within the seconds of a test.
func TestEachErrorHasItsPlaceInTheTable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err       error
		status    int
		slug      string
		challenge string
		alarm     bool
	}{
		{tenant.ErrNoToken, 401, "invalid-token", `Bearer realm="wxplatform"`, false},
		{tenant.ErrInvalidToken, 401, "invalid-token", `Bearer realm="wxplatform", error="invalid_token"`, false},
		{tenant.ErrTokenExpired, 401, "token-expired", `Bearer realm="wxplatform", error="invalid_token", error_description="expired"`, false},
		{tenant.ErrInsufficientScope, 403, "insufficient-scope", `Bearer realm="wxplatform", error="insufficient_scope"`, false},
		{component.ErrNoTicket, 503, "platform-misconfigured", "", true},
		{fmt.Errorf("read: %w", db.ErrUnavailable), 503, "unavailable", "", false},
		{errors.New("a fault of ours with canary-5d1e in it"), 500, "internal-error", "", false},
	} {
		e := echo.New()
		answer := httptest.NewRecorder()
		answerProblem(c.err, e.NewContext(httptest.NewRequest("GET", "/", nil), answer))
		got := reply{status: answer.Code, header: answer.Header(), body: answer.Body.Bytes()}
		if got.status != c.status || got.field("type") != "/problems/"+c.slug || got.header.Get("WWW-Authenticate") != c.challenge || problemOf(c.err).alarm != c.alarm {
			t.Errorf("%v: got %d %v %s, want %d %s %s, alarm %v", c.err, got.status, got.header, got.body, c.status, c.slug, c.challenge, c.alarm)
		}
		if found := (canaries{"error": "canary-5d1e"}).in(answer.Body.String()); found != nil {
			t.Errorf("got %s, want nothing of what went wrong inside", answer.Body)
		}
	}
}

func TestAMiniProgramIsNotEligibleWhateverItGranted(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(wechatsim.SampleMiniProgram, "19")
	w.settles()
	w.exec(`UPDATE authorizers SET permission_sets = '1' WHERE appid = $1`, string(wechatsim.SampleMiniProgram))
	w.sim.Fault(wechatsim.Fault{Path: infoPath, Code: -1, Count: wechatsim.Always}) // it would grant no such set
	other := w.replica(nil)                                                         // a process that knows nothing but SQL
	answer, err := other.send(anyContext, other.jwt, wechatsim.SampleMiniProgram, "a@b", customer)
	if err != nil {
		t.Fatal(err)
	}
	other.wants(answer, 403, "account-not-eligible")
	if n := w.sim.Calls(closePath); n != 0 {
		t.Errorf("got %d calls of WeChat, want none", n)
	}
}

func TestWeChats48001IsToldAsWhatTheProfileSays(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.settles()
	w.open(kfAccount)
	if err := w.sim.ChangeAccount(service, func(a *wechatsim.Account) { a.VerifyType = -1 }); err != nil {
		t.Fatal(err)
	}
	answer := w.shut(kfAccount) // an eligible account's 48001 is in TestEveryRefusalOfWeChatHasItsProblem
	w.wants(answer, 403, "account-not-eligible")
	if answer.field("errcode") != "48001" {
		t.Errorf("got %s, want WeChat's errcode", answer.body)
	}
}

func TestWhatTheOperatorMustPutRightRaisesAnAlarm(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code wechat.Code
		slug string
		path string
	}{
		{61004, "platform-misconfigured", closePath}, {40125, "platform-misconfigured", closePath}, {40001, "token-rejected", closePath},
	} {
		t.Run(fmt.Sprint(c.code), func(t *testing.T) {
			w := sqliteWorld(t)
			w.grant(service, "1")
			w.settles()
			if w.alarmed() {
				t.Fatal("got an alarm before anything went wrong")
			}
			w.sim.Fault(wechatsim.Fault{Path: c.path, Code: int(c.code), Count: wechatsim.Always})
			answer := w.shut(kfAccount)
			if answer.field("type") != "/problems/"+c.slug {
				t.Errorf("got %d %s, want %s", answer.status, answer.body, c.slug)
			}
			w.eventually("the alarm", w.alarmed)
		})
	}
}
