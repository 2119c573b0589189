package faults

import (
	"fmt"
	"os"
	"testing"
	"time"
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
	bare  = []scenario{}
	short = []scenario{
		{"one refresh", func(t *testing.T, m *machine) string {
			w := m.world(t, plan{times: brisk})
			said := "authorizer " + w.oneRefresh(300*time.Millisecond) + "; component " + w.oneComponentToken(300*time.Millisecond)
			w.settled()
			return said
		}},
		{"holder struck", func(t *testing.T, m *machine) string {
			w := m.world(t, plan{times: brisk})
			said := "killed, answered: " + w.holder("authorizer.answered", "kill") + "; killed, stored: " + w.holder("authorizer.stored", "kill") + "; stopped, answered: " + w.holder("authorizer.answered", "stop")
			w.settled()
			return said
		}},
	}
	full = []scenario{}
)
