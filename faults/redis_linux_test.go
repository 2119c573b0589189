//go:build failpoints

package faults

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// redisFault is what happens to Redis, and what ends it.
type redisFault struct {
	name      string
	do, after func(*redisServer)
}

var redisFaults = []redisFault{
	{"flushed", func(r *redisServer) { r.must("FLUSHALL") }, func(*redisServer) {}},
	{"killed, an empty one after it", func(r *redisServer) { r.run.end(syscall.SIGKILL, second) }, (*redisServer).start},
	{"read-only", func(r *redisServer) { r.must("REPLICAOF 127.0.0.1 1") }, func(r *redisServer) { r.must("REPLICAOF NO ONE") }},
	{"hanging", func(r *redisServer) { r.run.signal(syscall.SIGSTOP) }, func(r *redisServer) { r.run.signal(syscall.SIGCONT) }},
	{"restarted", func(r *redisServer) { r.run.end(syscall.SIGTERM, 5*second); r.start() }, func(*redisServer) {}},
}

// underRedisFaults has callers of warm and of cold merchants meet each fault: every call succeeds, and each cold merchant is asked for once.
func underRedisFaults(faults []redisFault, each time.Duration) func(*testing.T, *machine) string {
	return func(t *testing.T, m *machine) string {
		w := m.world(t, plan{times: brisk})
		l := w.load(9, 10*time.Millisecond, w.merchants(30)...)
		time.Sleep(2 * second)
		cold := &tally{}
		for _, f := range faults {
			f.do(w.redis)
			ids := w.merchants(4)
			w.sim.ResetCalls()
			got := w.crowd(60, ids...).all()
			if asks := w.asked(ids...); asks != len(ids) || got.lost() > 0 {
				t.Errorf("Redis %s: %d asks for %d cold merchants, %s", f.name, asks, len(ids), got)
			}
			cold.add(got)
			time.Sleep(each)
			f.after(w.redis)
			time.Sleep(second)
		}
		if l.stop(); l.lost() > 0 {
			t.Errorf("warm merchants: %s", &l.tally)
		}
		w.settled()
		return fmt.Sprintf("%d faults; warm: %s; cold: %s", len(faults), &l.tally, cold)
	}
}
