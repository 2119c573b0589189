package main

import (
	"strings"
	"testing"
	"time"

	"wxplatform/wechat/wechatsim"
)

func TestWeChatsReleaseTestIsPassed(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		lines, err := w.sim.ReleaseTest(anyContext)
		if err != nil || len(lines) != 4 {
			w.t.Errorf("got %q, %v, want four cases passed", lines, err)
		}
		var shown struct{ Tenant string }
		w.command(&shown, "authorizer", "show", string(wechatsim.ReleaseTestAccount))
		if shown.Tenant != "" {
			w.t.Errorf("got tenant %q, want WeChat's account to be nobody's", shown.Tenant)
		}
	})
}

func TestTheReleaseTestCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, map[string]string{"PLATFORM_RELEASE_TEST": "off"})
	if lines, err := w.sim.ReleaseTest(anyContext); err == nil || !strings.HasPrefix(strings.Join(lines, "\n"), "ticket: passed") {
		t.Errorf("got %q, %v, want only the ticket to pass", lines, err)
	}
}

func TestOnlyWeChatsOwnAccountsGetTheReleaseTestsAnswers(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	for _, text := range []string{"TESTCOMPONENT_MSG_TYPE_TEXT", "QUERY_AUTH_CODE:queryauthcode@@@x"} {
		if err := w.sim.CustomerMessage(service, customer, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.sim.Settle(anyContext); err != nil {
		t.Fatal(err)
	}
	if n := len(w.sim.Messages()); n != 0 || w.stored() != 1 { // the one event is that of the authorization
		t.Errorf("got %d messages and %d events, want none of the test's", n, w.stored())
	}
	// The signed name and the path decide together: neither alone is enough.
	about := `<xml><ToUserName>gh_3c884a361561</ToUserName><FromUserName>o1</FromUserName><MsgType>text</MsgType><Content>TESTCOMPONENT_MSG_TYPE_TEXT</Content></xml>`
	if got := w.push("/wechat/"+string(service)+"/messages", about, time.Now()); string(got.body) != "success" {
		t.Errorf("got %s, want success alone", got.body)
	}
	others := strings.Replace(about, "gh_3c884a361561", "gh_5a3e1c0b7d01", 1)
	if got := w.push("/wechat/wx570bc396a51b8ff8/messages", others, time.Now()); string(got.body) != "success" {
		t.Errorf("got %s, want success alone", got.body)
	}
}
