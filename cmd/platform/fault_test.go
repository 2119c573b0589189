package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"wxplatform/internal/db"
	"wxplatform/quota"
	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

const (
	refreshPath = "/cgi-bin/component/api_authorizer_token"
	quotaPath   = "/cgi-bin/openapi/quota/get"
	listPath    = "/cgi-bin/component/api_get_authorizer_list"
	infoPath    = "/cgi-bin/component/api_get_authorizer_info"
	official    = wechatsim.SampleOfficial
)

// replica starts another platform on the same database and the same WeChat. Its settings may
// differ.
func (w *world) replica(settings map[string]string) *world {
	w.t.Helper()
	return w.replicaThat(settings, (*platform).run)
}

// replicaThat is a replica that does what run does.
func (w *world) replicaThat(settings map[string]string, run func(*platform, context.Context, listeners) error) *world {
	w.t.Helper()
	d := *w.demo
	d.env = maps.Clone(w.env)
	maps.Copy(d.env, settings)
	for _, one := range []*net.Listener{&d.on.public, &d.on.private} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			w.t.Fatal(err)
		}
		*one = l
	}
	d.env["PLATFORM_LISTEN"], d.env["PLATFORM_PRIVATE_LISTEN"] = d.on.public.Addr().String(), d.on.private.Addr().String()
	told := *w.walkthrough
	told.demo, told.s = &d, shell{context.Background(), &bytes.Buffer{}, &bytes.Buffer{}, d.lookup, noEnvironment}
	other := &world{walkthrough: &told, t: w.t, log: &locked{}}
	c, err := loadConfig(d.lookup, needsAll)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	if other.platform, err = assemble(ctx, c, other.log); err != nil {
		w.t.Fatal(err)
	}
	other.platform.greetFirst = noGreeting
	if err := other.platform.component.Keep(ctx, w.platform.component.Newest()); err != nil {
		w.t.Fatal(err)
	}
	running := errgroup.Group{}
	running.Go(func() error { return run(other.platform, ctx, d.on) })
	other.end = sync.OnceFunc(func() {
		stop()
		if err := running.Wait(); err != nil {
			w.t.Errorf("the replica stopped with %v", err)
		}
	})
	w.t.Cleanup(other.end)
	d.publicURL = "http://" + d.on.public.Addr().String()
	return other
}

// exec changes the database. On a busy machine a statement may take longer than the product allows,
// so it is tried again.
func (w *world) exec(statement string, args ...any) {
	w.t.Helper()
	w.patiently("a change of the database", func() error {
		_, err := db.Exec(anyContext, w.platform.db, statement, args...)
		return err
	})
}

// patiently does what asks the database until that is available.
func (w *world) patiently(what string, do func() error) {
	w.t.Helper()
	var err error
	w.eventually(what, func() bool {
		err = do()
		return !errors.Is(err, db.ErrUnavailable)
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// renewal makes the token of id due now.
func (w *world) renewal(id wechat.AppID) {
	w.t.Helper()
	w.exec(`UPDATE tokens SET unsettled_until = 1, due = 1, failures = 0, retry_at = 0 WHERE kind = 'authorizer' AND id = $1`, string(id))
}

func (w *world) fails(code, count int, ids ...wechat.AppID) {
	for _, id := range ids {
		w.sim.Fault(wechatsim.Fault{Path: refreshPath, AppID: id, Code: code, Count: count})
	}
}

func (w *world) authorizer(id wechat.AppID) reply {
	w.t.Helper()
	return w.ask("GET", "/v1/authorizers/"+string(id), "")
}

func (w *world) becomes(id wechat.AppID, state string) reply {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%s to be %s", id, state), func() bool { return w.authorizer(id).field("state") == state })
	return w.authorizer(id)
}

// stays fails if something changes within a few rounds of the keepers.
func (w *world) stays(what string, is func() bool) {
	w.t.Helper()
	for end := time.Now().Add(2500 * time.Millisecond); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if !is() {
			w.t.Fatalf("got %s ended", what)
		}
	}
}

// calm waits until a count has not changed for as long as stays waits, and returns it.
func (w *world) calm(count func() int) int {
	w.t.Helper()
	n, since := count(), time.Now()
	w.eventually("calm", func() bool {
		if now := count(); now != n {
			n, since = now, time.Now()
		}
		return time.Since(since) > 2500*time.Millisecond
	})
	return n
}

func (w *world) nextWalk() {
	w.t.Helper()
	w.exec(`UPDATE walks SET begun_at = begun_at - $1`, (10 * time.Minute).Milliseconds())
}

// ahead returns how far a time in an answer is in the future.
func (w *world) ahead(answer reply, field string) time.Duration {
	w.t.Helper()
	at, err := time.Parse(time.RFC3339Nano, answer.field(field))
	if err != nil {
		w.t.Fatalf("got %s in %s, want a time", field, answer.body)
	}
	return time.Until(at)
}

func (w *world) alarmed() bool {
	return slices.ContainsFunc(w.lines(), func(line map[string]any) bool {
		said, _ := line["error"].(string)
		return line["alarm"] == true && !strings.Contains(said, "no component_verify_ticket yet") // before the first one came
	})
}

func TestARefreshTokenThatChangedSilentlyIsFoundInTheList(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		w.open(kfAccount)
		if err := w.sim.ReplaceRefreshToken(service); err != nil {
			w.t.Fatal(err)
		}
		if err := w.sim.Reject(service); err != nil {
			w.t.Fatal(err)
		}
		w.wants(w.shut(kfAccount), 503, "wechat-unavailable")
		w.eventually("another refresh token to be found and tried", func() bool { return w.shut(kfAccount).status == 200 })
		w.becomes(service, "healthy")
		if n := w.sim.Calls(listPath); n != 1 {
			w.t.Errorf("got %d pages of the list read, want 1", n)
		}
	})
}

func TestOneWalkInTenMinutesIsSharedByAllWhoAskOnAllReplicas(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		w.grant(official, "1")
		other := w.replica(nil)
		refused := func(id wechat.AppID) {
			if err := w.sim.ReplaceRefreshToken(id); err != nil {
				w.t.Fatal(err)
			}
			w.renewal(id)
		}
		refused(service)
		w.eventually("the first walk", func() bool { return w.sim.Calls(listPath) == 1 })
		w.becomes(service, "healthy")
		refused(official)
		if shown := w.becomes(official, "degraded"); w.ahead(shown, "next_attempt") < 9*time.Minute || w.ahead(shown, "next_attempt") > 10*time.Minute || !strings.HasPrefix(shown.field("reason"), "61023") {
			w.t.Errorf("got %s, want the reason and when it is looked for", shown.body)
		}
		w.stays("one walk", func() bool {
			return w.sim.Calls(listPath) == 1 && other.authorizer(official).field("state") == "degraded"
		})
		w.nextWalk()
		w.becomes(official, "healthy")
		if n := w.sim.Calls(listPath); n != 2 {
			w.t.Errorf("got %d walks, want 2", n)
		}
	})
}

func TestWithoutAnotherRefreshTokenTheMerchantMustAuthorizeAgain(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		w.open(kfAccount)
		w.fails(61023, wechatsim.Always, service)
		w.renewal(service)
		shown := w.becomes(service, "reauthorize")
		if day := w.ahead(shown, "next_attempt"); !strings.HasPrefix(shown.field("reason"), "61023") || shown.field("next_step") == "" || day < 55*time.Minute || day > 24*time.Hour {
			w.t.Errorf("got %s, want the reason, the tenant's next step, and a try within a day", shown.body)
		}
		w.eventually("calls to be refused", func() bool { return w.shut(kfAccount).status == 410 })
		w.wants(w.shut(kfAccount), 410, "reauthorization-required")
		w.sim.ClearFaults()
		w.exec(`UPDATE authorizers SET next_at = 1`)
		w.becomes(service, "healthy")
		w.eventually("calls to be made again", func() bool { return w.shut(kfAccount).status == 200 })
	})
}

func TestAWalkThatBeganBeforeTheRefusalProvesNothing(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		refused := make(chan struct{})
		w.sim.Fault(wechatsim.Fault{Path: listPath, Hold: refused, Count: wechatsim.Always}) // a page that takes long is asked for again
		walking := errgroup.Group{}
		walking.Go(func() error { return w.operate(anyContext, &struct{}{}, "reconcile") })
		w.eventually("the walk to begin", func() bool { return w.sim.Calls(listPath) > 0 })
		begun := w.number(`SELECT begun_at FROM walks`)
		w.fails(61023, wechatsim.Always, service)
		w.renewal(service)
		w.becomes(service, "degraded")
		close(refused)
		if err := walking.Wait(); err != nil {
			w.t.Fatal(err)
		}
		if w.number(`SELECT begun_at FROM walks`) != begun {
			w.t.Fatal("got a second walk, want the first to end after the refusal")
		}
		w.stays("degraded", func() bool { return w.authorizer(service).field("state") == "degraded" })
		w.nextWalk()
		w.becomes(service, "reauthorize")
	})
}

func TestAnAccountThatTheListHasNotIsAskedAbout(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		w.settles()
		w.exec(`UPDATE authorizers SET authorized_at = authorized_at - 61000`)
		w.lose("unauthorized")
		if err := w.sim.Unauthorize(service); err != nil {
			w.t.Fatal(err)
		}
		w.fails(61023, wechatsim.Always, service)
		w.sim.Fault(wechatsim.Fault{Path: infoPath, Code: 48001, Count: wechatsim.Always})
		asked := w.sim.Calls(infoPath)
		w.renewal(service)
		w.eventually("WeChat to be asked", func() bool { return w.sim.Calls(infoPath) > asked })
		w.stays("degraded", func() bool { return w.authorizer(service).field("state") == "degraded" })
		w.sim.ClearFaults()
		w.exec(`UPDATE authorizers SET check_at = 1 WHERE check_at > 0`)
		w.becomes(service, "revoked")
	})
}

func TestAMerchantsQuotaStopsThatCallOnly(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.open(kfAccount)
	for range 6 {
		w.sim.Fault(wechatsim.Fault{Path: closePath, Code: 45009})
		w.wants(w.shut(kfAccount), 429, "wechat-quota")
	}
	if err := w.sim.Reject(service); err != nil {
		t.Fatal(err)
	}
	w.ok(w.shut(kfAccount)) // with a refresh
	if got := w.authorizer(service).field("state"); got != "healthy" {
		t.Errorf("got %s, want healthy", got)
	}
}

func TestAnAuthorizersQuotaStopsItUntilMidnightInBeijing(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		w.grant(official, "1")
		w.open(kfAccount)
		w.fails(45009, wechatsim.Always, service)
		if err := w.sim.Reject(service); err != nil {
			w.t.Fatal(err)
		}
		midnight := time.Until(wechat.DayQuota.Resets(time.Now()))
		latest := max(midnight, 55*time.Minute) + 6*time.Minute // the token is not due before its time, be it later than midnight
		first := w.shut(kfAccount)
		w.wants(first, 429, "wechat-quota")
		asked := w.sim.Calls(refreshPath)
		other := w.replica(nil) // which has not seen the refusal
		for _, one := range []*world{w, other, w, other} {
			answer := one.shut(kfAccount)
			one.wants(answer, 429, "wechat-quota")
			if wait, err := strconv.Atoi(answer.header.Get("Retry-After")); err != nil || time.Duration(wait)*time.Second > latest || time.Duration(wait)*time.Second < midnight-time.Minute {
				w.t.Errorf("got Retry-After %q, want about %v", answer.header.Get("Retry-After"), midnight)
			}
		}
		if n := w.sim.Calls(refreshPath) - asked; n != 0 {
			w.t.Errorf("got %d more asks, want none before midnight", n)
		}
		shown := w.becomes(service, "quota")
		if got := w.ahead(shown, "next_attempt"); got < midnight-time.Minute || got > latest {
			w.t.Errorf("got the next attempt in %v, want it at midnight, in %v", got, midnight)
		}
		w.renewal(official)
		w.eventually("others to go on", func() bool { return w.sim.Calls(refreshPath) > asked })
		w.becomes(official, "healthy")
		w.sim.ClearFaults()
		w.exec(`UPDATE tokens SET barred_until = 1, retry_at = 1, due = 1 WHERE kind = 'authorizer' AND barred_until > 0`)
		w.eventually("midnight", func() bool { return w.shut(kfAccount).status == 200 })
		w.becomes(service, "healthy")
	})
}

func TestTheOperatorNeedNotWaitForMidnight(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.fails(45009, 1, service)
	w.renewal(service)
	w.becomes(service, "quota")
	var shown struct{ State string }
	w.exec(`UPDATE tokens SET access = $1 WHERE kind = 'authorizer'`, []byte{})
	w.command(&shown, "authorizer", "refresh", string(service))
	if shown.State != "healthy" {
		t.Errorf("got %s, want it asked for at once", shown.State)
	}
}

func TestAMinutesQuotaIsThereInTheNextMinute(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.fails(45011, 1, service)
	w.renewal(service)
	shown := w.becomes(service, "quota")
	if got := w.ahead(shown, "next_attempt"); got > 81*time.Second || !strings.HasPrefix(shown.field("reason"), "45011") {
		t.Errorf("got %s, want the next minute", shown.body)
	}
	w.exec(`UPDATE tokens SET barred_until = 1, due = 1 WHERE barred_until > 0`)
	w.becomes(service, "healthy")
}

func TestFiveOutOfQuotaStopAllReplicasUntilAProbeSucceeds(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		const many = 60
		w.grant(service, "1")
		w.open(kfAccount)
		other := w.replica(nil)
		w.sim.AddSynthetic(many)
		w.fails(45009, wechatsim.Always, "")
		before := w.sim.Calls(refreshPath)
		w.command(&struct{}{}, "reconcile")
		w.importsComeDue()
		paused := func(w *world) bool { _, is := w.platform.quota.Paused(anyContext); return is }
		w.eventually("the pause", func() bool { return paused(w) && paused(other) })
		w.eventually("what was under way to end", func() bool { return w.number(`SELECT COUNT(*) FROM tokens WHERE lease_until > 0`) == 0 })
		asked := w.calm(func() int { return w.sim.Calls(refreshPath) })
		if n := asked - before; n < 5 || n > 2*(4+8) { // each replica has eight under way
			w.t.Errorf("got %d asks before all stopped, want few", n)
		}
		if err := w.sim.Reject(service); err != nil {
			w.t.Fatal(err)
		}
		for _, one := range []*world{w, other} {
			one.wants(one.shut(kfAccount), 429, "wechat-quota")
		}
		w.stays("the pause", func() bool { return w.sim.Calls(refreshPath) == asked })
		w.exec(`UPDATE pauses SET probe_at = 1`)
		w.eventually("a probe", func() bool { return w.sim.Calls(refreshPath) > asked })
		w.stays("the pause but for one probe", func() bool { return w.sim.Calls(refreshPath) == asked+1 })
		w.sim.ClearFaults()
		w.exec(`UPDATE pauses SET probe_at = 1`)
		w.eventually("the pause to end", func() bool { return !paused(w) && !paused(other) })
		w.eventually("calls to be made again", func() bool { return w.shut(kfAccount).status == 200 })
	})
}

func TestTheQuotaThatWeChatTellsBoundsRenewalsAndNoCaller(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		w.grant(official, "1")
		w.open(kfAccount)
		w.sim.SetBehaviour(wechatsim.Behaviour{OneRefreshQuota: true})
		w.sim.SetQuota(refreshPath, wechatsim.Quota{PerDay: 5})
		for range 4 { // of whoever uses the component beside us
			if err := w.sim.Reject(service); err != nil {
				w.t.Fatal(err)
			}
			w.ok(w.shut(kfAccount))
			w.open(kfAccount)
		}
		w.exec(`UPDATE refresh_days SET asked_at = 1`)
		budget := func() quota.Usage {
			got, err := w.platform.quota.Usage(anyContext)
			if err != nil {
				w.t.Fatal(err)
			}
			return got
		}
		w.eventually("WeChat's numbers", func() bool { return budget().Limit == 5 && !budget().Renews() })
		w.eventually("the keeper to know them", func() bool { return !w.platform.quota.MayRenew() })
		asked := w.sim.Calls(refreshPath)
		w.renewal(official)
		w.stays("no renewal", func() bool { return w.sim.Calls(refreshPath) == asked })
		w.exec(`UPDATE tokens SET forced_at = 0 WHERE kind = 'authorizer'`)
		if err := w.sim.Reject(service); err != nil {
			w.t.Fatal(err)
		}
		w.ok(w.shut(kfAccount))
	})
}

func TestABusyWeChatIsTriedAgainAndHurtsNobody(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		w.open(kfAccount)
		w.fails(-1, 1, service)
		w.renewal(service)
		if shown := w.becomes(service, "degraded"); w.ahead(shown, "next_attempt") > 5*time.Minute || !strings.Contains(shown.field("token"), "fresh") {
			w.t.Errorf("got %s, want a fresh token and the next attempt", shown.body)
		}
		w.ok(w.shut(kfAccount))
		w.exec(`UPDATE tokens SET due = 1, unsettled_until = 1 WHERE failures > 0`) // as if the back-off was over
		w.becomes(service, "healthy")
	})
}

func TestAFailedAskIsNotTakenForAFailedCall(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]wechatsim.Fault{"busy": {Code: -1}, "cut": {Do: wechatsim.Cut}} {
		t.Run(name, func(t *testing.T) {
			w := sqliteWorld(t)
			w.grant(service, "1")
			w.open(kfAccount)
			if err := w.sim.Reject(service); err != nil {
				t.Fatal(err)
			}
			fault.Path = refreshPath
			w.sim.Fault(fault)
			w.wants(w.shut(kfAccount), 503, "wechat-unavailable") // not 504: nothing was done
			if n := w.sim.Calls("/customservice/kfsession/getsession"); n != 0 {
				t.Errorf("got %d questions what became of it, want none", n)
			}
		})
	}
}

func TestThePlatformsOwnFaultsLeaveTheAuthorizersAlone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ breaks, mends func(*world) }{
		"61004": {func(w *world) { w.sim.SetAllowedIPs("10.9.9.9") }, func(w *world) { w.sim.SetAllowedIPs() }},
		"40125": {func(w *world) { w.sim.SetSecret("reset"); w.rejectComponent() }, func(w *world) { w.sim.SetSecret(wechatsim.DefaultSecret) }},
		"61005": {func(w *world) { w.componentFails(61005) }, func(w *world) { w.sim.ClearFaults() }},
		"61006": {func(w *world) { w.componentFails(61006) }, func(w *world) { w.sim.ClearFaults() }},
		"40001": {func(w *world) {
			w.fails(40001, wechatsim.Always, "")
			w.sim.Fault(wechatsim.Fault{Path: quotaPath, Code: 40001, Count: wechatsim.Always})
		}, func(w *world) { w.sim.ClearFaults() }}, // every component token is rejected
	} {
		t.Run(name, func(t *testing.T) {
			w := sqliteWorld(t)
			w.grant(service, "1")
			w.grant(official, "1")
			w.open(kfAccount)
			w.sim.AddSynthetic(40)
			w.command(&struct{}{}, "reconcile")
			w.importsComeDue()
			w.eventually("all to have tokens", func() bool { return w.sim.Calls(refreshPath) >= 40 })
			c.breaks(w)
			before := w.sim.Calls(refreshPath)
			w.exec(`UPDATE tokens SET unsettled_until = 1, due = 1 WHERE kind = 'authorizer'`)
			if err := w.sim.Reject(service); err != nil {
				t.Fatal(err)
			}
			w.wants(w.shut(kfAccount), 503, "platform-misconfigured")
			w.eventually("the alarm", w.alarmed)
			w.stays("healthy", func() bool {
				return w.authorizer(service).field("state") == "healthy" && w.authorizer(official).field("state") == "healthy"
			})
			if n := w.sim.Calls(refreshPath) - before; n > 40 { // a stride has sixteen under way, each of which may ask twice
				t.Errorf("got %d asks, want renewals to pause as a whole", n)
			}
			if n, err := db.One(anyContext, w.platform.db, db.Value[int], `SELECT COUNT(*) FROM tokens WHERE kind = 'authorizer' AND failures > 0`); err != nil || n != 0 {
				t.Errorf("got %d tokens with failures, %v, want none", n, err)
			}
			c.mends(w)
			w.eventually("all to go on", func() bool { return w.shut(kfAccount).status == 200 })
		})
	}
}

// importsComeDue makes all adopted authorizers due at once; otherwise they are spread over two
// hours.
func (w *world) importsComeDue() {
	w.exec(`UPDATE tokens SET due = 1 WHERE kind = 'authorizer' AND expires_at = 0 AND due > 0`)
}

func (w *world) rejectComponent() {
	w.t.Helper()
	if err := w.sim.Reject(w.sim.Config().AppID); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) componentFails(code int) {
	w.sim.Fault(wechatsim.Fault{Path: "/cgi-bin/component/api_component_token", Code: code, Count: wechatsim.Always})
	w.rejectComponent()
}

func TestWithoutAComponentTokenWhatLivesIsServed(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.settles()
	w.open(kfAccount)
	w.componentFails(40125)
	w.exec(`UPDATE tokens SET expires_at = 1 WHERE kind = 'component'`)
	w.ok(w.replica(map[string]string{}).shut(kfAccount)) // a process that knows nothing but SQL
}

func TestInAPauseWhatLivesIsServed(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.settles()
	w.open(kfAccount)
	w.exec(`INSERT INTO pauses (one, code, since, until_at, probe_at) VALUES (1, 45009, 1, $1, $1)`, time.Now().Add(time.Hour).UnixMilli())
	other := w.replica(nil) // a process that knows nothing but SQL
	other.ok(other.shut(kfAccount))
	w.calm(func() int { return w.sim.Calls(refreshPath) }) // both have read that there is a pause
	if err := w.sim.Reject(service); err != nil {
		t.Fatal(err)
	}
	other.wants(other.shut(kfAccount), 429, "wechat-quota")
}

func TestAChangedPasswordMeansToAuthorizeAgain(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"told a call": closePath, "told a refresh": refreshPath} {
		t.Run(name, func(t *testing.T) {
			w := sqliteWorld(t)
			w.grant(service, "1")
			w.open(kfAccount)
			if path == refreshPath {
				if err := w.sim.Reject(service); err != nil {
					t.Fatal(err)
				}
			}
			w.sim.Fault(wechatsim.Fault{Path: path, Code: 42007})
			w.wants(w.shut(kfAccount), 410, "reauthorization-required")
			if shown := w.becomes(service, "reauthorize"); !strings.HasPrefix(shown.field("reason"), "42007") || w.ahead(shown, "next_attempt") < 0 {
				t.Errorf("got %s, want the reason", shown.body)
			}
			w.wants(w.shut(kfAccount), 410, "reauthorization-required")
			w.grant(service, "1")
			w.becomes(service, "healthy")
			w.ok(w.shut(kfAccount))
		})
	}
}

func TestAnUnconfirmedWithdrawalOnARefreshIsOnlyAReasonToAsk(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		w.fails(61003, 1, service)
		w.renewal(service)
		w.becomes(service, "degraded")
		asked := w.sim.Calls(infoPath)
		w.later(61 * time.Second)
		w.eventually("WeChat to be asked", func() bool { return w.sim.Calls(infoPath) > asked })
		w.exec(`UPDATE tokens SET due = 1 WHERE failures > 0`)
		w.becomes(service, "healthy")
	})
}

func TestARecoveryThatWasNotNotedIsFound(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.exec(`UPDATE authorizers SET state = 'reauthorize', noted_version = 1, next_at = $1`, time.Now().Add(time.Hour).UnixMilli())
	w.replica(nil) // a keeper that starts looks at once
	w.becomes(service, "healthy")
}
