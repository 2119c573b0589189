//go:build failpoints

package faults

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

// ticketKilled kills the replica that takes a ticket, before and after it is stored, and then all
// at once: the last ticket is stored, and a restart needs no new one.
func ticketKilled(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk})
	for _, step := range []string{"ticket.received", "ticket.stored"} {
		w.arm(step, "kill")
		w.sim.PushTicket()
		<-w.struck(step).gone
		w.revive()
		if !within(20*second, func() bool { return w.storedTicket() == w.sim.Ticket() }) {
			t.Errorf("%s: WeChat's last ticket is not stored", step)
		}
	}
	w.killAll()
	w.revive()
	pushed := len(w.sim.Pushes())
	w.allowForced()
	if err := w.sim.Reject(wechatsim.DefaultAppID); err != nil {
		t.Fatal(err)
	}
	before, ids := w.componentAsks(), w.merchants(3)
	if got := w.crowd(30, ids...).all(); got.lost() > 0 || w.componentAsks() != before+1 {
		t.Errorf("after all were killed: %d asks for the component token, %s; want 1 and all served", w.componentAsks()-before, got)
	}
	if got := len(w.sim.Pushes()); got != pushed {
		t.Errorf("%d pushes were needed after the restart, want none", got-pushed)
	}
	w.settled()
	return "killed before and after it was stored, then all at once; a component token without another push"
}

func (w *world) storedTicket() string {
	sealed, err := db.One(context.Background(), w.db, db.Value[[]byte], `SELECT ticket FROM tickets`)
	if err != nil {
		return err.Error()
	}
	opened, err := w.ring.Open(sealed, "tickets", "ticket", string(w.sim.Config().AppID))
	if err != nil {
		return err.Error()
	}
	return opened.Reveal()
}

func (w *world) killAll() {
	for _, r := range w.replicas {
		r.signal(syscall.SIGKILL)
	}
	for _, r := range w.replicas {
		<-r.gone
	}
}

// revocationKilled has merchants withdraw, and kills the process that takes the event, gets
// WeChat's confirmation, or has stored it. Each is revoked in the end, within a second on all
// replicas, and no one else is.
func revocationKilled(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk})
	steps := []string{"inbox.handled", "check.answered", "check.stored"}
	ids := w.merchants(len(steps) + 3)
	w.authorizedLongAgo()
	if got := w.crowd(36, ids...).all(); got.lost() > 0 {
		t.Errorf("without a fault: %s", got)
	}
	gone := ids[:len(steps)]
	for i, step := range steps {
		w.watch.allow(gone[i])
		w.arm(step, "kill")
		if err := w.sim.Unauthorize(gone[i]); err != nil {
			t.Fatal(err)
		}
		<-w.struck(step).gone
		w.revive()
	}
	began := time.Now()
	for _, id := range gone {
		if !within(90*second-time.Since(began), func() bool { time.Sleep(200 * time.Millisecond); return w.stateOf(id) == "revoked" }) {
			t.Errorf("%s is %s", id, w.stateOf(id))
		}
	}
	noticed := time.Since(began).Round(100 * time.Millisecond)
	time.Sleep(1500 * time.Millisecond)
	for _, id := range gone {
		for _, r := range w.replicas {
			if why := w.read(r, id); why != "410 authorization-revoked" {
				t.Errorf("replica %d answers %q for a merchant who withdrew", r.number, why)
			}
		}
	}
	w.ids = ids[len(steps):]
	w.heals(w.ids)
	w.settled()
	return fmt.Sprintf("%d kills; all revoked %s after the last", len(steps), noticed)
}

// authorizedLongAgo lets withdrawals be confirmed at once: WeChat is asked at the earliest a minute
// after the authorization.
func (w *world) authorizedLongAgo() {
	w.t.Helper()
	w.change(`UPDATE authorizers SET authorized_at = authorized_at - 600000`)
}

func (w *world) change(text string) {
	w.t.Helper()
	if _, err := db.Exec(context.Background(), w.db, text); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) stateOf(id wechat.AppID) string {
	state, err := db.One(context.Background(), w.db, db.Value[string], `SELECT state FROM authorizers WHERE appid = $1`, string(id))
	if err != nil {
		return err.Error()
	}
	return state
}

// walkKilled kills the process that reads WeChat's list, at each step, while live merchants wait
// for the refresh token in it; and the operator's reconcile. Then the list is read again, and
// nothing is lost or deleted.
func walkKilled(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk})
	steps := []string{"walk.answered", "walk.compared"}
	ids := w.merchants(6)
	if got := w.crowd(36, ids...).all(); got.lost() > 0 {
		t.Errorf("without a fault: %s", got)
	}
	for _, step := range steps {
		w.arm(step, "kill")
		for _, id := range ids {
			if err := w.sim.ReplaceRefreshToken(id); err != nil {
				t.Fatal(err)
			}
			if err := w.sim.Reject(id); err != nil {
				t.Fatal(err)
			}
		}
		w.crowd(18, ids...).all() // all are refused before a walk may begin
		w.walkAgain()
		<-w.struck(step).gone
		w.revive()
		w.walkAgain()
		w.heals(ids)
		w.change(`UPDATE tokens SET forced_at = 0, forced_version = 0`) // there are more of them here than the ten minutes allow
	}
	for _, step := range steps {
		w.walkAgain()
		w.arm(step, "kill")
		cmd := exec.Command(w.platform, "reconcile", "--json")
		cmd.Env = w.env
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("reconcile, killed at %s: %v %s", step, err, out)
		}
	}
	w.walkAgain()
	var found struct{ Listed int }
	w.operate(&found, "reconcile")
	listed := len(ids)
	if w.inTheField() {
		listed++ // an entry that names nobody
	}
	if found.Listed != listed {
		t.Errorf("reconcile after the kills saw %d, want %d", found.Listed, listed)
	}
	got := w.crowd(36, ids...).all()
	if got.lost() > 0 {
		t.Errorf("afterwards: %s", got)
	}
	w.settled()
	return fmt.Sprintf("%d kills of the keeper's walk, %d of the operator's; then %s", len(steps), len(steps), got)
}

// walkAgain skips the ten minutes before the list is read again, and the two minutes of a dead
// process's lease.
func (w *world) walkAgain() {
	w.t.Helper()
	w.change(`UPDATE walks SET begun_at = 0, lease_until = 0, reconciled_at = CASE WHEN reconciled_at > 0 THEN reconciled_at ELSE 1 END`)
}

// suspended suspends and resumes a tenant, and moves a merchant away and back, while one replica
// alone has lost SQL: it obeys, because Redis tells it.
func suspended(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk, wired: true})
	ids := w.merchants(3)
	if got := w.crowd(36, ids...).all(); got.lost() > 0 {
		t.Errorf("without a fault: %s", got)
	}
	alone := w.replicas[2]
	var said []string
	for _, is := range []struct {
		name string
		wire
	}{{"refused", wire{refuses: true}}, {"dead", wire{dead: true}}} {
		alone.wires.postgres.become(is.wire)
		if !within(20*second, func() bool { said, _ := alone.ready(); return strings.Contains(strings.ToLower(said), "database") }) {
			t.Error("the replica without SQL does not say so")
		}
		for _, step := range []struct {
			command          []string
			want, withoutSQL string // without SQL nobody can tell that a merchant is not the tenant's, only that he is not known to be
		}{
			{[]string{"tenant", "suspend", w.tenant}, "403 tenant-suspended", "403 tenant-suspended"}, {[]string{"tenant", "resume", w.tenant}, "", ""},
			{[]string{"authorizer", "move", string(ids[0]), "--none"}, "404 unknown-authorizer", "503 unavailable"}, {[]string{"authorizer", "move", string(ids[0]), w.tenant}, "", ""},
		} {
			w.operate(&struct{}{}, step.command...)
			at := time.Now()
			for _, r := range w.replicas {
				why, want := "", step.want
				if r == alone {
					want = step.withoutSQL
				}
				if !within(8*second, func() bool { why = w.read(r, ids[0]); return why == want }) {
					t.Errorf("SQL %s to replica 2, %s: replica %d answers %q, want %q", is.name, step.command[1], r.number, why, want)
				}
			}
			said = append(said, fmt.Sprintf("SQL %s: %s obeyed after %s", is.name, step.command[1], time.Since(at).Round(10*time.Millisecond)))
		}
		alone.wires.postgres.become(wire{})
		if !within(20*second, func() bool {
			said, err := alone.ready()
			return err == nil && !strings.Contains(strings.ToLower(said), "database")
		}) {
			t.Error("the replica does not heal")
		}
	}
	if status, text := w.tenantAsks(http.MethodGet, "/v1/authorizers", ""); status != http.StatusOK {
		t.Errorf("afterwards: %d %s", status, text)
	}
	w.settled()
	return strings.Join(said, "; ")
}
