package authorizer_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/testenv"
	"wxplatform/migrations"
)

// TestSimulation replays seeded histories of the production code and checks the invariants of
// custody in each (docs/custody.md). SIMULATE is how many. SIMULATE_SEED is the first seed; without
// it a long run begins with seeds that were never run. A single history shows its trace.
func TestSimulation(t *testing.T) {
	n := setting(t, "SIMULATE", 0)
	first := setting(t, "SIMULATE_SEED", 1)
	switch {
	case n == 0:
		n = shortRun
	case n > 1 && testenv.Get("SIMULATE_SEED") == "":
		first = int(time.Now().Unix()) * 1_000_000
	}
	began, spent := time.Now(), cpu()
	total, broken := simulate(t, uint64(first), n)
	used := cpu() - spent
	for _, w := range broken[:min(len(broken), reportMost)] {
		w.report(t)
	}
	if n > 1 {
		fmt.Printf("simulation: %d histories, seeds %d to %d, %d calls, %d asks, %.0f CPU seconds (%.0f histories a CPU second), %v, violations %d; faults: %s\n",
			total.histories, first, first+n-1, total.calls, total.asks, used.Seconds(), float64(total.histories)/used.Seconds(), time.Since(began).Round(time.Second), len(broken), total.spell())
	}
}

const (
	shortRun   = 2000 // histories, some seconds
	reportMost = 1000
	batchOf    = 200 // histories before a bubble of time
)

func setting(t *testing.T, name string, otherwise int) int {
	text := testenv.Get(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (c *tally) spell() string {
	var some []string
	for what, n := range c.faults {
		some = append(some, fmt.Sprintf("%s %d", what, n))
	}
	slices.Sort(some)
	return strings.Join(some, ", ")
}

func simulate(t *testing.T, first uint64, n int) (*tally, []*world) {
	total := &tally{faults: map[string]int{}}
	var broken []*world
	var mu sync.Mutex
	var workers sync.WaitGroup
	next, end := first, first+uint64(n)
	for range min(runtime.GOMAXPROCS(0), n) {
		workers.Go(func() {
			for {
				mu.Lock()
				from := next
				next = min(next+batchOf, end)
				to := next
				mu.Unlock()
				if from == to {
					return
				}
				counts, some := bubble(t, from, to)
				mu.Lock()
				total.add(counts)
				broken = append(broken, some...)
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return total, broken
}

// bubble replays some histories in one bubble of time, before one database in memory. It hands back
// those that broke an invariant.
func bubble(t *testing.T, from, to uint64) (counts *tally, broken []*world) {
	counts = &tally{faults: map[string]int{}}
	synctest.Test(t, func(t *testing.T) {
		base := memory(t)
		defer base.Close()
		ring := dbtest.Ring(t)
		for seed := from; seed < to; seed++ {
			w := replay(t, base, ring, seed, counts)
			if w.violation != "" || testenv.Get("SIMULATE") == "1" {
				broken = append(broken, w)
			}
		}
	})
	return counts, broken
}

func memory(t *testing.T) *db.DB {
	base, err := db.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	if err := base.Migrate(context.Background(), migrations.Files); err != nil {
		t.Fatal(err)
	}
	if err := base.Claim(context.Background(), dbtest.Component); err != nil {
		t.Fatal(err)
	}
	return base
}

func (w *world) report(t *testing.T) {
	if testenv.Get("SIMULATE") == "1" {
		t.Log("the history:\n" + strings.Join(w.trace, "\n"))
	}
	if w.violation != "" {
		t.Errorf("seed %d: %s\n\tSIMULATE=1 SIMULATE_SEED=%d go test ./authorizer -run 'TestSimulation$' -v", w.seed, w.violation, w.seed)
	}
}

// TestASeedReplaysTheSameHistory checks that the same seed gives the same history, step by step,
// whatever went before it in its bubble.
func TestASeedReplaysTheSameHistory(t *testing.T) {
	first, again := traces(t, 1, 150), traces(t, 31, 150)
	if len(again) < 100 {
		t.Errorf("got %d of 119 histories without a tie, want nearly all", len(again))
	}
	for seed, got := range again {
		if want := first[seed]; got != want {
			t.Fatalf("seed %d: got two histories that part at %q", seed, parting(got, want))
		}
	}
}

func traces(t *testing.T, from, to uint64) map[uint64]string {
	all := map[uint64]string{}
	synctest.Test(t, func(t *testing.T) {
		base := memory(t)
		defer base.Close()
		for seed := from; seed < to; seed++ {
			if w := replay(t, base, dbtest.Ring(t), seed, &tally{faults: map[string]int{}}); !w.tied {
				all[seed] = strings.Join(w.trace, "\n")
			}
		}
	})
	return all
}

func parting(one, other string) string {
	lines := strings.Split(other, "\n")
	for i, line := range strings.Split(one, "\n") {
		if i >= len(lines) || line != lines[i] {
			return line
		}
	}
	return "the end"
}
