package main

import (
	"fmt"
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

func TestACodeOfTheReleaseTestThatWeChatDoesNotKnowIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	asks := fmt.Sprintf(`<xml><ToUserName>gh_3c884a361561</ToUserName><FromUserName>o1</FromUserName><CreateTime>%d</CreateTime><MsgType>text</MsgType><Content>QUERY_AUTH_CODE:queryauthcode@@@made-up</Content></xml>`, time.Now().Unix())
	if got := w.push("/wechat/wx570bc396a51b8ff8/messages", asks, time.Now()); got.status != 200 {
		t.Fatalf("got %d %s, want it taken", got.status, got.body)
	}
	w.eventually("the message to be handled once", func() bool {
		return w.number(`SELECT COUNT(*) FROM events WHERE attempts > 0 AND (lease_until = 0 OR done_at > 0)`) == 1
	})
	if n := w.number(`SELECT COUNT(*) FROM events WHERE done_at > 0`); n != 1 || w.sim.Calls(exchangePath) != 1 {
		t.Errorf("got %d messages done after %d exchanges, want it done after one", n, w.sim.Calls(exchangePath))
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
