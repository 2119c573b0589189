//go:build failpoints

package faults

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"wxplatform/token"
)

// scenario is a fault, and what must hold in it. It says its figures.
type scenario struct {
	name string
	run  func(*testing.T, *machine) string
}

// TestFaults strikes a platform that is built for it. FAULTS=all, as make faults sets it, runs every scenario; else the most telling ones are run.
func TestFaults(t *testing.T) {
	m := newMachine(t)
	for _, s := range m.scenarios(os.Getenv("FAULTS") == "all") {
		t.Run(s.name, func(t *testing.T) {
			began := time.Now()
			said := s.run(t, m)
			verdict := "I1–I7 hold"
			if t.Failed() {
				verdict = "FAILED"
			}
			fmt.Printf("%-28s %5.1f s  %s: %s\n", s.name, time.Since(began).Seconds(), verdict, said)
		})
	}
}

func (m *machine) scenarios(all bool) []scenario {
	switch {
	case m.postgres == nil:
		return bare
	case all:
		return append(append([]scenario{}, bare...), full...)
	}
	return short
}

var (
	bare = []scenario{
		{"SQLite, killed", sqliteKilled("sending", "answered", "stored")},
	}
	short = []scenario{
		{"one refresh", refreshes(brisk, 300*time.Millisecond)},
		{"holder struck", struck(brisk, []string{"authorizer.landing", "authorizer.stored"}, []string{"authorizer.answered"})},
		{"Redis struck", underRedisFaults(redisFaults[1:3], second)},
		{"PostgreSQL gone at a commit", sqlAwayAtCommit},
		{"rolling restart", rolled},
	}
	full = []scenario{
		{"one refresh", refreshes(patience, 0, 300*time.Millisecond, second, 3*second)},
		{"holder killed", struck(brisk, each("authorizer", "claimed", "sending", "working", "landing", "answered", "stored", "shared"), nil)},
		{"holder stopped", struck(brisk, nil, each("authorizer", "claimed", "sending", "working", "landing", "answered", "stored", "shared"))},
		{"component's holder struck", struck(brisk, each("component", "working", "landing", "answered", "stored"), each("component", "working", "answered"))},
		{"Redis struck", underRedisFaults(redisFaults, 5*second)},
		{"PostgreSQL away", sqlAway},
		{"PostgreSQL away for long", sqlAwayForLong},
		{"PostgreSQL gone at a commit", sqlAwayAtCommit},
		{"PostgreSQL cut and restarted", sqlCut},
		{"older dump restored", restored},
		{"WeChat struck", wechatStruck},
		{"61023 for live merchants", refreshTokenReplaced},
		{"61004, 45009", platformRefused},
		{"pushes lost, workers killed", pushesLost},
		{"killed while closing", closeKilled},
		{"rolling restart", rolled},
		{"clock 2 min ahead", clockOff("2m", func() plan { return plan{times: longer} })},
		{"clock 2 min behind", clockOff("-2m", func() plan { return plan{times: longer} })},
		{"clock a life ahead", clockOff("2m", func() plan { return plan{times: patience} })},
		{"SQLite, disk full", sqliteFull},
	}
	longer = token.Times{Call: 2 * second, Lease: 3 * second, Unsettled: 5 * second, Overlap: 15 * second, Life: 600 * second}
)

func each(kind string, steps ...string) (all []string) {
	for _, step := range steps {
		all = append(all, kind+"."+step)
	}
	return all
}

// refreshes has WeChat answer in each of these times.
func refreshes(times token.Times, delays ...time.Duration) func(*testing.T, *machine) string {
	return func(t *testing.T, m *machine) string {
		w := m.world(t, plan{times: times})
		var said []string
		for _, delay := range delays {
			said = append(said, fmt.Sprintf("WeChat %s: authorizer %s; component %s", delay, w.oneRefresh(delay), w.oneComponentToken(delay)))
		}
		w.settled()
		return strings.Join(said, "; ")
	}
}

// struck kills the holder of a lease at some steps and stops him at some.
func struck(times token.Times, killed, stopped []string) func(*testing.T, *machine) string {
	return func(t *testing.T, m *machine) string {
		w := m.world(t, plan{times: times})
		var said []string
		for _, step := range killed {
			said = append(said, step+" killed: "+w.holder(step, "kill"))
		}
		for _, step := range stopped {
			said = append(said, step+" stopped: "+w.holder(step, "stop"))
		}
		w.settled()
		return strings.Join(said, "; ")
	}
}
