//go:build failpoints

package faults

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// moveKilled kills the move from SQLite to PostgreSQL after both are marked, and between the copy's
// commit and the last mark. At no time could a platform serve from both databases, and the same
// command completes the move. Then everything continues on PostgreSQL.
func moveKilled(t *testing.T, m *machine) string {
	w := m.world(t, plan{times: brisk, replicas: 1, sqlite: filepath.Join(t.TempDir(), "platform.db")})
	ids := w.merchants(6)
	if got := w.crowd(12, ids...).all(); got.lost() > 0 {
		t.Errorf("without a fault: %s", got)
	}
	w.settled()
	w.replicas[0].end(syscall.SIGTERM, 40*second)
	w.watch.stop()
	_ = w.db.Close()
	m.postgres.t, m.redis.t = t, t
	m.postgres.do("postgres", "CREATE DATABASE "+w.name)
	source, target := w.url, m.postgres.url(w.name)
	w.killMove("move.marked", source, target)
	if got := w.couldServe(source, target); got != 0 {
		t.Errorf("killed before the copy: %d databases could serve, want none", got)
	}
	if said, err := w.command(target, "migrate", "--from", source, "--cancel"); err != nil {
		t.Errorf("cancelled: %v %s", err, said)
	}
	if said, err := w.command(source, "tenant", "list"); err != nil {
		t.Errorf("cancelled, the old one: %v %s", err, said)
	}
	w.killMove("move.copied", source, target)
	if got := w.couldServe(source, target); got != 1 {
		t.Errorf("killed after the copy: %d databases could serve, want 1", got)
	}
	if said, err := w.command(target, "migrate", "--from", source, "--cancel"); err == nil || !strings.Contains(said, "was moved") {
		t.Errorf("cancelled after the copy: %v %s", err, said)
	}
	asks := w.asks()
	if said, err := w.command(target, "migrate", "--from", source); err != nil {
		t.Errorf("the move, again: %v %s", err, said)
	}
	w.plan.sqlite, w.url = "", target
	w.env = append(w.env, "PLATFORM_DATABASE_URL="+target, "PLATFORM_REDIS_URL=redis://"+w.redis.address())
	w.open()
	w.keepHistory()
	w.watch = watchOver(w)
	w.replicas[0].start()
	got := w.crowd(12, ids...).all()
	if got.lost() > 0 || w.asks() > asks {
		t.Errorf("after the move: %s, %d asks for tokens, want none", got, w.asks()-asks)
	}
	if could := w.couldServe(source, target); could != 1 {
		t.Errorf("after the move %d databases could serve, want 1", could)
	}
	w.settled()
	return fmt.Sprintf("killed at 2 steps, cancelled after the first; then %s from PostgreSQL", got)
}

func (w *world) killMove(step, source, target string) {
	w.t.Helper()
	w.arm(step, "kill")
	if said, err := w.command(target, "migrate", "--from", source); err == nil || !strings.Contains(err.Error(), "killed") {
		w.t.Errorf("the move, killed at %s: %v %s", step, err, said)
	}
}

// couldServe counts the databases that a platform would start with.
func (w *world) couldServe(urls ...string) (n int) {
	w.t.Helper()
	for _, url := range urls {
		said, err := w.command(url, "tenant", "list")
		switch {
		case err == nil:
			n++
		case !strings.Contains(said, "was interrupted") && !strings.Contains(said, "was moved to another one"):
			w.t.Errorf("a database that does not serve says: %s", said)
		}
	}
	return n
}

// command runs the operator's command on the database at url.
func (w *world) command(url string, args ...string) (said string, err error) {
	cmd := exec.Command(w.platform, args...)
	cmd.Env = append(w.env, "PLATFORM_DATABASE_URL="+url)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
