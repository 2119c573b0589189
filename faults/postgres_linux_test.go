//go:build failpoints

package faults

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"wxplatform/wechat"
)

// sqlAway stops PostgreSQL for less than half a token's life. Meanwhile every call for a recently
// used merchant succeeds on every replica, even on one that has not seen it before.
func sqlAway(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk})
	everywhere, once := w.merchants(8), w.merchants(4)
	l := w.load(9, 20*time.Millisecond, everywhere...)
	for _, id := range once {
		if why := w.read(w.replicas[0], id); why != "" {
			t.Errorf("a cold merchant: %s", why)
		}
	}
	time.Sleep(3 * second)
	w.postgres.stop(syscall.SIGINT)
	time.Sleep(500 * time.Millisecond) // what was sent before is answered
	asks, elsewhere, jwts := w.asks(), &tally{}, &tally{}
	for began := time.Now(); time.Since(began) < w.plan.times.Life/2-8*second; time.Sleep(second) {
		for _, id := range once {
			at := time.Now()
			elsewhere.note(w.read(w.replicas[1], id), time.Since(at))
			elsewhere.note(w.read(w.replicas[2], id), time.Since(at))
		}
		for _, r := range w.replicas { // the client was seen by the first
			at := time.Now()
			_, why := w.getJWT(r)
			jwts.note(why, time.Since(at))
		}
	}
	for _, r := range w.replicas {
		if said, err := r.ready(); err != nil || !strings.Contains(said, "degraded") || !strings.Contains(strings.ToLower(said), "database") {
			t.Errorf("/readyz says %s, %v", said, err)
		}
	}
	unstored := w.asks() - asks
	w.postgres.start()
	healed := time.Now()
	back := within(20*second, func() bool {
		said, _ := w.replicas[0].ready()
		return !strings.Contains(strings.ToLower(said), "database")
	})
	heals := time.Since(healed).Round(time.Millisecond)
	time.Sleep(2 * second)
	l.stop()
	if l.lost() > 0 || elsewhere.lost() > 0 || jwts.lost() > 0 || unstored > 0 || !back {
		t.Errorf("SQL unavailable: %s; on replicas that had not seen the merchant: %s; JWTs: %s; %d refreshes that could not be stored; ready again: %v", &l.tally, elsewhere, jwts, unstored, back)
	}
	w.settled()
	return fmt.Sprintf("%s; on replicas that never met the merchant: %s; JWTs: %s; 0 refreshes; ready again after %s", &l.tally, elsewhere, jwts, heals)
}

// sqlAwayForLong stops PostgreSQL for longer than a token lives: then calls are answered with 503
// and nothing else, and everything recovers when it returns.
func sqlAwayForLong(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk})
	ids := w.merchants(8)
	w.crowd(48, ids...).all()
	l := w.load(6, 100*time.Millisecond, ids...)
	time.Sleep(2 * second)
	w.postgres.stop(syscall.SIGKILL)
	asks := w.asks()
	time.Sleep(w.plan.times.Life + 10*second)
	unstored := w.asks() - asks
	w.postgres.start()
	healed := time.Now()
	back := within(30*second, func() bool { return w.crowd(24, ids...).all().lost() == 0 })
	heals := time.Since(healed).Round(10 * time.Millisecond)
	l.stop()
	for why := range l.failed {
		if why != "503 unavailable" {
			t.Errorf("SQL unavailable for long: %s", &l.tally)
		}
	}
	if unstored > 0 || !back {
		t.Errorf("%d refreshes that could not be stored, healed: %v", unstored, back)
	}
	w.settled()
	return fmt.Sprintf("%s; served again after %s", &l.tally, heals)
}

// sqlAwayAtCommit kills PostgreSQL between WeChat's answer and its commit: the access token is
// shared at once, and stored later.
func sqlAwayAtCommit(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk})
	id := w.merchants(1)[0]
	w.arm("token.authorizer.answered", "sleep:1s")
	c := w.crowd(60, id)
	holder := w.struck("token.authorizer.answered")
	w.postgres.stop(syscall.SIGKILL)
	c.all()
	shared := &tally{}
	for range 10 {
		for _, r := range w.replicas {
			shared.note(w.read(r, id), 0)
		}
	}
	time.Sleep(w.plan.times.Lease)
	w.postgres.start()
	if c.of[holder].lost() > 0 || shared.lost() > 0 {
		t.Errorf("the holder's callers: %s; everybody's afterwards: %s", c.of[holder], shared)
	}
	w.settled()
	return fmt.Sprintf("the holder's callers: %s; everybody's afterwards: %s", c.of[holder], shared)
}

// sqlCut repeatedly cuts all connections, restarts the server, and kills it, under load.
func sqlCut(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk})
	l := w.load(9, 10*time.Millisecond, w.merchants(20)...)
	time.Sleep(2 * second)
	cold := &tally{}
	for range 15 {
		if err := w.postgres.cut(w.name); err != nil {
			t.Error(err)
		}
		cold.add(w.crowd(9, w.merchants(1)...).all())
		time.Sleep(200 * time.Millisecond)
	}
	for _, how := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		w.postgres.stop(how)
		w.postgres.start()
		time.Sleep(2 * second)
	}
	if l.stop(); l.lost() > 0 {
		t.Errorf("warm merchants: %s", &l.tally)
	}
	for why := range cold.failed {
		if why != "503 unavailable" && why != "503 wechat-unavailable" {
			t.Errorf("cold merchants: %s", cold)
		}
	}
	w.heals(w.ids)
	w.settled()
	return fmt.Sprintf("warm: %s; cold: %s", &l.tally, cold)
}

// heals checks that every merchant is served within some time after the fault. A quota per minute
// may block one until the next minute and 20 s.
func (w *world) heals(ids []wechat.AppID) time.Duration {
	w.t.Helper()
	began := time.Now()
	var why string
	for _, id := range ids {
		if !within(90*second-time.Since(began), func() bool { why = w.read(w.any(), id); return why == "" }) {
			w.t.Errorf("%s is not served %s after the fault: %s", id, time.Since(began).Round(second), why)
		}
	}
	return time.Since(began).Round(10 * time.Millisecond)
}

// restored restores an older dump while the replicas have newer tokens and WeChat has replaced the
// refresh tokens in the dump.
func restored(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk, rotate: true})
	ids := w.merchants(6)
	w.crowd(36, ids...).all()
	w.settled()
	dump := w.postgres.dump(w.name)
	for range 2 {
		for _, id := range ids {
			if err := w.sim.Reject(id); err != nil {
				t.Fatal(err)
			}
		}
		if got := w.crowd(36, ids...).all(); got.lost() > 0 {
			t.Errorf("before the restore: %s", got)
		}
	}
	before, err := w.rows()
	if err != nil {
		t.Fatal(err)
	}
	l := w.load(6, 50*time.Millisecond, ids...)
	w.watch.across(func() { w.postgres.restore(w.name, dump) })
	time.Sleep(w.plan.times.Overlap + 5*second) // what the dump holds has died by now
	for _, id := range ids {
		if err := w.sim.Reject(id); err != nil {
			t.Fatal(err)
		}
	}
	heals := w.heals(ids)
	time.Sleep(2 * second)
	l.stop()
	w.settled()
	w.newerThan(before)
	return fmt.Sprintf("%s; all served %s after the dump's tokens had died", &l.tally, heals)
}
