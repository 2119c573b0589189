//go:build failpoints

package faults

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

// merchant is a merchant who follows an invitation, with a browser that goes through the balancer.
type merchant struct {
	w          *world
	client     *http.Client
	invitation string
	id         wechat.AppID
	back       string // where WeChat sent the browser, with its code
}

// invite makes an invitation, and a merchant who consented at WeChat and was redirected back, but
// has not yet followed the redirect.
func (w *world) invite() *merchant {
	w.t.Helper()
	account, err := w.sim.AddAccount(wechatsim.Account{Kind: wechatsim.Service, CustomerService: true})
	if err != nil {
		w.t.Fatal(err)
	}
	jar, _ := cookiejar.New(nil) // without a list of public suffixes it cannot fail
	m := &merchant{w: w, id: account.AppID, client: &http.Client{Jar: jar, Timeout: 30 * second, Transport: w.http.Transport, CheckRedirect: w.http.CheckRedirect}}
	link := w.invitation(m)
	status, page, _ := m.get(link)
	found := button.FindStringSubmatch(page)
	if status != http.StatusOK || found == nil {
		w.t.Fatalf("the invitation's page: %d", status)
	}
	consent, err := url.Parse(html.UnescapeString(found[1]))
	if err != nil {
		w.t.Fatal(err)
	}
	given, err := w.sim.Consent(w.t.Context(), consent.Query().Get("pre_auth_code"), m.id)
	if err != nil {
		w.t.Fatal(err)
	}
	m.back = given.AppendTo(link + "/done")
	w.ids = append(w.ids, m.id)
	return m
}

var button = regexp.MustCompile(`<a class="go" href="([^"]+)"`)

func (w *world) invitation(m *merchant) (link string) {
	w.t.Helper()
	var made struct{ ID, URL string }
	status, text := w.tenantAsks(http.MethodPost, "/v1/invitations", `{"redirect_url":"http://127.0.0.1/welcome","kind":"pc"}`)
	if err := json.Unmarshal([]byte(text), &made); err != nil || status != http.StatusCreated {
		w.t.Fatalf("make an invitation: %d %s", status, text)
	}
	m.invitation = made.ID
	return made.URL
}

// tenantAsks sends a request as the tenant's back end.
func (w *world) tenantAsks(method, path, body string) (status int, text string) {
	w.t.Helper()
	request, err := http.NewRequest(method, w.public+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+w.jwt)
	request.Header.Set("Content-Type", "application/json")
	answer, err := w.http.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	said, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(said)
}

func (m *merchant) get(address string) (status int, text, location string) {
	answer, err := m.client.Get(address)
	if err != nil {
		return 0, err.Error(), ""
	}
	defer answer.Body.Close()
	said, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(said), answer.Header.Get("Location")
}

// comeBack follows the redirect with the auth code. It returns what the browser is told: the result
// in the tenant's URL, or otherwise the status.
func (m *merchant) comeBack() string {
	status, _, location := m.get(m.back)
	if u, err := url.Parse(location); err == nil && u.Query().Get("result") != "" {
		return u.Query().Get("result")
	}
	return fmt.Sprint(status)
}

// status returns the invitation's status as the tenant reads it.
func (m *merchant) status() string {
	var shown struct{ Status string }
	_, text := m.w.tenantAsks(http.MethodGet, "/v1/invitations/"+m.invitation, "")
	_ = json.Unmarshal([]byte(text), &shown)
	return shown.Status
}

// browserKilled kills the replica that handles a merchant's return from WeChat, at each step of the
// exchange: with WeChat's event held back, and with both at once. If the answer was lost with the
// replica, the browser learns its result once the event says whose code it was; otherwise no event
// is needed.
func browserKilled(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk, rotate: true})
	var all []*merchant
	for _, held := range []bool{true, false} {
		for _, step := range []string{"invitation.claimed", "invitation.answered", "invitation.stored"} {
			if held {
				w.mustFaultPush(wechatsim.PushFault{Kind: "authorized", Do: wechatsim.Hold})
			}
			w.arm(step, "kill")
			one := w.invite()
			first := one.comeBack() // where the event is not held back its worker may come to the step before
			<-w.struck(step).gone
			w.revive()
			if first == "authorized" && held {
				t.Errorf("%s: the killed replica's browser was told %s", step, first)
			}
			all = append(all, one)
		}
	}
	began := time.Now()
	for i, one := range all {
		if i == 1 {
			_ = one.comeBack() // its answer died with the replica: only the event can tell
			w.sim.Release()
		}
		var said string
		again := func() bool { said = one.comeBack(); time.Sleep(second); return said == "authorized" }
		if !within(60*second-time.Since(began), again) || one.status() != "authorized" {
			t.Errorf("a browser that comes again is told %s, and the tenant %s", said, one.status())
		}
	}
	heals := time.Since(began).Round(10 * time.Millisecond)
	w.heals(w.ids)
	w.settled()
	return fmt.Sprintf("%d kills; all authorized within %s of the last; %d exchanges", len(all), heals, w.sim.Calls(queryAuth))
}

func (w *world) mustFaultPush(f wechatsim.PushFault) {
	w.t.Helper()
	if err := w.sim.FaultPushes(f); err != nil {
		w.t.Fatal(err)
	}
}

// revive starts the dead replicas.
func (w *world) revive() {
	w.t.Helper()
	for _, r := range w.replicas {
		if !r.alive() {
			r.start()
		}
	}
}

// exchangesRace runs an exchange and a refresh of one merchant at the same time, with either of
// them late: its request reaches WeChat late, or its answer is late. It checks I6 and I1.
func exchangesRace(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk, rotate: true})
	const late = 1200 * time.Millisecond
	races := []struct {
		path string
		when wechatsim.When
	}{{authorizerToken, wechatsim.Before}, {authorizerToken, wechatsim.After}, {queryAuth, wechatsim.Before}, {queryAuth, wechatsim.After}}
	for _, sets := range []wechat.PermissionSets{{1, 6}, {1, 6, 11}} { // with nothing stored before, and with something
		ids := w.ids
		if len(ids) == 0 {
			ids = w.merchants(len(races))
		}
		for i, race := range races {
			w.sim.Fault(wechatsim.Fault{Path: race.path, AppID: ids[i], When: race.when, Delay: late})
		}
		w.race(ids, sets)
		w.sim.ClearFaults()
		w.settled()
	}
	heals := w.heals(w.ids)
	return fmt.Sprintf("%d races of %d ways; %d exchanges; all served after %s", 2*len(races), len(races), w.sim.Calls(queryAuth), heals)
}

// race starts a refresh and an exchange of each merchant, one shortly after the other.
func (w *world) race(ids []wechat.AppID, sets wechat.PermissionSets) {
	w.t.Helper()
	for _, id := range ids {
		_ = w.sim.Reject(id) // one that has no token yet needs no rejection
	}
	c := w.crowd(3*len(ids), ids...)
	time.Sleep(200 * time.Millisecond)
	for _, id := range ids {
		if err := w.sim.ChangeSets(id, sets...); err != nil {
			w.t.Fatal(err)
		}
	}
	if got := c.all(); got.lost() > 0 {
		w.t.Errorf("callers while an exchange races their refresh: %s", got)
	}
	if !within(30*second, func() bool { return w.waiting() == 0 }) {
		w.t.Errorf("%d events are not worked off", w.waiting())
	}
}
