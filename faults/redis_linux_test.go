//go:build failpoints

package faults

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// redisFault is a fault of Redis, and what ends it.
type redisFault struct {
	name      string
	do, after func(*world)
}

var redisFaults = []redisFault{
	{"flushed", func(w *world) { w.redis.must("FLUSHALL") }, func(*world) {}},
	{"killed, an empty one after it", func(w *world) { w.redis.run.end(syscall.SIGKILL, second) }, func(w *world) { w.redis.start() }},
	{"read-only", func(w *world) { w.redis.must("REPLICAOF 127.0.0.1 1") }, func(w *world) { w.redis.must("REPLICAOF NO ONE") }},
	{"hanging", func(w *world) { w.redis.run.signal(syscall.SIGSTOP) }, func(w *world) { w.redis.run.signal(syscall.SIGCONT) }},
	{"restarted", func(w *world) { w.redis.run.end(syscall.SIGTERM, 5*second); w.redis.start() }, func(*world) {}},
	{"out of memory", func(w *world) { w.redis.must("CONFIG SET maxmemory 1") }, func(w *world) { w.redis.must("CONFIG SET maxmemory 0") }},
	{"2 s away", wired(toRedis, wire{delay: second}), wired(toRedis, wire{})},
	{"behind a dead wire", wired(toRedis, wire{dead: true}), wired(toRedis, wire{})},
	{"trickling", wired(toRedis, wire{trickle: 5 * time.Millisecond}), wired(toRedis, wire{})},
}

// underRedisFaults has callers of warm and of cold merchants meet each fault: every call succeeds,
// and each cold merchant is refreshed once.
func underRedisFaults(faults []redisFault, each time.Duration) func(*testing.T, *machine) string {
	return func(t *testing.T, m *machine) string {
		w := m.world(t, plan{times: brisk, wired: true})
		l := w.load(9, 10*time.Millisecond, w.merchants(30)...)
		time.Sleep(2 * second)
		cold := &tally{}
		for _, f := range faults {
			f.do(w)
			ids := w.merchants(4)
			w.sim.ResetCalls()
			got := w.crowd(60, ids...).all()
			if asks := w.askedFor(ids...); asks != len(ids) || got.lost() > 0 {
				t.Errorf("Redis %s: %d asks for %d cold merchants, %s", f.name, asks, len(ids), got)
			}
			cold.add(got)
			time.Sleep(each)
			f.after(w)
			time.Sleep(second)
		}
		if l.stop(); l.lost() > 0 {
			t.Errorf("warm merchants: %s", &l.tally)
		}
		w.settled()
		return fmt.Sprintf("%d faults; warm: %s; cold: %s", len(faults), &l.tally, cold)
	}
}
