//go:build failpoints

package faults

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

var wechatFaults = map[string]wechatsim.Fault{
	"cut before":  {Do: wechatsim.Cut},
	"cut after":   {Do: wechatsim.Cut, When: wechatsim.After},
	"-1 before":   {Code: -1},
	"-1 after":    {Code: -1, When: wechatsim.After},
	"502 after":   {Status: 502, When: wechatsim.After},
	"503 before":  {Status: 503},
	"HTML after":  {Do: wechatsim.AnswerHTML, When: wechatsim.After},
	"empty after": {Do: wechatsim.AnswerEmpty, When: wechatsim.After},
	"slow before": {Delay: brisk.Call + second},
	"slow after":  {Delay: brisk.Call + second, When: wechatsim.After},
	"-1 then cut": {Do: wechatsim.Cut, When: wechatsim.After, Count: 2},
	"45011":       {Code: 45011},
	"lands late":  {Delay: 2*brisk.Call + second},
}

// wechatStruck lets each fault hit the refresh of a cold merchant, of a warm one whose token is
// rejected, and the component's. Callers are told to retry, and everything recovers.
func wechatStruck(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk, rotate: true})
	w.watch.beStrict()
	names := slices.Sorted(maps.Keys(wechatFaults))
	warm := w.merchants(len(names))
	if got := w.crowd(6*len(names), warm...).all(); got.lost() > 0 {
		t.Errorf("without a fault: %s", got)
	}
	cold := w.merchants(len(names))
	for i, name := range names {
		for _, id := range []wechat.AppID{warm[i], cold[i]} {
			fault := wechatFaults[name]
			fault.Path, fault.AppID = authorizerToken, id
			w.sim.Fault(fault)
		}
		if err := w.sim.Reject(warm[i]); err != nil {
			t.Fatal(err)
		}
	}
	got := w.crowd(12*len(names), append(slices.Clone(warm), cold...)...).all()
	heals := w.heals(append(slices.Clone(warm), cold...))
	for _, fault := range []wechatsim.Fault{{Do: wechatsim.Cut, When: wechatsim.After}, {Code: -1}} {
		fault.Path = componentToken
		w.sim.Fault(fault)
		w.allowForced()
		if err := w.sim.Reject(wechatsim.DefaultAppID); err != nil {
			t.Fatal(err)
		}
		ids := w.merchants(3)
		got.add(w.crowd(9, ids...).all())
		heals = max(heals, w.heals(ids))
	}
	w.onlyRetryable(got)
	w.settled()
	return fmt.Sprintf("%d faults: %s; all healed within %s", 2*len(names)+2, got, heals)
}

// inTheField reads and closes sessions of merchants while a WeChat with all field deviations
// rejects their tokens: no call fails.
func inTheField(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk, rotate: true, field: true})
	ids := w.merchants(8)
	readers, closers := w.load(6, 2*time.Millisecond, ids...), w.closers(4, 2*time.Millisecond, ids)
	for range 4 {
		time.Sleep(second)
		w.sim.PushTicket()
		for _, id := range ids[:4] {
			if err := w.sim.Reject(id); err != nil {
				t.Fatal(err)
			}
		}
	}
	readers.stop()
	closers.stop()
	if readers.lost() > 0 || closers.lost() > 0 {
		t.Errorf("readers: %s; closers: %s", &readers.tally, &closers.tally)
	}
	w.settled()
	return fmt.Sprintf("readers: %s; closers: %s", &readers.tally, &closers.tally)
}

// onlyRetryable checks that no caller was told anything but to retry.
func (w *world) onlyRetryable(got *tally) {
	w.t.Helper()
	for why := range got.failed {
		if !strings.HasPrefix(why, "503 ") && !strings.HasPrefix(why, "429 ") {
			w.t.Errorf("callers were told %s", got)
		}
	}
}

// refreshTokenReplaced has WeChat refuse the refresh token of live merchants with 61023: its list
// has another one.
func refreshTokenReplaced(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk})
	ids := w.merchants(3)
	w.crowd(9, ids...).all()
	for _, id := range ids {
		if err := w.sim.ReplaceRefreshToken(id); err != nil {
			t.Fatal(err)
		}
		if err := w.sim.Reject(id); err != nil {
			t.Fatal(err)
		}
	}
	got := w.crowd(30, ids...).all()
	heals := w.heals(ids)
	w.settled()
	return fmt.Sprintf("%s; healed within %s", got, heals)
}

// platformRefused has WeChat refuse the platform's own address, or its quota: nothing changes for
// merchants with a live token, and nobody is revoked.
func platformRefused(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk})
	warm := w.merchants(6)
	w.crowd(18, warm...).all()
	l := w.load(6, 20*time.Millisecond, warm[:5]...)
	w.sim.Fault(wechatsim.Fault{Path: authorizerToken, Code: 61004, Count: wechatsim.Always})
	told := w.crowd(9, w.merchants(3)...).all()
	time.Sleep(5 * second)
	w.sim.ClearFaults()
	heals := w.heals(w.ids)
	w.sim.Fault(wechatsim.Fault{Path: authorizerToken, AppID: warm[5], Code: 45009})
	if err := w.sim.Reject(warm[5]); err != nil {
		t.Fatal(err)
	}
	quota := w.crowd(9, warm[5]).all()
	if l.stop(); l.lost() > 0 {
		t.Errorf("merchants whose tokens live: %s", &l.tally)
	}
	w.onlyRetryable(told)
	w.onlyRetryable(quota)
	w.ids = slices.DeleteFunc(w.ids, func(id wechat.AppID) bool { return id == warm[5] }) // it waits for midnight
	w.settled()
	return fmt.Sprintf("61004: %s, healed within %s; 45009: %s; merchants whose tokens live: %s", told, heals, quota, &l.tally)
}

// pushesLost has the push of an auth code lost, repeated and held, and kills each process that
// works on one: the code is exchanged once, and its result is not lost.
func pushesLost(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk})
	steps := []string{"inbox.stored", "inbox.handled", "invitation.claimed", "invitation.answered", "invitation.stored"}
	ids := w.merchants(len(steps) + 3)
	if got := w.crowd(48, ids...).all(); got.lost() > 0 {
		t.Errorf("without a fault: %s", got)
	}
	for i, effect := range []wechatsim.PushEffect{wechatsim.Lose, wechatsim.Repeat, wechatsim.Hold} {
		id := ids[len(steps)+i]
		if err := w.sim.FaultPushes(wechatsim.PushFault{Kind: "updateauthorized", AppID: id, Do: effect}); err != nil {
			t.Fatal(err)
		}
		for _, sets := range [][]wechat.PermissionSet{{1, 6}, {1, 6, 11}} { // the second overtakes the first where that is held
			if err := w.sim.ChangeSets(id, sets...); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.sim.Release()
	for i, step := range steps {
		w.arm(step, "kill")
		if err := w.sim.ChangeSets(ids[i], 1, 6); err != nil {
			t.Fatal(err)
		}
		hit := w.struck(step)
		<-hit.gone
		hit.start()
	}
	if !within(60*second, func() bool { return w.waiting() == 0 }) {
		t.Errorf("%d events are not worked off", w.waiting())
	}
	heals := w.heals(ids)
	w.settled()
	return fmt.Sprintf("%d kills, 3 push faults; %d exchanges; served within %s", len(steps), w.sim.Calls("/cgi-bin/component/api_query_auth"), heals)
}

func (w *world) waiting() int {
	n, err := db.One(context.Background(), w.db, db.Value[int], `SELECT COUNT(*) FROM events WHERE done_at = 0`)
	if err != nil {
		return -1
	}
	return n
}

// closeKilled kills a replica between WeChat's answer to a close and its own answer, and another
// one while it checks what became of a lost close. A caller who retries learns that the session is
// closed.
func closeKilled(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk})
	id := w.merchants(1)[0]
	kf, customer := wechatsim.SyntheticKF(0), wechat.OpenID("oCLOSER"+strings.Repeat("0", 21))
	var said []string
	for _, lost := range []bool{false, true} {
		if err := w.sim.OpenSession(id, kf, customer); err != nil {
			t.Fatal(err)
		}
		if lost {
			w.sim.Fault(wechatsim.Fault{Path: "/customservice/kfsession/close", When: wechatsim.After, Do: wechatsim.Cut})
		}
		w.arm("session.sent", "kill")
		first := w.shut(w.replicas[0], id, kf, customer)
		again := w.shut(w.replicas[1], id, kf, customer)
		<-w.replicas[0].gone
		w.replicas[0].start()
		if again != "409 no-session" || w.sim.Session(id, customer).KFAccount != "" {
			t.Errorf("a close whose replica was killed: %s, again: %s", first, again)
		}
		said = append(said, first+", again "+again)
	}
	w.settled()
	return strings.Join(said, "; ")
}

// rolled restarts the replicas one after the other under load: no call fails, and each stops within
// its bound.
func rolled(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk})
	ids := w.merchants(12)
	w.crowd(36, ids...).all()
	w.sim.Fault(wechatsim.Fault{Path: "/customservice/kfsession/getsession", Delay: 300 * time.Millisecond, Count: wechatsim.Always})
	readers, closers := w.load(12, 5*time.Millisecond, ids...), w.closers(6, 2*time.Millisecond, ids)
	stop := w.balance()
	time.Sleep(2 * second)
	var longest time.Duration
	for _, r := range w.replicas {
		began := time.Now()
		if !r.end(syscall.SIGTERM, 40*second) {
			t.Errorf("replica %d did not end within 40 s", r.number)
		}
		longest = max(longest, time.Since(began))
		if code := r.ProcessState.ExitCode(); code != 0 {
			t.Errorf("replica %d ended with status %d", r.number, code)
		}
		r.start()
		time.Sleep(second)
	}
	readers.stop()
	closers.stop()
	stop()
	if readers.lost() > 0 || closers.lost() > 0 {
		t.Errorf("readers: %s; closers: %s", &readers.tally, &closers.tally)
	}
	w.settled()
	return fmt.Sprintf("readers: %s; closers: %s; longest stop %s", &readers.tally, &closers.tally, longest.Round(time.Millisecond))
}

// clockOff sets one replica's clock two minutes off: once with token lives so short that every
// token looks dead to it from the start, and once with longer ones.
func clockOff(off string, times func() plan) func(*testing.T, *machine) string {
	return func(t *testing.T, m *machine) string {
		p := times()
		p.clock = map[int]string{2: off}
		w := m.world(t, p)
		ids := w.merchants(6)
		asked := w.asks()
		l := w.load(9, 20*time.Millisecond, ids...)
		time.Sleep(20 * second)
		asks := w.asks() - asked
		if l.stop(); l.lost() > 0 {
			t.Errorf("%s: %s", off, &l.tally)
		}
		w.settled()
		return fmt.Sprintf("%d asks for %d merchants, %s", asks, len(ids), &l.tally)
	}
}
