package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"wxplatform/audit"
	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/invitation"
	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

var anyContext = context.Background()

const tester = audit.Actor("operator:tester@host")

// invitation creates an invitation and returns its id and link.
func (w *world) invitation(more string) (id, link string) {
	w.t.Helper()
	answer := w.ask("POST", "/v1/invitations", fmt.Sprintf(`{"redirect_url":%q,"kind":"pc"%s}`, redirect, more))
	if answer.status != http.StatusCreated {
		w.t.Fatalf("got %d %s, want an invitation", answer.status, answer.body)
	}
	return answer.field("id"), answer.field("url")
}

func (w *world) status(invitation string) string {
	w.t.Helper()
	return w.ask("GET", "/v1/invitations/"+invitation, "").field("status")
}

// consented returns where a new browser ends up after consent.
func (w *world) consented(link string, id wechat.AppID, sets ...string) url.Values {
	w.t.Helper()
	landed, err := newBrowser().consent(anyContext, link, string(id), sets...)
	if err != nil {
		w.t.Fatal(err)
	}
	return landed.Query()
}

// as returns the same world as another tenant sees it.
func (w *world) as(name string) *world {
	w.t.Helper()
	id, basic := w.newTenant(name)
	jwt, err := w.token(anyContext, basic)
	if err != nil {
		w.t.Fatal(err)
	}
	other := *w.walkthrough
	other.tenant, other.basic, other.jwt = id, basic, jwt
	return &world{walkthrough: &other, t: w.t, platform: w.platform, log: w.log}
}

func TestAnInvitationIsUsedOnce(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		id, link := w.invitation(`,"state":"st&ate=1"`)
		if got := w.status(id); got != "pending" {
			w.t.Errorf("got %s, want pending", got)
		}
		landed := w.consented(link, service, "1")
		if landed.Get("result") != "authorized" || landed.Get("appid") != string(service) || landed.Get("state") != "st&ate=1" || landed.Get("invitation") != id {
			w.t.Errorf("got %v, want it authorized, with state and invitation", landed)
		}
		if got := w.ask("GET", "/v1/invitations/"+id, ""); got.field("status") != "authorized" || got.field("appid") != string(service) {
			w.t.Errorf("got %s, want it authorized", got.body)
		}
		if page := w.raw("GET", strings.TrimPrefix(link, w.publicURL), nil, ""); page.status != 410 {
			w.t.Errorf("got %d, want the page to say that it has ended", page.status)
		}
		w.wants(w.ask("DELETE", "/v1/invitations/"+id, ""), 409, "invitation-ended")
	})
}

// invitationPage is an answer of GET /v1/invitations.
type invitationPage struct {
	Invitations []map[string]string
	Next        string
}

func (w *world) listedInvitations(query string) (page invitationPage) {
	w.t.Helper()
	answer := w.ask("GET", "/v1/invitations"+query, "")
	if err := json.Unmarshal(answer.body, &page); err != nil || answer.status != 200 || strings.Contains(string(answer.body), `"invitations":null`) {
		w.t.Fatalf("got %d %s, %v, want a page", answer.status, answer.body, err)
	}
	return page
}

func TestATenantListsItsInvitations(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		if none := w.listedInvitations(""); len(none.Invitations) != 0 || none.Next != "" {
			w.t.Errorf("got %+v, want none", none)
		}
		first, _ := w.invitation(`,"state":"first"`)
		second, link := w.invitation(`,"state":"second"`)
		w.consented(link, service, "1")
		w.as("other").invitation("")
		page := w.listedInvitations("?limit=1")
		if got := page.Invitations; len(got) != 1 || got[0]["id_sha256"] != seal.Hash(second) || got[0]["state"] != "second" || got[0]["appid"] != string(service) || got[0]["status"] != "authorized" {
			w.t.Errorf("got %+v, want the newest", page)
		}
		rest := w.listedInvitations("?limit=1&after=" + page.Next)
		if got := rest.Invitations; len(got) != 1 || got[0]["id_sha256"] != seal.Hash(first) || got[0]["status"] != "pending" || rest.Next != "" {
			w.t.Errorf("got %+v, want the older one and no more", rest)
		}
		for status, count := range map[string]int{"pending": 1, "authorized": 1, "cancelled": 0, "not-bound": 0, "expired": 0} {
			if got := w.listedInvitations("?status=" + status); len(got.Invitations) != count {
				w.t.Errorf("%s: got %+v, want %d", status, got, count)
			}
		}
		if all := fmt.Sprint(w.listedInvitations("")); strings.Contains(all, first) || strings.Contains(all, second) {
			w.t.Errorf("got %s, want no id, which is a secret", all)
		}
		for _, query := range []string{"?status=lost", "?after=1", "?limit=0", "?state=first"} {
			w.wants(w.ask("GET", "/v1/invitations"+query, ""), 400, "invalid-request")
		}
	})
}

func TestListingInvitationsNeedsTheScopeToReadThem(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.invitation("")
	other := w.as("other")
	if got := other.listedInvitations(""); len(got.Invitations) != 0 {
		t.Errorf("got %+v of another tenant, want none", got)
	}
	w.wants(w.raw("GET", "/v1/invitations", map[string]string{"Authorization": "Bearer " + w.scoped("authorizers:write")}, ""), 403, "insufficient-scope")
}

func TestAnInvitationCanBeCancelled(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	id, link := w.invitation("")
	if got := w.ask("DELETE", "/v1/invitations/"+id, ""); got.status != 200 || got.field("status") != "cancelled" {
		t.Errorf("got %d %s, want it cancelled", got.status, got.body)
	}
	if got := w.status(id); got != "cancelled" {
		t.Errorf("got %s, want cancelled", got)
	}
	if page := w.raw("GET", strings.TrimPrefix(link, w.publicURL), nil, ""); page.status != 410 {
		t.Errorf("got %d, want 410", page.status)
	}
}

func TestACodeThatComesAfterTheEndIsKeptButBindsNothing(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		id, link := w.invitation("")
		browser, back := w.untilReturnWith(wechatsim.Hold, link, service)
		if got := w.ask("DELETE", "/v1/invitations/"+id, ""); got.status != 200 {
			w.t.Fatalf("got %d %s", got.status, got.body)
		}
		w.waitsForTheEvent(browser, back)
		w.eventually("the browser to be told cancelled", func() bool { return w.told(browser, back).Get("result") == "cancelled" })
		w.wants(w.shut(kfAccount), 404, "unknown-authorizer")
		var shown struct{ Tenant, State string }
		w.command(&shown, "authorizer", "show", string(service))
		if shown.Tenant != "" || shown.State != "healthy" {
			w.t.Errorf("got %+v, want it kept, unassigned", shown)
		}
		var moved struct{ Tenant string }
		w.command(&moved, "authorizer", "move", string(service), w.tenant)
		w.open(kfAccount)
		w.eventually("the move", func() bool { return w.shut(kfAccount).status == 200 })
	})
}

func TestTheLinksOfASuspendedTenantHaveEnded(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		id, link := w.invitation("")
		_, unopened := w.invitation("")
		browser, back := w.untilReturnWith(wechatsim.Hold, link, service)
		w.command(&struct{}{}, "tenant", "suspend", w.tenant)
		before := w.sim.Calls(preAuthPath)
		for _, shown := range []string{link, unopened} {
			if _, page := w.visits(shown); page.status != 410 || !strings.Contains(string(page.body), "链接已失效") {
				w.t.Errorf("got %d %s, want the page of a link that has ended", page.status, page.body)
			}
		}
		if n := w.sim.Calls(preAuthPath) - before; n != 0 {
			w.t.Errorf("got %d pre-auth codes spent, want none", n)
		}
		w.waitsForTheEvent(browser, back)
		w.eventually("the browser to be told cancelled", func() bool { return w.told(browser, back).Get("result") == "cancelled" })
		var shown struct{ Tenant, State string }
		w.command(&shown, "authorizer", "show", string(service))
		if shown.Tenant != "" || shown.State != "healthy" {
			w.t.Errorf("got %+v, want it kept, unassigned", shown)
		}
		w.command(&struct{}{}, "tenant", "resume", w.tenant)
		w.eventually("the tenant to be served again", func() bool { return w.ask("GET", "/v1/invitations/"+id, "").status == 200 })
		if got := w.consented(link, service, "1", "6"); got.Get("result") != "authorized" || w.status(id) != "authorized" {
			w.t.Errorf("got %v, want the link to bind again", got)
		}
	})
}

// untilReturn leads a browser to WeChat and through consent, but not back. It drops the event, and
// returns the browser and its return address.
func (w *world) untilReturn(link string, id wechat.AppID) (*browser, string) {
	w.t.Helper()
	return w.untilReturnWith(wechatsim.Lose, link, id)
}

// untilReturnWith is untilReturn with another fate of the event.
func (w *world) untilReturnWith(event wechatsim.PushEffect, link string, id wechat.AppID) (*browser, string) {
	w.t.Helper()
	if err := w.sim.FaultPushes(wechatsim.PushFault{Kind: "authorized", Count: 1, Do: event}); err != nil {
		w.t.Fatal(err)
	}
	browser := newBrowser()
	page, err := browser.send(anyContext, "GET", link, nil, "")
	if err != nil || page.status != 200 {
		w.t.Fatalf("got %d %v, want the page", page.status, err)
	}
	code := preAuthCode(w.t, string(page.body))
	given, err := w.sim.Consent(anyContext, code, id, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	return browser, given.AppendTo(link + "/done")
}

// waitsForTheEvent checks that the browser's code, whose event is held, is not sent to WeChat. It
// then lets the event come.
func (w *world) waitsForTheEvent(browser *browser, back string) {
	w.t.Helper()
	before := w.sim.Calls(exchangePath)
	answer, err := browser.send(anyContext, "GET", back, nil, "")
	if err != nil || answer.status != 200 || !strings.Contains(string(answer.body), `http-equiv="refresh"`) {
		w.t.Errorf("got %d %v, want a page that waits", answer.status, err)
	}
	if n := w.sim.Calls(exchangePath) - before; n != 0 {
		w.t.Errorf("got %d exchanges, want none for an invitation that has ended before the event comes", n)
	}
	w.sim.Release()
}

// told returns the parameters with which the browser is sent to the tenant, or none.
func (w *world) told(browser *browser, back string) url.Values {
	w.t.Helper()
	answer, err := browser.send(anyContext, "GET", back, nil, "")
	if err != nil {
		w.t.Fatal(err)
	}
	landed, err := url.Parse(answer.header.Get("Location"))
	if err != nil {
		w.t.Fatal(err)
	}
	return landed.Query()
}

func (w *world) lose(kind string) {
	w.t.Helper()
	if err := w.sim.FaultPushes(wechatsim.PushFault{Kind: kind, Count: 1, Do: wechatsim.Lose}); err != nil {
		w.t.Fatal(err)
	}
}

func preAuthCode(t *testing.T, page string) string {
	t.Helper()
	found := button.FindStringSubmatch(page)
	if found == nil {
		t.Fatal("got a page without a button")
	}
	link, err := url.Parse(strings.ReplaceAll(found[1], "&amp;", "&"))
	if err != nil {
		t.Fatal(err)
	}
	return link.Query().Get("pre_auth_code")
}

func TestWithoutItsCookieABrowserWaitsForTheEvent(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	id, link := w.invitation("")
	_, back := w.untilReturn(link, service)
	other := newBrowser()
	page, err := other.send(anyContext, "GET", back, nil, "")
	if err != nil || page.status != 200 || !strings.Contains(string(page.body), `http-equiv="refresh"`) {
		t.Fatalf("got %d %v, want a page that waits", page.status, err)
	}
	if n := w.sim.Calls("/cgi-bin/component/api_query_auth"); n != 0 || w.status(id) != "pending" {
		t.Errorf("got %d exchanges and %s, want the code left alone", n, w.status(id))
	}
	for range 30 {
		if page, err = other.send(anyContext, "GET", back, nil, ""); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(string(page.body), `http-equiv="refresh"`) || !strings.Contains(string(page.body), link) {
		t.Error("got a page that waits for ever, want the way back after a minute")
	}
}

func TestAnIntrudersCodeInAnothersInvitationBindsNothing(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		victim := w.as("victim")
		_, own := w.invitation("")
		_, back := w.untilReturn(own, service) // a code that came by the intruder's own invitation
		stolen, err := url.Parse(back)
		if err != nil {
			w.t.Fatal(err)
		}
		id, link := victim.invitation("")
		answer, err := newBrowser().send(anyContext, "GET", link+"/done?"+stolen.RawQuery, nil, "")
		if err != nil || answer.status != 200 || answer.header.Get("Location") != "" {
			w.t.Fatalf("got %d %v, want a page that waits", answer.status, err)
		}
		if victim.status(id) != "pending" {
			w.t.Errorf("got %s, want the invitation untouched", victim.status(id))
		}
		var all []struct{}
		w.command(&all, "authorizer", "list")
		if len(all) != 0 {
			w.t.Errorf("got %d authorizers, want none", len(all))
		}
	})
}

func TestRedirectAndEventRaceToOneExchange(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		for i := range 5 {
			id, link := w.invitation("")
			before := w.sim.Calls("/cgi-bin/component/api_query_auth")
			if got := w.consented(link, service, "1"); got.Get("result") != "authorized" {
				w.t.Fatalf("round %d: got %v", i, got)
			}
			if err := w.sim.Settle(anyContext); err != nil {
				w.t.Fatal(err)
			}
			w.settles()
			if n := w.sim.Calls("/cgi-bin/component/api_query_auth") - before; n != 1 || w.status(id) != "authorized" {
				w.t.Errorf("round %d: got %d exchanges and %s, want 1 and authorized", i, n, w.status(id))
			}
		}
		w.open(kfAccount)
		w.ok(w.shut(kfAccount))
	})
}

func TestRedirectAndEventMayBringACodeEach(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	behaviour := w.sim.Behaviour()
	behaviour.SeparateCodes = true
	w.sim.SetBehaviour(behaviour)
	id, link := w.invitation("")
	if got := w.consented(link, service, "1"); got.Get("result") != "authorized" {
		t.Fatalf("got %v, want authorized", got)
	}
	w.eventually("both codes to be exchanged", func() bool { return w.sim.Calls("/cgi-bin/component/api_query_auth") == 2 })
	w.settles()
	w.open(kfAccount)
	w.ok(w.shut(kfAccount))
	if w.status(id) != "authorized" {
		t.Errorf("got %s, want authorized", w.status(id))
	}
}

func TestTheEventAloneIsEnough(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		id, link := w.invitation("")
		page := w.raw("GET", strings.TrimPrefix(link, w.publicURL), nil, "")
		if _, err := w.sim.Consent(anyContext, preAuthCode(w.t, string(page.body)), service, 1); err != nil {
			w.t.Fatal(err)
		}
		w.eventually("the event", func() bool { return w.status(id) == "authorized" })
		w.open(kfAccount)
		w.ok(w.shut(kfAccount))
	})
}

func TestTwoBrowsersExchangeOneCodeOnce(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		_, link := w.invitation("")
		browser, back := w.untilReturn(link, service)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				answer, err := browser.send(anyContext, "GET", back, nil, "")
				if err != nil || !strings.Contains(answer.header.Get("Location"), "result=authorized") {
					w.t.Errorf("got %d %s %v, want authorized", answer.status, answer.header.Get("Location"), err)
				}
			})
		}
		all.Wait()
		if n := w.sim.Calls("/cgi-bin/component/api_query_auth"); n != 1 {
			w.t.Errorf("got %d exchanges, want 1", n)
		}
	})
}

func TestAnExchangeIsStoredAfterAnOutageOfSQL(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		if w.platform.db.Engine() != "postgres" {
			return
		}
		aside := w.aside()
		id, link := w.invitation("")
		browser, back := w.untilReturn(link, service)
		answer, told := make(chan struct{}), make(chan url.Values, 1)
		w.sim.Fault(wechatsim.Fault{Path: exchangePath, When: wechatsim.After, Hold: answer})
		var waiting sync.WaitGroup
		waiting.Go(func() { told <- w.told(browser, back) })
		defer waiting.Wait()
		w.eventually("the code to be sent", func() bool { return w.sim.Calls(exchangePath) == 1 })
		w.readOnly(aside, true)
		close(answer)
		w.stays("the browser's wait", func() bool { return len(told) == 0 })
		w.readOnly(aside, false)
		if got := <-told; got.Get("result") != "authorized" {
			w.t.Errorf("got %v, want it authorized once SQL is back", got)
		}
		if n := w.sim.Calls(exchangePath); n != 1 || w.status(id) != "authorized" {
			w.t.Errorf("got %d exchanges and %s, want 1 and authorized", n, w.status(id))
		}
	})
}

func TestWhatWeChatSaysOfACodeIsStoredThoughTheCallerLeft(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	answer := make(chan struct{})
	w.sim.Fault(wechatsim.Fault{Path: exchangePath, Hold: answer, Code: 61010})
	ctx, leave := context.WithCancel(anyContext)
	defer leave()
	var asking errgroup.Group
	asking.Go(func() error {
		_, err := w.platform.invitations.Exchange(ctx, seal.NewSecret("queryauthcode@@@made-up"))
		return err
	})
	w.eventually("the code to be sent", func() bool { return w.sim.Calls(exchangePath) == 1 })
	leave()
	close(answer)
	if err := asking.Wait(); !errors.Is(err, invitation.ErrCode) {
		t.Errorf("got %v, want ErrCode", err)
	}
	if n := w.number(`SELECT COUNT(*) FROM exchanges WHERE done = 1`); n != 1 {
		t.Errorf("got %d codes known as invalid, want this one", n)
	}
}

func TestABindingLastsThoughAnotherTenantInvites(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		other := w.as("other")
		id, link := other.invitation("")
		landed := other.consented(link, service, "1", "6")
		if landed.Get("result") != "not-bound" || landed.Get("appid") != "" {
			w.t.Errorf("got %v, want not-bound and nothing told of the account", landed)
		}
		if got := other.ask("GET", "/v1/invitations/"+id, ""); got.field("status") != "not-bound" || got.field("appid") != "" {
			w.t.Errorf("got %s, want not-bound", got.body)
		}
		other.wants(other.shut(kfAccount), 404, "unknown-authorizer")
		w.open(kfAccount)
		w.ok(w.shut(kfAccount)) // with the token that the other's invitation brought: refusing it would have killed ours
	})
}

func TestAnInvitationForOneAccountBindsNoOther(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	id, link := w.invitation(fmt.Sprintf(`,"appid":%q`, service))
	page := w.raw("GET", strings.TrimPrefix(link, w.publicURL), nil, "")
	if !strings.Contains(string(page.body), "biz_appid="+string(service)) {
		t.Errorf("got a link without biz_appid")
	}
	if _, err := w.sim.Consent(anyContext, preAuthCode(t, string(page.body)), wechatsim.SampleOfficial, 1); err != nil {
		t.Fatal(err)
	}
	w.eventually("the event", func() bool { return w.status(id) == "not-bound" })
	answer, err := w.send(anyContext, w.jwt, wechatsim.SampleOfficial, "a@b", customer)
	if err != nil {
		t.Fatal(err)
	}
	w.wants(answer, 404, "unknown-authorizer")
}

func TestAnothersAuthorizerCannotBeInvited(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	other := w.as("other")
	body := `{"redirect_url":"` + redirect + `","kind":"pc","appid":"%s"}`
	theirs := other.ask("POST", "/v1/invitations", fmt.Sprintf(body, service))
	nobodys := other.ask("POST", "/v1/invitations", fmt.Sprintf(body, "wx00000000000000ff"))
	other.wants(theirs, 404, "unknown-authorizer")
	if strings.Replace(string(theirs.body), theirs.field("request_id"), "", 1) != strings.Replace(string(nobodys.body), nobodys.field("request_id"), "", 1) {
		t.Errorf("got %s and %s, want them equal but for the request id", theirs.body, nobodys.body)
	}
}

func TestTheTenantBoundary(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		other := w.as("other")
		id, _ := w.invitation("")
		for _, c := range []struct{ method, path, body string }{
			{"GET", "/v1/authorizers/" + string(service), ""},
			{"POST", "/v1/authorizers/" + string(service) + closePath, `{"kf_account":"test1@test","openid":"o"}`},
			{"POST", "/v1/authorizers/" + string(service) + "/customservice/kfsession/create", `{"kf_account":"test1@test","openid":"o"}`},
			{"GET", "/v1/authorizers/" + string(service) + "/customservice/kfsession/getsession?openid=o", ""},
			{"GET", "/v1/authorizers/" + string(service) + "/customservice/kfsession/getsessionlist?kf_account=a@b", ""},
			{"GET", "/v1/authorizers/" + string(service) + "/customservice/kfsession/getwaitcase", ""},
		} {
			theirs, nobodys := other.ask(c.method, c.path, c.body), other.ask(c.method, strings.Replace(c.path, string(service), "wx00000000000000ff", 1), c.body)
			other.wants(theirs, 404, "unknown-authorizer")
			if strings.Replace(string(theirs.body), theirs.field("request_id"), "", 1) != strings.Replace(string(nobodys.body), nobodys.field("request_id"), "", 1) {
				w.t.Errorf("%s: got %s and %s, want them equal but for the request id", c.path, theirs.body, nobodys.body)
			}
		}
		other.wants(other.ask("GET", "/v1/invitations/"+id, ""), 404, "unknown-invitation")
		other.wants(other.ask("DELETE", "/v1/invitations/"+id, ""), 404, "unknown-invitation")
		if got := other.ask("GET", "/v1/authorizers", ""); string(got.body) != `{"authorizers":[]}` {
			w.t.Errorf("got %s, want nothing listed", got.body)
		}
		if got := w.ask("GET", "/v1/authorizers?limit=1", ""); !strings.Contains(string(got.body), string(service)) || strings.Contains(string(got.body), `"next":`) {
			w.t.Errorf("got %s, want ours listed", got.body)
		}
	})
}

func TestInvitationsAreReadStrictly(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for body, named := range map[string]string{
		`{"kind":"pc"}`: "redirect_url",
		`{"redirect_url":"https://evil.example","kind":"pc"}`:                                                    "redirect_url",
		`{"redirect_url":"` + redirect + `?x=1","kind":"pc"}`:                                                    "redirect_url",
		`{"redirect_url":"` + redirect + `"}`:                                                                    "kind",
		`{"redirect_url":"` + redirect + `","kind":"tv"}`:                                                        "kind",
		`{"redirect_url":"` + redirect + `","kind":"pc","expires_in":1}`:                                         "expires_in",
		`{"redirect_url":"` + redirect + `","kind":"pc","expires_in":2592001}`:                                   "expires_in",
		`{"redirect_url":"` + redirect + `","kind":"pc","permission_sets":[0]}`:                                  "permission_sets",
		`{"redirect_url":"` + redirect + `","kind":"pc","permission_sets":[` + strings.Repeat("1,", 100) + `1]}`: "permission_sets",
		`{"redirect_url":"` + redirect + `","kind":"pc","permission_sets":"1"}`:                                  "permission_sets",
		`{"redirect_url":"` + redirect + `","kind":"pc","state":"` + strings.Repeat("状", 129) + `"}`:             "state",
		`{"redirect_url":"` + redirect + `","kind":"pc","state":"a\u0000"}`:                                      "state",
		`{"redirect_url":"` + redirect + `","kind":"pc","tenant":"t1"}`:                                          "tenant",
	} {
		answer := w.ask("POST", "/v1/invitations", body)
		w.wants(answer, 400, "invalid-request")
		if !strings.Contains(answer.field("detail"), named) {
			t.Errorf("%s: got %s, want %q named", body, answer.body, named)
		}
	}
	w.wants(w.raw("POST", "/v1/invitations", map[string]string{"Authorization": "Bearer " + w.scoped("authorizers:read")}, `{}`), 403, "insufficient-scope")
	id, _ := w.invitation("")
	for _, method := range []string{"GET", "DELETE"} {
		w.wants(w.ask(method, "/v1/invitations/"+id+"?x=1", ""), 400, "invalid-request")
	}
	if got := w.status(id); got != "pending" {
		t.Errorf("got the invitation %s, want it pending after a refused request", got)
	}
}

func TestThePagesOfAnInvitationAreSafe(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	_, link := w.invitation("")
	page := w.raw("GET", strings.TrimPrefix(link, w.publicURL), nil, "")
	for name, want := range map[string]string{"Referrer-Policy": "origin", "Cache-Control": "no-store", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff"} {
		if got := page.header.Get(name); got != want {
			t.Errorf("got %s %q, want %q", name, got, want)
		}
	}
	cookie := page.header.Get("Set-Cookie")
	if !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "SameSite=Lax") || strings.Contains(cookie, "Secure") {
		t.Errorf("got %q, want HttpOnly and SameSite=Lax, and Secure only on https", cookie)
	}
	if body := string(page.body); !strings.Contains(body, "四季花店 SaaS") || strings.Contains(body, "<script") || strings.Contains(strings.ReplaceAll(body, w.wechatURL, ""), "//") {
		t.Errorf("got %s, want the tenant's name, no script and no external asset", body)
	}
	if missing := w.raw("GET", "/authorize/AAAAAAAAAAAAAAAAAAAAAAAAAA", nil, ""); missing.status != 404 {
		t.Errorf("got %d, want 404", missing.status)
	}
}

func TestALostAnswerToAnExchangeIsFoundInTheList(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.sim.Fault(wechatsim.Fault{Path: "/cgi-bin/component/api_query_auth", When: wechatsim.After, Do: wechatsim.Cut})
		id, link := w.invitation("")
		page := w.raw("GET", strings.TrimPrefix(link, w.publicURL), nil, "")
		if _, err := w.sim.Consent(anyContext, preAuthCode(w.t, string(page.body)), service, 1); err != nil {
			w.t.Fatal(err)
		}
		w.eventually("the answer to be recovered", func() bool { return w.status(id) == "authorized" })
		w.open(kfAccount)
		w.ok(w.shut(kfAccount))
	})
}

func TestAnEventIsNotLostWhenTheExchangeFails(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.sim.Fault(wechatsim.Fault{Path: "/cgi-bin/component/api_query_auth", Code: -1, Count: 2})
	id, link := w.invitation("")
	page := w.raw("GET", strings.TrimPrefix(link, w.publicURL), nil, "")
	if _, err := w.sim.Consent(anyContext, preAuthCode(t, string(page.body)), service, 1); err != nil {
		t.Fatal(err)
	}
	w.eventually("the event to be worked off in the end", func() bool { return w.status(id) == "authorized" })
}

func TestAMerchantWhoWithdrawsIsGoneOnlyWhenWeChatSaysSo(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		w.settles()
		// The event is authentic, but not enough: WeChat still says that the account is authorized.
		event := fmt.Sprintf(`<xml><AppId>%s</AppId><CreateTime>%d</CreateTime><InfoType>unauthorized</InfoType><AuthorizerAppid>%s</AuthorizerAppid></xml>`, w.sim.Config().AppID, time.Now().Unix(), service)
		if got := w.push("/wechat/events", event, time.Now()); string(got.body) != "success" {
			w.t.Fatalf("got %d %s", got.status, got.body)
		}
		w.later(61 * time.Second)
		w.eventually("WeChat to be asked", func() bool { return w.checks() == 1 })
		w.open(kfAccount)
		w.ok(w.shut(kfAccount))
		if err := w.sim.Unauthorize(service); err != nil {
			w.t.Fatal(err)
		}
		w.wants(w.shut(kfAccount), 503, "wechat-unavailable") // 61003, unconfirmed
		w.later(61 * time.Second)
		w.eventually("the withdrawal to be confirmed", func() bool { return w.shut(kfAccount).status == 410 })
		w.wants(w.shut(kfAccount), 410, "authorization-revoked")
		if got := w.ask("GET", "/v1/authorizers/"+string(service), ""); got.field("state") != "revoked" || got.field("reason") == "" {
			w.t.Errorf("got %s, want it listed as revoked, with the reason", got.body)
		}
		// Once released, an invitation of any tenant may bind it.
		other := w.as("other")
		_, link := other.invitation("")
		if got := other.consented(link, service, "1"); got.Get("result") != "authorized" {
			w.t.Errorf("got %v, want the freed account bound", got)
		}
		w.eventually("the binding to be seen", func() bool { return w.shut(kfAccount).status == 404 })
		w.open(kfAccount)
		other.ok(other.shut(kfAccount))
	})
}

// later moves the times that a check of the authorization waits for, as if that much time had
// passed.
func (w *world) later(by time.Duration) {
	w.t.Helper()
	w.eventually("a check to be scheduled", func() bool {
		rows, err := db.Exec(anyContext, w.platform.db, `UPDATE authorizers SET check_at = check_at - $1, authorized_at = authorized_at - $1 WHERE check_at > 0`, by.Milliseconds())
		return err == nil && rows > 0
	})
}

func (w *world) checks() int {
	w.t.Helper()
	n, err := db.One(anyContext, w.platform.db, db.Value[int], `SELECT COALESCE(MAX(checks), 0) FROM authorizers`)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}
