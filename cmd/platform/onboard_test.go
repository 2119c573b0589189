package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"wxplatform/wechat/wechatsim"
)

const preAuthPath = "/cgi-bin/component/api_create_preauthcode"

// visits sends a new browser to a link, and returns it with what it got.
func (w *world) visits(link string) (*browser, reply) {
	w.t.Helper()
	b := newBrowser()
	page, err := b.send(anyContext, "GET", link, nil, "")
	if err != nil {
		w.t.Fatal(err)
	}
	return b, page
}

// brings returns what a browser gets that comes back to a link with an auth code.
func (w *world) brings(b *browser, link, code string) reply {
	w.t.Helper()
	answer, err := b.send(anyContext, "GET", link+"/done?auth_code="+url.QueryEscape(code), nil, "")
	if err != nil {
		w.t.Fatal(err)
	}
	return answer
}

func (w *world) later429(answer reply, title string) {
	w.t.Helper()
	if answer.status != http.StatusTooManyRequests || answer.header.Get("Retry-After") < "1" || !strings.Contains(string(answer.body), title) {
		w.t.Errorf("got %d, Retry-After %q, %s, want 429 and %q", answer.status, answer.header.Get("Retry-After"), answer.body, title)
	}
}

func TestALinkThatIsOpenedOftenCostsOneCallAndOneRow(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		_, link := w.invitation("")
		var all sync.WaitGroup
		for range 40 {
			all.Go(func() {
				if _, page := w.visits(link); page.status != 200 || page.header.Get("Set-Cookie") == "" {
					w.t.Errorf("got %d, want the page and a cookie", page.status)
				}
			})
		}
		all.Wait()
		if n := w.sim.Calls(preAuthPath); n != 1 {
			w.t.Errorf("got %d calls for a pre-auth code, want 1", n)
		}
		if n := w.number(`SELECT COUNT(*) FROM invitation_secrets`); n != 1 {
			w.t.Errorf("got %d rows, want that of the one pre-auth code", n)
		}
		_, other := w.invitation("")
		w.visits(other)
		if n := w.sim.Calls(preAuthPath); n != 2 {
			w.t.Errorf("got %d calls, want each invitation to have a code of its own", n)
		}
	})
}

func TestABrowserMayBringFewCodes(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		other := w.replica(nil)
		id, link := w.invitation("")
		guesser, _ := w.visits(link)
		for _, impossible := range []string{"x", "queryauthcode@@@<script>", strings.Repeat("x", 513), "queryauth code"} {
			if got := w.brings(guesser, link, impossible); got.status != 400 {
				w.t.Errorf("%q: got %d, want it refused", impossible, got.status)
			}
		}
		if n := w.sim.Calls(exchangePath); n != 0 {
			w.t.Errorf("got %d exchanges of codes that cannot be codes, want none", n)
		}
		var last reply
		for i := range 8 { // by both replicas in turn
			at := []string{link, strings.Replace(link, w.publicURL, other.publicURL, 1)}[i%2]
			last = w.brings(guesser, at, fmt.Sprintf("queryauthcode@@@made-up-%d", i))
		}
		w.later429(last, "尝试次数过多")
		if n := w.sim.Calls(exchangePath); n != 5 {
			w.t.Errorf("got %d exchanges, want 5 for one browser on all replicas", n)
		}
		honest, page := w.visits(link)
		w.lose("authorized")
		given, err := w.sim.Consent(anyContext, preAuthCode(w.t, string(page.body)), service, 1)
		if err != nil {
			w.t.Fatal(err)
		}
		if got := w.told(honest, given.AppendTo(link+"/done")); got.Get("result") != "authorized" {
			w.t.Errorf("got %v, want another browser served", got)
		}
		before := w.sim.Calls(exchangePath)
		for i := range 3 {
			fresh := honest
			w.brings(fresh, link, fmt.Sprintf("queryauthcode@@@after-the-end-%d", i))
		}
		if n := w.sim.Calls(exchangePath) - before; n != 0 || w.status(id) != "authorized" {
			w.t.Errorf("got %d exchanges for an invitation that has ended, want none", n)
		}
	})
}

func TestCodesForACancelledInvitationAreNotSent(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	id, link := w.invitation("")
	guesser, _ := w.visits(link)
	w.ask("DELETE", "/v1/invitations/"+id, "")
	for i := range 4 {
		if got := w.brings(guesser, link, fmt.Sprintf("queryauthcode@@@made-up-%d", i)); got.status != 200 {
			t.Errorf("got %d, want a page that waits for WeChat's event", got.status)
		}
	}
	if n := w.sim.Calls(exchangePath); n != 0 || w.number(`SELECT COUNT(*) FROM exchanges`) != 0 {
		t.Errorf("got %d exchanges, want none, and no row", n)
	}
}

func TestALinkMayNotBringCodesWithoutEnd(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	_, link := w.invitation("")
	var last reply
	for i := range 20 {
		b, _ := w.visits(link) // a new cookie for each
		last = w.brings(b, link, fmt.Sprintf("queryauthcode@@@made-up-%d", i))
	}
	w.later429(last, "访问过于频繁")
	if n := w.sim.Calls(exchangePath); n < 10 || n > 12 {
		t.Errorf("got %d exchanges, want the link's burst of 10", n)
	}
}

func TestAUsedUpQuotaPausesTheCallsOfLinks(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.sim.Fault(wechatsim.Fault{Path: preAuthPath, Code: 45009, Count: wechatsim.Always})
	for i := range 5 {
		_, link := w.invitation("")
		_, page := w.visits(link)
		if page.status != 503 || page.header.Get("Retry-After") < "1" || !strings.Contains(string(page.body), "quota") || !strings.Contains(string(page.body), "次数") {
			t.Errorf("%d: got %d %s, want a page about the quota, in both languages, with Retry-After", i, page.status, page.body)
		}
	}
	if n := w.sim.Calls(preAuthPath); n != 1 {
		t.Errorf("got %d calls, want no other after 45009", n)
	}
	if !w.alarmed() {
		t.Error("got no alarm in the log")
	}
	if got := w.scrape(`wxplatform_onboarding_paused{api="` + preAuthPath + `"}`); got != "1" {
		t.Errorf("got %q, want the metric to say so", got)
	}
	if got := w.scrape(`wxplatform_onboarding_paused{api="` + exchangePath + `"}`); got != "0" {
		t.Errorf("got %q, want the other call not paused", got)
	}
}

func TestAUsedUpQuotaPausesExchanges(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.sim.Fault(wechatsim.Fault{Path: exchangePath, Code: 45009, Count: wechatsim.Always})
	for i := range 3 {
		_, link := w.invitation("")
		b, _ := w.visits(link)
		if got := w.brings(b, link, fmt.Sprintf("queryauthcode@@@made-up-%d", i)); got.status != 503 || got.header.Get("Retry-After") < "1" {
			t.Errorf("got %d, Retry-After %q, want 503", got.status, got.header.Get("Retry-After"))
		}
	}
	if n := w.sim.Calls(exchangePath); n != 1 {
		t.Errorf("got %d exchanges, want no other after 45009", n)
	}
}

// misdirects has a merchant consent to the world's link, and an intruder bring the code through a
// link of its own first. Then it lets WeChat's event come.
func (w *world) misdirects(intruder *world, separate bool) (own, theirs string) {
	w.t.Helper()
	behaviour := w.sim.Behaviour()
	behaviour.SeparateCodes = separate
	w.sim.SetBehaviour(behaviour)
	own, link := w.invitation("")
	theirs, trap := intruder.invitation("")
	if err := w.sim.FaultPushes(wechatsim.PushFault{Kind: "updateauthorized", Count: 1, Do: wechatsim.Hold}); err != nil {
		w.t.Fatal(err)
	}
	_, back := w.untilReturnWith(wechatsim.Hold, link, service)
	stolen, err := url.Parse(back)
	if err != nil {
		w.t.Fatal(err)
	}
	b, _ := w.visits(trap)
	if got := w.brings(b, trap, stolen.Query().Get("auth_code")); got.status != http.StatusSeeOther {
		w.t.Fatalf("got %d %s, want the code exchanged", got.status, got.body)
	}
	w.sim.Release()
	w.eventually("the alarm", w.alarmed)
	w.settles()
	if got := w.scrape(`wxplatform_codes_misdirected_total`); got != "1" {
		w.t.Errorf("got %q, want it counted", got)
	}
	return own, theirs
}

func TestACodeBroughtThroughAnothersLinkBindsNothing(t *testing.T) {
	t.Parallel()
	for name, separate := range map[string]bool{"one code": false, "a code each": true} {
		t.Run(name, func(t *testing.T) {
			engines(t, func(w *world) {
				intruder := w.as("intruder")
				own, theirs := w.misdirects(intruder, separate)
				if n := w.number(`SELECT COUNT(*) FROM authorizers WHERE tenant <> ''`); n != 0 {
					w.t.Errorf("got the account bound, want nothing bound")
				}
				intruder.wants(intruder.shut(kfAccount), 404, "unknown-authorizer")
				if got := intruder.status(theirs); got != "not-bound" {
					w.t.Errorf("got the intruder's invitation %s, want not-bound", got)
				}
				if got := w.status(own); got != "pending" {
					w.t.Errorf("got the merchant's invitation %s, want it pending, for another attempt", got)
				}
				w.command(&struct{}{}, "authorizer", "move", string(service), w.tenant)
				w.open(kfAccount)
				w.eventually("the account to be served with the tokens that were stored", func() bool { return w.shut(kfAccount).status == 200 })
			})
		})
	}
}

// An answer may also name another account than the event does.
func TestAContradictionThroughAnothersLinkHasBothAccountsSought(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		const other = wechatsim.SampleOfficial
		if _, err := w.sim.Authorize(other, 1); err != nil {
			w.t.Fatal(err)
		}
		w.edits(exchangePath, map[string]string{"authorization_info.authorizer_appid": fmt.Sprintf("%q", other)})
		intruder := w.as("intruder")
		own, theirs := w.misdirects(intruder, false)
		if n := w.number(`SELECT COUNT(*) FROM authorizers WHERE appid IN ($1, $2) AND tenant = ''`, string(service), string(other)); n != 2 {
			w.t.Fatalf("got %d accounts known that are nobody's, want both", n)
		}
		if intruder.status(theirs) != "not-bound" || w.status(own) != "pending" {
			w.t.Errorf("got %s and %s, want the intruder's invitation not bound and the merchant's pending", intruder.status(theirs), w.status(own))
		}
		w.eventually("the list to give the merchant's account its refresh token", func() bool {
			return w.number(`SELECT COUNT(*) FROM tokens WHERE id = $1 AND LENGTH(refresh) > 0`, string(service)) == 1
		})
	})
}

// The other tenant had the account before, so it keeps it.
func TestACodeBroughtThroughItsTenantsLinkTakesNoAccountAway(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	owner := w.as("owner")
	owner.grant(service, "6")
	w.misdirects(owner, false)
	owner.open(kfAccount)
	owner.ok(owner.shut(kfAccount))
}

func TestACodeThatAnEventBroughtTellsAnotherLinkNothing(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	intruder := w.as("intruder")
	own, link := w.invitation("")
	_, page := w.visits(link)
	given, err := w.sim.Consent(anyContext, preAuthCode(t, string(page.body)), service, 1)
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("the event", func() bool { return w.status(own) == "authorized" })
	_, trap := intruder.invitation("")
	b, _ := w.visits(trap)
	if got := w.told(b, given.AppendTo(trap+"/done")); got.Has("result") || got.Has("appid") {
		t.Errorf("got %v, want nothing told of another invitation's code", got)
	}
}
