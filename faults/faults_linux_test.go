//go:build failpoints

package faults

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"wxplatform/internal/testenv"
	"wxplatform/token"
)

// scenario is a fault and what must hold under it. run returns its figures.
type scenario struct {
	name string
	run  func(*testing.T, *machine) string
}

// TestFaults runs the scenarios against a platform built for them. FAULTS=all, as make faults sets
// it, runs every scenario; otherwise the most significant ones run. If FAULTS is set, the simulated
// WeChat deviates from its documentation as seen in production, unless FAULTS_FIELD=0.
func TestFaults(t *testing.T) {
	m := newMachine(t)
	m.field = testenv.Get("FAULTS") != "" && testenv.Get("FAULTS_FIELD") != "0"
	sum := &figures{}
	began := time.Now()
	for _, s := range m.scenarios(testenv.Get("FAULTS")) {
		t.Run(s.name, func(t *testing.T) { m.strike(t, s, sum) })
	}
	fmt.Printf("%d scenarios in %s: %s; %d violated\n", sum.scenarios, time.Since(began).Round(second), sum, sum.violated)
}

// strike runs a scenario, prints its line, and adds its figures to sum.
func (m *machine) strike(t *testing.T, s scenario, sum *figures) {
	began := time.Now()
	result := "FAILED"
	m.made = nil
	f := &figures{scenarios: 1, violated: 1}
	defer func() { // also where the scenario gave up
		for _, w := range m.made {
			f.calls.add(&w.total)
			f.refreshes += w.asks()
		}
		fmt.Printf("%-28s %5.1f s  %s: %s\n", s.name, time.Since(began).Seconds(), result, f)
		sum.add(f)
	}()
	f.said = s.run(t, m)
	if !t.Failed() {
		result, f.violated = "I1–I7 hold", 0
	}
}

// figures are the figures of one scenario or of all.
type figures struct {
	scenarios, violated int
	calls               tally
	refreshes           int // of authorizers' tokens, as WeChat was asked for them
	said                string
}

func (f *figures) add(one *figures) {
	f.scenarios += one.scenarios
	f.violated += one.violated
	f.refreshes += one.refreshes
	f.calls.add(&one.calls)
}

func (f *figures) String() string {
	text := fmt.Sprintf("%d calls, %d not served, longest %s, %d refreshes", f.calls.served+f.calls.lost(), f.calls.lost(), f.calls.slowest.Round(time.Millisecond), f.refreshes)
	if f.said != "" {
		text += " | " + f.said
	}
	return text
}

// scenarios returns the short list, all, or those whose names match a regular expression.
func (m *machine) scenarios(which string) (some []scenario) {
	switch {
	case m.postgres == nil:
		return bare
	case which == "":
		return short
	}
	for _, s := range append(slices.Clone(bare), full...) {
		if which == "all" || regexp.MustCompile(which).MatchString(s.name) {
			some = append(some, s)
		}
	}
	return some
}

var (
	bare = []scenario{
		{"SQLite, killed", sqliteKilled("sending", "answered", "stored")},
	}
	short = []scenario{
		{"one refresh", refreshes(brisk, 300*time.Millisecond)},
		{"holder struck", struck(brisk, []string{"authorizer.landing", "authorizer.stored"}, []string{"authorizer.answered"})},
		{"exchange races refresh", exchangesRace},
		{"suspended without SQL", suspended},
		{"Redis struck", underRedisFaults(redisFaults[1:3], second)},
		{"PostgreSQL gone at a commit", sqlAwayAtCommit},
		{"everything killed at once", powerCut},
		{"rolling restart", rolled},
		{"WeChat's answers doubled", doubled(true, 0, 2*time.Millisecond)},
		{"WeChat as in the field", inTheField},
		{"more connections than files", connectionsPile},
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
		{"failed over", failedOver},
		{"PostgreSQL struck", postgresStruck(postgresStrikes, 6*second)},
		{"PostgreSQL's clock set", clockSet},
		{"everything killed at once", powerCut},
		{"out of file descriptors", descriptorsGone},
		{"more connections than files", connectionsPile},
		{"WeChat struck", wechatStruck},
		{"the way to WeChat struck", wechatCut},
		{"WeChat's name not found", wechatUnnamed},
		{"WeChat's answers doubled", doubled(false, doubles...)},
		{"the same over TLS", doubled(true, doubles...)},
		{"WeChat hangs up", hangsUp},
		{"WeChat as in the field", inTheField},
		{"61023 for live merchants", refreshTokenReplaced},
		{"61004, 45009", platformRefused},
		{"pushes lost, workers killed", pushesLost},
		{"browser's exchange killed", browserKilled},
		{"exchange races refresh", exchangesRace},
		{"ticket's keeper killed", ticketKilled},
		{"revocation killed", revocationKilled},
		{"walk through the list killed", walkKilled},
		{"suspended without SQL", suspended},
		{"killed while closing", closeKilled},
		{"rolling restart", rolled},
		{"clock 2 min ahead", clockOff("2m", func() plan { return plan{times: longer} })},
		{"clock 2 min behind", clockOff("-2m", func() plan { return plan{times: longer} })},
		{"clock a life ahead", clockOff("2m", func() plan { return plan{times: patience} })},
		{"SQLite, disk full", sqliteFull},
		{"move to PostgreSQL killed", moveKilled},
		{"the binary that is shipped", ordinaryBinary},
	}
	longer = token.Times{Call: 2 * second, Lease: 3 * second, Unsettled: 5 * second, Overlap: 15 * second, Life: 600 * second}
)

func each(kind string, steps ...string) (all []string) {
	for _, step := range steps {
		all = append(all, kind+"."+step)
	}
	return all
}

// refreshes runs one refresh for each delay of WeChat's answer.
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

// struck kills the holder of a lease at some steps and stops it at others.
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
