package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"wxplatform/component"
	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

func (p *platform) degraded(text string) bool {
	return strings.Contains(strings.Join(p.ready(anyContext).Reasons, "\n"), text)
}

func TestReadySaysWhatIsAwayAndSinceWhen(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.env["PLATFORM_REDIS_URL"] = "redis://" + nobody
	p := fresh(t, w)
	if !p.degraded("Redis has been unreachable since ") {
		t.Errorf("got %+v, want Redis away", p.ready(anyContext))
	}
	since := p.health.redis.begun()
	time.Sleep(5 * time.Millisecond)
	p.ready(anyContext)
	if again := p.health.redis.begun(); again != since || since.IsZero() {
		t.Errorf("got it away since %v and then since %v, want the first time kept", since, again)
	}
	if p.health.redis.up() != 0 || p.health.sql.up() != 1 {
		t.Error("got the wrong one up")
	}
	p.health.sql.record(errors.New("away"))
	p.ready(anyContext)
	if p.health.sql.up() != 1 || p.degraded("the database has been unreachable") {
		t.Error("got SQL away, want it up again once it answers")
	}
	_ = p.db.Close()
	if !p.degraded("the database has been unreachable since ") || p.health.sql.up() != 0 {
		t.Errorf("got %+v, want the database away", p.ready(anyContext))
	}
}

func TestACallerOfReadyzThatLeftIsNoOutage(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		p := fresh(w.t, w)
		left, leave := context.WithCancel(anyContext)
		leave()
		request := httptest.NewRequestWithContext(left, http.MethodGet, "/readyz", nil)
		p.answerReady(httptest.NewRecorder(), request)
		for _, why := range p.reasons(time.Now()) {
			if strings.HasSuffix(why.Code, "-away") {
				w.t.Errorf("got %+v, want nothing unreachable", why)
			}
		}
		if p.health.sqlUp() != 1 || p.health.redis.up() != 1 {
			w.t.Errorf("got SQL up %v and Redis up %v, want both", p.health.sqlUp(), p.health.redis.up())
		}
	})
}

func TestAnAskerThatLeavesNeitherBeginsNorEndsAnOutage(t *testing.T) {
	var o outage
	leaving := func() time.Time {
		asker, leave := context.WithCancel(anyContext)
		o.probe(asker, func(ctx context.Context) error { leave(); <-ctx.Done(); return ctx.Err() })
		return o.begun()
	}
	if since := leaving(); !since.IsZero() {
		t.Errorf("got it lost since %v, want nothing known of it", since)
	}
	away := errors.New("away")
	o.probe(anyContext, func(context.Context) error { return away })
	began := o.begun()
	if since := leaving(); began.IsZero() || since != began || !errors.Is(o.lost.Load().why, away) {
		t.Errorf("got it lost since %v, %v, want since %v, away", since, o.lost.Load(), began)
	}
}

func TestSQLThatHangsDoesNotMakeRedisLookUnavailable(t *testing.T) {
	t.Parallel()
	p := fresh(t, sqliteWorld(t))
	release := hang(t, p.db)
	p.probe(anyContext)
	sql, redis := p.health.sql.begun(), p.health.redis.begun()
	if sql.IsZero() || !redis.IsZero() {
		t.Errorf("got SQL unavailable since %v and Redis since %v, want only SQL", sql, redis)
	}
	release()
	p.probe(anyContext)
	if sql, redis = p.health.sql.begun(), p.health.redis.begun(); !sql.IsZero() || !redis.IsZero() {
		t.Errorf("got SQL unavailable since %v and Redis since %v after SQL went on, want neither", sql, redis)
	}
}

// hang keeps every connection to SQL busy until release is called, or the test ends.
func hang(t *testing.T, d *db.DB) (release func()) {
	t.Helper()
	const connections = 16 // of the pool, as internal/db opens it
	var readers sync.WaitGroup
	done, holding := make(chan struct{}), make(chan struct{})
	for range connections {
		readers.Go(func() {
			_, _ = db.One(anyContext, d, func(scan db.Scan) (int, error) {
				holding <- struct{}{}
				<-done
				return db.Value[int](scan)
			}, `SELECT 1`)
		})
	}
	for range connections {
		<-holding
	}
	release = sync.OnceFunc(func() { close(done); readers.Wait() })
	t.Cleanup(release)
	return release
}

func TestReadySaysThatNoTicketCame(t *testing.T) {
	t.Parallel()
	p := fresh(t, sqliteWorld(t)) // which does not ask for one, as one that runs does
	if !p.degraded("no component_verify_ticket yet") {
		t.Errorf("got %+v, want no ticket before the first is read", p.ready(anyContext))
	}
	for age, missed := range map[time.Duration]bool{26 * time.Minute: true, component.TicketMissing - time.Minute: false} {
		pushed := component.Ticket{Value: seal.NewSecret("ticket@@@x"), Created: time.Now(), Received: time.Now().Add(-age)}
		if err := p.component.Keep(anyContext, pushed); err != nil {
			t.Fatal(err)
		}
		if p.degraded("no component_verify_ticket for") != missed {
			t.Errorf("%v old: got %+v, want it missed: %v", age, p.ready(anyContext), missed)
		}
	}
}

// A replica whose resolver does not know WeChat starts, reports it, tells callers to retry, and
// harms no token.
func TestWithoutDNSThePlatformStartsAndSaysSo(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		w.grant(official, "1")
		w.settles()
		w.open(kfAccount)
		lost := w.replica(map[string]string{"PLATFORM_WECHAT_URL": "http://nowhere.invalid"})
		for range unsentThreshold {
			answer := lost.shut(kfAccount)
			lost.wants(answer, 503, "wechat-unavailable")
			if answer.field("retryable") != "true" {
				w.t.Errorf("got %s, want it to be tried again", answer.body)
			}
		}
		if !lost.platform.degraded("WeChat has been unreachable since ") || w.platform.degraded("WeChat has been unreachable") {
			w.t.Errorf("got %+v and %+v, want that one replica to say it", lost.platform.ready(anyContext), w.platform.ready(anyContext))
		}
		asked := w.sim.Calls(refreshPath)
		w.ok(w.shut(kfAccount))
		if got := w.authorizer(service).field("state"); got != "healthy" || w.sim.Calls(refreshPath) != asked {
			w.t.Errorf("got %s and %d refreshes, want the token as it was", got, w.sim.Calls(refreshPath)-asked)
		}
	})
}

func TestWeChatIsReachedAgainWithTheFirstCallThatGetsThrough(t *testing.T) {
	h, unsent := &health{}, wechat.NewClient("http://nowhere.invalid", wechat.Observer{})
	_, away := unsent.Do(anyContext, wechat.Call{Method: "GET", Path: "/"})
	for range unsentThreshold - 1 {
		h.reached(away)
	}
	since := h.wechat.begun()
	if h.unsent.Load() >= unsentThreshold || since.IsZero() {
		t.Error("got it out of reach before the third call")
	}
	h.reached(away)
	h.reached(nil)
	if h.unsent.Load() != 0 || !h.wechat.begun().IsZero() {
		t.Error("got it out of reach after a call that got through")
	}
}

func TestReadySaysThatThePlatformIsMisconfiguredUntilItIsNot(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.settles()
	w.open(kfAccount)
	w.sim.SetAllowedIPs("10.9.9.9")
	w.wants(w.shut(kfAccount), 503, "platform-misconfigured")
	if !w.platform.degraded("WeChat refuses with 61004") || !w.platform.degraded("add 127.0.0.1 to") {
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
	if w.platform.degraded("WeChat refuses") {
		t.Errorf("got %+v, want it forgotten after a good answer", w.platform.ready(anyContext))
	}
}

func TestARefusalThatIsNotRepeatedIsForgotten(t *testing.T) {
	h := &health{refusals: map[string]refusal{"/a": {code: 61004, since: time.Now(), last: time.Now()}}}
	if _, is := h.misconfigured(time.Now().Add(refusalExpires - time.Minute)); !is {
		t.Error("got nothing after 14 minutes, want it kept")
	}
	if r, is := h.misconfigured(time.Now().Add(refusalExpires + time.Minute)); is {
		t.Errorf("got %+v after 16 minutes, want it forgotten", r)
	}
}

// scrape returns one sample of the world's /metrics, or "" if there is none.
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
	t.Parallel()
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
	t.Parallel()
	w := sqliteWorld(t)
	before := w.scrape("wxplatform_events_waiting")
	if _, err := db.Exec(anyContext, w.platform.db, `INSERT INTO events (hash, body, received_at, due) VALUES ('h', '', 1, 9999999999999)`); err != nil {
		t.Fatal(err)
	}
	if got := w.scrape("wxplatform_events_waiting"); got != before || before == "" {
		t.Errorf("got %q and then %q, want the first kept for a while", before, got)
	}
}

// A profile that was never read cannot be read while the platform is misconfigured. The caller is
// told so, not that WeChat is unavailable.
func TestWithoutAProfileThePlatformsOwnFaultIsTold(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.settles()
	w.sim.SetAllowedIPs("10.9.9.9")
	err := w.platform.db.Tx(anyContext, func(tx *db.Tx) error {
		tx.Changed()
		_, err := db.Exec(anyContext, tx, `UPDATE authorizers SET kind = '', profile_at = 0, profile_tried_at = 0`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.wants(w.shut(kfAccount), 503, "platform-misconfigured")
}
