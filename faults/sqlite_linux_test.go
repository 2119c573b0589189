//go:build failpoints

package faults

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// sqliteKilled kills the only replica on SQLite at each step of a refresh.
func sqliteKilled(steps ...string) func(*testing.T, *machine) string {
	return func(t *testing.T, m *machine) string {
		w := m.world(t, plan{times: brisk, replicas: 1, sqlite: filepath.Join(t.TempDir(), "platform.db")})
		for _, step := range steps {
			ids := w.merchants(2)
			w.arm("token.authorizer."+step, "kill")
			c := w.crowd(20, ids...)
			<-w.struck("token.authorizer." + step).gone
			c.Wait()
			w.replicas[0].start()
			w.heals(ids)
		}
		got := w.crowd(40, w.ids...).all()
		if got.lost() > 0 {
			t.Errorf("after all kills: %s", got)
		}
		w.settled()
		return fmt.Sprintf("killed at %d steps; then %s", len(steps), got)
	}
}

// sqliteFull fills the disk under SQLite: live tokens are served, nothing is refreshed that could
// not be stored, and free space repairs it.
func sqliteFull(t *testing.T, m *machine) string {
	dir, unmount := smallDisk(t)
	defer unmount()
	w := m.world(t, plan{times: brisk, replicas: 1, sqlite: filepath.Join(dir, "platform.db")})
	defer w.close()
	ids := w.merchants(6)
	w.crowd(12, ids...).all()
	l := w.load(4, 20*time.Millisecond, ids...)
	time.Sleep(second)
	fill(t, filepath.Join(dir, "filler"))
	asks := w.asks()
	cold := w.crowd(6, ids[0]).all()
	time.Sleep(w.plan.times.Life/2 - 8*second)
	unstored := w.asks() - asks
	if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
		t.Fatal(err)
	}
	heals := w.heals(ids)
	time.Sleep(3 * second)
	if l.stop(); l.lost() > 0 {
		t.Errorf("merchants whose tokens live: %s", &l.tally)
	}
	w.settled()
	return fmt.Sprintf("%s; %s; %d asks while full; healed within %s", &l.tally, cold, unstored, heals)
}

// smallDisk is a file system of a few megabytes, if this machine lets us mount one; otherwise a
// folder, with which less is tested.
func smallDisk(t *testing.T) (dir string, unmount func()) {
	dir = t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Logf("without a full disk: %v %s", err, out)
		return dir, func() {}
	}
	return dir, func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }
}

// fill writes until the disk is full, or 32 MB.
func fill(t *testing.T, name string) {
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for range 8192 {
		if _, err := f.Write(block); err != nil {
			return
		}
	}
}
