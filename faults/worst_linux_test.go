//go:build failpoints

package faults

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

// strike is a fault of a server or of the links to it, and what ends it.
type strike struct {
	name   string
	do     func(*world)
	undo   func(*world)
	served bool // cold merchants too
	gone   bool // nothing can be stored, so nothing may be refreshed
}

// wired changes all replicas' links to a server.
func wired(which func(wires) *link, is wire) func(*world) {
	return func(w *world) {
		for _, r := range w.replicas {
			which(r.wires).become(is)
		}
	}
}

func toPostgres(w wires) *link { return w.postgres }
func toRedis(w wires) *link    { return w.redis }
func toWeChat(w wires) *link   { return w.wechat }

var postgresStrikes = []strike{
	{name: "0.1 s away", do: wired(toPostgres, wire{delay: 50 * time.Millisecond}), undo: wired(toPostgres, wire{}), served: true},
	{name: "2 s away", do: wired(toPostgres, wire{delay: second}), undo: wired(toPostgres, wire{})},
	{name: "behind a dead wire", do: wired(toPostgres, wire{dead: true}), undo: wired(toPostgres, wire{}), gone: true},
	{name: "stopped", do: func(w *world) { w.postgres.signalAll(syscall.SIGSTOP) }, undo: func(w *world) { w.postgres.signalAll(syscall.SIGCONT) }, gone: true},
	{name: "read-only", do: func(w *world) { w.readOnly("on") }, undo: func(w *world) { w.readOnly("off") }, gone: true},
	{name: "out of connections", do: (*world).hog, undo: (*world).unhog},
	{name: "gone, and Redis too", do: func(w *world) { wired(toRedis, wire{refuses: true})(w); wired(toPostgres, wire{refuses: true})(w) }, undo: func(w *world) { wired(toRedis, wire{})(w); wired(toPostgres, wire{})(w) }, gone: true},
}

// postgresStruck has callers of warm and of cold merchants meet each strike: those of warm ones are
// all served, those of cold ones are served or told to retry, and everything recovers.
func postgresStruck(strikes []strike, each time.Duration) func(*testing.T, *machine) string {
	return func(t *testing.T, m *machine) string {
		w := m.world(t, plan{times: brisk, wired: true})
		l := w.load(9, 20*time.Millisecond, w.merchants(12)...)
		time.Sleep(2 * second)
		cold, heals := &tally{}, time.Duration(0)
		for _, s := range strikes {
			ids := w.merchants(4)
			s.do(w)
			time.Sleep(500 * time.Millisecond) // what was sent before is answered
			began, asks := time.Now(), w.asks()
			got := w.crowd(12, ids...).all()
			time.Sleep(each - time.Since(began))
			if unstored := w.asks() - asks; s.gone && unstored > 0 {
				t.Errorf("PostgreSQL %s: %d refreshes that could not be stored", s.name, unstored)
			}
			s.undo(w)
			heals = max(heals, w.heals(ids))
			if s.served && got.lost() > 0 {
				t.Errorf("PostgreSQL %s: cold merchants: %s", s.name, got)
			}
			w.onlyRetryable(got)
			if lost := l.lost(); lost > 0 {
				t.Errorf("PostgreSQL %s: %d calls for warm merchants failed by now", s.name, lost)
			}
			cold.add(got)
			time.Sleep(2 * second)
		}
		if l.stop(); l.lost() > 0 {
			t.Errorf("warm merchants: %s", &l.tally)
		}
		w.settled()
		return fmt.Sprintf("%d strikes; warm: %s; cold: %s; healed within %s", len(strikes), &l.tally, cold, heals)
	}
}

// readOnly is PostgreSQL as it is after a failover that left us connected to the old primary.
func (w *world) readOnly(is string) {
	w.t.Helper()
	w.postgres.do("postgres", "ALTER DATABASE "+w.name+" SET default_transaction_read_only = "+is)
	if err := w.postgres.cut(w.name); err != nil {
		w.t.Error(err)
	}
}

// hog takes every connection that PostgreSQL gives, and those of the replicas, which are cut for
// it.
func (w *world) hog() {
	w.t.Helper()
	pool, err := sql.Open("pgx", w.postgres.url("postgres"))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	first, err := pool.Conn(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	var taking sync.WaitGroup
	for range 4 {
		taking.Go(func() {
			for ctx.Err() == nil {
				if c, err := pool.Conn(ctx); err == nil {
					defer c.Close()
				} else {
					time.Sleep(2 * time.Millisecond)
				}
			}
		})
	}
	w.release = func() { cancel(); taking.Wait(); _ = first.Close(); _ = pool.Close() }
	for range 20 {
		time.Sleep(100 * time.Millisecond)
		if _, err := first.ExecContext(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1`, w.name); err != nil {
			w.t.Error(err)
		}
	}
}

func (w *world) unhog() { w.release() }

var wechatWires = []strike{
	{name: "not reachable", do: wired(toWeChat, wire{refuses: true}), undo: wired(toWeChat, wire{})},
	{name: "behind a dead wire", do: wired(toWeChat, wire{dead: true}), undo: wired(toWeChat, wire{})},
	{name: "trickling", do: wired(toWeChat, wire{trickle: 100 * time.Millisecond}), undo: wired(toWeChat, wire{})},
}

// wechatCut breaks the link to WeChat: callers are told to retry, in time, and everything recovers.
func wechatCut(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk, wired: true, rotate: true})
	warm := w.merchants(3)
	if got := w.crowd(18, warm...).all(); got.lost() > 0 {
		t.Errorf("without a fault: %s", got)
	}
	sum, heals := &tally{}, time.Duration(0)
	for _, s := range wechatWires {
		ids := append(w.merchants(3), warm...)
		for _, id := range warm[:2] {
			if err := w.sim.Reject(id); err != nil {
				t.Fatal(err)
			}
		}
		s.do(w)
		got := w.crowd(36, ids...).all()
		s.undo(w)
		heals = max(heals, w.heals(ids))
		w.onlyRetryable(got)
		sum.add(got)
		w.settled()
	}
	return fmt.Sprintf("%d strikes: %s; healed within %s", len(wechatWires), sum, heals)
}

// wechatUnnamed restarts every replica while WeChat's name cannot be resolved: they start and
// report it, callers are told to retry, and what is stored stays. Once the name resolves all is
// served.
func wechatUnnamed(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk})
	if got := w.crowd(18, w.merchants(6)...).all(); got.lost() > 0 {
		t.Errorf("without a fault: %s", got)
	}
	w.merchants(3)
	named := w.env
	w.env = append(slices.Clone(named), "PLATFORM_WECHAT_URL=http://nowhere.invalid")
	w.killAll()
	w.revive()
	got := w.crowd(54, w.ids...).all()
	w.onlyRetryable(got)
	for _, r := range w.replicas {
		if said, err := r.ready(); err != nil || got.served > 0 || !strings.Contains(said, "WeChat has been unreachable") {
			t.Errorf("%s; /readyz says %s, %v", got, said, err)
		}
	}
	w.env = named
	w.killAll()
	w.revive()
	heals := w.heals(w.ids)
	w.settled()
	return fmt.Sprintf("%s; healed within %s", got, heals)
}

// clockSet sets PostgreSQL's clock back and ahead while a holder waits for WeChat. Its callers and
// all others are served within lease and call.
func clockSet(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: longer, clocked: true, rotate: true})
	warm := w.merchants(4)
	if got := w.crowd(24, warm...).all(); got.lost() > 0 {
		t.Errorf("without a fault: %s", got)
	}
	l := w.load(6, 30*time.Millisecond, warm...)
	sum := &tally{}
	for _, off := range []string{"-2 minutes", "0", "2 minutes", "0"} {
		id := w.merchants(1)[0]
		w.arm("token.authorizer.sending", "stop")
		c := w.crowd(60, id)
		holder := w.struck("token.authorizer.sending")
		holder.out.Store(true)
		w.postgres.setClock(w.name, off)
		others := w.merchants(2)
		sum.add(w.crowd(30, others...).all())
		time.Sleep(w.plan.times.Lease + second)
		holder.signal(syscall.SIGCONT)
		holder.out.Store(false)
		got := c.all()
		if got.lost() > 0 || got.slowest > 2*(w.plan.times.Lease+w.plan.times.Call)+slack {
			t.Errorf("the clock set to %s: %s", off, got)
		}
		sum.add(got)
		time.Sleep(2 * second)
	}
	if l.stop(); l.lost() > 0 || sum.lost() > 0 {
		t.Errorf("warm merchants: %s; cold ones: %s", &l.tally, sum)
	}
	w.settled()
	return fmt.Sprintf("back, right, ahead, right: warm %s; cold %s", &l.tally, sum)
}

// failedOver kills PostgreSQL and continues with a standby that lacks the last second, in which
// tokens were refreshed and refresh tokens replaced.
func failedOver(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk, rotate: true})
	ids := w.merchants(6)
	w.crowd(36, ids...).all()
	w.settled()
	l := w.load(6, 30*time.Millisecond, ids...)
	standby := w.postgres.standby()
	for _, id := range ids {
		if err := w.sim.Reject(id); err != nil {
			t.Fatal(err)
		}
	}
	cold := w.merchants(2)
	if got := w.crowd(36, ids...).all(); got.lost() > 0 {
		t.Errorf("before the failover: %s", got)
	}
	before, err := w.rows()
	if err != nil {
		t.Fatal(err)
	}
	w.watch.across(func() { w.postgres.failOver(standby) })
	w.ids = ids // the last second's merchants are lost with it: their exchange would be pushed again, or found in the list
	time.Sleep(w.plan.times.Overlap)
	for _, id := range ids {
		if err := w.sim.Reject(id); err != nil {
			t.Fatal(err)
		}
	}
	heals := w.heals(ids)
	if l.stop(); l.lost() > 0 {
		w.onlyRetryable(&l.tally)
	}
	w.settled()
	w.newerThan(before)
	return fmt.Sprintf("%s; all served %s after what the standby had has died; %d merchants of the last second left to the list", &l.tally, heals, len(cold))
}

// newerThan checks that each fence is above the one before an older state of the database was
// restored.
func (w *world) newerThan(before []stored) {
	w.t.Helper()
	after, err := w.rows()
	if err != nil {
		w.t.Fatal(err)
	}
	newer := map[wechat.AppID]int64{}
	for _, r := range after {
		newer[r.id] = r.fence
	}
	for _, r := range before {
		if now, ok := newer[r.id]; ok && r.kind == "authorizer" && now <= r.fence {
			w.t.Errorf("I4: %s has fence %d after the older state came back, %d before", r.id, now, r.fence)
		}
	}
}

// powerCut kills everything at once, in the middle of refreshes, and starts it again.
func powerCut(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk, rotate: true})
	warm := w.merchants(6)
	w.crowd(36, warm...).all()
	w.sim.Fault(wechatsim.Fault{Path: authorizerToken, When: wechatsim.After, Delay: 500 * time.Millisecond, Count: wechatsim.Always})
	c := w.crowd(40, w.merchants(10)...)
	time.Sleep(300 * time.Millisecond)
	w.redis.run.end(syscall.SIGKILL, second)
	for _, r := range w.replicas {
		r.signal(syscall.SIGKILL)
	}
	w.postgres.stop(syscall.SIGKILL)
	c.Wait()
	w.sim.ClearFaults()
	w.postgres.start()
	w.redis.start()
	w.revive()
	heals := w.heals(w.ids)
	w.settled()
	return fmt.Sprintf("in the middle of 10 refreshes; all served %s after the start", heals)
}

// descriptorsGone leaves one replica no free file descriptor: what it has continues, the others do
// not notice, and it recovers.
func descriptorsGone(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk})
	warm := w.merchants(6)
	w.crowd(60, warm...).all()
	poor := w.replicas[0]
	l := w.load(6, 20*time.Millisecond, warm...)
	time.Sleep(second)
	w.descriptors(poor, "3") // it keeps those that it has
	w.http.CloseIdleConnections()
	time.Sleep(1500 * time.Millisecond)
	poor.out.Store(true) // as a balancer does that gets no answer from /readyz
	cold := &tally{}
	for range 5 {
		cold.add(w.crowd(12, w.merchants(2)...).all())
		time.Sleep(second)
	}
	w.descriptors(poor, "20000")
	poor.out.Store(false)
	heals := w.heals(w.ids)
	l.stop()
	if !poor.alive() || cold.lost() > 0 {
		t.Errorf("the replica lives: %v; cold merchants at the others: %s", poor.alive(), cold)
	}
	w.onlyRetryable(&l.tally)
	w.settled()
	return fmt.Sprintf("load on all: %s; cold at the others: %s; healed within %s", &l.tally, cold, heals)
}

// connectionsPile opens many more connections than a replica may have open files. It closes those
// that were idle for longest, and answers health checks and calls all the while.
func connectionsPile(t *testing.T, m *machine) string {
	const files, times = 400, 4
	w := m.world(t, plan{times: brisk, replicas: 1, files: files})
	one, warm := w.replicas[0], w.merchants(2)
	w.crowd(10, warm...).all()
	slowest := time.Duration(0)
	for n := range times * files {
		conn, err := net.DialTimeout("tcp", one.public, 5*second)
		if err != nil {
			t.Fatalf("connection %d: %v", n, err)
		}
		defer conn.Close()
		if n%100 == 0 {
			slowest = max(slowest, w.healthCheck(one))
		}
	}
	w.http.CloseIdleConnections()
	calls := w.crowd(20, warm...).all()
	if calls.lost() > 0 || slowest > 2*second {
		t.Errorf("with %d connections and %d files: %s, and a health check took %s", times*files, files, calls, slowest)
	}
	w.settled()
	return fmt.Sprintf("%d connections to a replica with %d files; health checks within %s", times*files, files, slowest.Round(time.Millisecond))
}

// healthCheck returns how long /healthz took, over a connection of its own.
func (w *world) healthCheck(r *replica) time.Duration {
	w.t.Helper()
	began := time.Now()
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * second}).Get("http://" + r.operators + "/healthz")
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		w.t.Fatalf("/healthz: %d", answer.StatusCode)
	}
	return time.Since(began)
}

func (w *world) descriptors(r *replica, most string) {
	w.t.Helper()
	if out, err := exec.Command("prlimit", "--pid", strconv.Itoa(r.Process.Pid), "--nofile="+most+":").CombinedOutput(); err != nil {
		w.t.Fatalf("prlimit: %v %s", err, strings.TrimSpace(string(out)))
	}
}
