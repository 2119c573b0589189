package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"wxplatform/component"
	"wxplatform/internal/db"
	"wxplatform/wechat/wechatsim"
)

func (w *world) degraded(text string) bool {
	return strings.Contains(strings.Join(w.platform.ready(anyContext).Reasons, "\n"), text)
}

func TestReadySaysWhatIsAwayAndSinceWhen(t *testing.T) {
	gone := freePort(t)
	w := newWorldWith(t, map[string]string{"PLATFORM_REDIS_URL": "redis://" + gone}) // the world's own start would wait for "ready"
	if !w.degraded("Redis is away since ") {
		t.Errorf("got %+v, want Redis away", w.platform.ready(anyContext))
	}
	since := w.platform.health.redis.since.Load()
	time.Sleep(5 * time.Millisecond)
	w.platform.ready(anyContext)
	if again := w.platform.health.redis.since.Load(); again != since || since == 0 {
		t.Errorf("got it away since %d and then since %d, want the first time kept", since, again)
	}
	w.platform.health.sql.note(errors.New("away"))
	if w.platform.health.sql.up() != 0 {
		t.Error("got SQL up, want it away")
	}
	w.platform.ready(anyContext)
	if w.platform.health.sql.up() != 1 {
		t.Error("got SQL away, want it up again once it answers")
	}
}

func TestReadySaysThatNoTicketCame(t *testing.T) {
	w := sqliteWorld(t)
	newest := w.platform.component.Newest()
	newest.Received = time.Now().Add(-26 * time.Minute)
	if err := w.platform.component.Keep(anyContext, newest); err != nil {
		t.Fatal(err)
	}
	if !w.degraded("no component_verify_ticket for 26 minutes") {
		t.Errorf("got %+v, want the ticket missed", w.platform.ready(anyContext))
	}
	newest.Received = time.Now().Add(-component.TicketMissing + time.Minute)
	newest.Created = newest.Created.Add(time.Second)
	if err := w.platform.component.Keep(anyContext, newest); err != nil {
		t.Fatal(err)
	}
	if w.degraded("ticket") {
		t.Errorf("got %+v, want nothing said before 25 minutes", w.platform.ready(anyContext))
	}
}

func TestReadySaysThatThePlatformIsMisconfiguredUntilItIsNot(t *testing.T) {
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.open(kfAccount)
	w.sim.SetAllowedIPs("10.9.9.9")
	w.wants(w.shut(kfAccount), 503, "platform-misconfigured")
	if !w.degraded("WeChat refuses with 61004") || !w.degraded("put 127.0.0.1 into") {
		t.Errorf("got %+v, want 61004 and what to do", w.platform.ready(anyContext))
	}
	if got := w.scrape(`wxplatform_misconfigured`); got != "1" {
		t.Errorf("got misconfigured %q, want 1", got)
	}
	if got := w.scrape(`wxplatform_problems_total{slug="platform-misconfigured"}`); got != "1" {
		t.Errorf("got %q problems, want 1", got)
	}
	w.sim.SetAllowedIPs()
	w.ok(w.shut(kfAccount))
	if w.degraded("WeChat refuses") {
		t.Errorf("got %+v, want it forgotten after a good answer", w.platform.ready(anyContext))
	}
}

func TestARefusalThatIsNotRepeatedIsForgotten(t *testing.T) {
	h := &health{refusals: map[string]refusal{"/a": {code: 61004, since: time.Now(), last: time.Now()}}}
	if _, is := h.misconfigured(time.Now().Add(fellSilent - time.Minute)); !is {
		t.Error("got nothing after 14 minutes, want it kept")
	}
	if r, is := h.misconfigured(time.Now().Add(fellSilent + time.Minute)); is {
		t.Errorf("got %+v after 16 minutes, want it forgotten", r)
	}
}

// scrape is one sample of the world's /metrics, "" where there is none.
func (w *world) scrape(sample string) string {
	w.t.Helper()
	for line := range strings.Lines(w.scraped()) {
		if value, ok := strings.CutPrefix(line, sample+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (w *world) scraped() string {
	w.t.Helper()
	answer, err := w.out.send(anyContext, "GET", "http://"+w.on.private.Addr().String()+"/metrics", nil, "")
	if err != nil || answer.status != 200 {
		w.t.Fatalf("got %d, %v", answer.status, err)
	}
	return string(answer.body)
}

func TestTheMetricsOfCustody(t *testing.T) {
	engines(t, func(w *world) {
		w.grant(service, "1")
		w.open(kfAccount)
		w.sim.Fault(wechatsim.Fault{Path: closePath, Code: 40001})
		w.ok(w.shut(kfAccount))
		for sample, want := range map[string]string{
			`wxplatform_token_refreshes_total{kind="authorizer",outcome="answered"}`: "1",
			`wxplatform_token_refreshes_total{kind="component",outcome="answered"}`:  "1",
			`wxplatform_token_left_seconds_count{kind="authorizer"}`:                 "1",
			`wxplatform_token_left_seconds_bucket{kind="authorizer",le="3600"}`:      "0",
			`wxplatform_token_left_seconds_bucket{kind="authorizer",le="7200"}`:      "1",
			`wxplatform_tokens_due{kind="authorizer"}`:                               "0",
			`wxplatform_tokens_oldest_due_seconds{kind="authorizer"}`:                "0",
			`wxplatform_authorizers{state="healthy"}`:                                "1",
			`wxplatform_authorizers{state="reauthorize"}`:                            "0",
			`wxplatform_refreshes_paused`:                                            "0",
			`wxplatform_sql_up`:                                                      "1",
			`wxplatform_redis_up`:                                                    "1",
			`wxplatform_misconfigured`:                                               "0",
			`wxplatform_sealing_key_missing`:                                         "0",
			`wxplatform_problems_total{slug="token-rejected"}`:                       "0",
		} {
			if got := w.scrape(sample); got != want {
				w.t.Errorf("%s: got %q, want %s", sample, got, want)
			}
		}
	})
}

func TestSQLIsAskedForMetricsOnceInAWhile(t *testing.T) {
	w := sqliteWorld(t)
	before := w.scrape("wxplatform_events_waiting")
	if _, err := db.Exec(anyContext, w.platform.db, `INSERT INTO events (hash, body, received_at, due) VALUES ('h', '', 1, 9999999999999)`); err != nil {
		t.Fatal(err)
	}
	if got := w.scrape("wxplatform_events_waiting"); got != before || before == "" {
		t.Errorf("got %q and then %q, want the first kept for a while", before, got)
	}
}
