package authorizer_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"wxplatform/internal/testenv"
)

// mutant is the code without one guard. The violations that the simulation then finds show what the
// guard is for.
type mutant struct{ guard, file, old, new string }

var mutants = []mutant{
	{"an unknown outcome makes the row suspect", "token/row.go", "if how == unknown {", "if false {"},
	{"a holder that vanished makes the row suspect", "token/row.go", "	r.lease = time.Time{}\n	r.unsettle(m.settles(), m)\n", "	r.lease = time.Time{}\n"},
	{"a late success makes the row suspect", "token/row.go", "	if late {\n		r.unsettle(m.now, m)", "	if false {\n		r.unsettle(m.now, m)"},
	{"a late success is not clean", "token/row.go", "clean := !late && !r.unsettled", "clean := !r.unsettled"},
	{"a success is not clean if something became unsettled", "token/row.go", "clean := !late && !r.unsettled.After(r.claimed)", "clean := !late"},
	{"an older success is not stored over a newer one", "token/row.go", "	if c.fence < r.version {\n", "	if false {\n"},
	{"the refresh token of an older success becomes the spare", "token/row.go", "		r.keep(a.Refresh, c.fence)\n", ""},
	{"the refresh token that an unclean success replaces becomes the spare", "token/row.go", "		r.keep(old, oldVersion)\n", "		_, _ = old, oldVersion\n"},
	{"the spare is tried when the row's own is refused", "token/attempt.go", "c.refreshDead && !c.spare.IsZero()", "c.refreshDead && false"},
	{"an exchange is clean only 12 s after the last claim", "token/row.go", "clean := sent.Sub(r.claimed) > m.Lease &&", "clean :="},
	{"an exchange is not clean after the clock was set", "token/row.go", " && !m.jumped\n", "\n"},
	{"an unsettled row stays unsettled after the clock was set", "token/row.go", "if m.jumped && !r.unsettled.IsZero() {", "if false {"},
	{"an exchange ends the lease", "token/row.go", "	r.endLease(m) // a lease that was held leaves something unsettled\n", ""},
	{"a lease holds", "token/row.go", "return m.now.Before(r.lease) && r.lease.Sub(m.now) <= m.Lease", "return false"},
	{"a lease that ends too far ahead is over", "token/row.go", "m.now.Before(r.lease) && r.lease.Sub(m.now) <= m.Lease", "m.now.Before(r.lease)"},
	{"a claimed row is due when its lease ends", "token/row.go", "	r.due = r.lease\n", "	r.due = time.Time{}\n"},
	{"nothing is sent if a call no longer fits into the lease", "token/attempt.go", "if time.Since(began)+a.times.Call > a.times.Lease {", "if false {"},
	{"callers back off", "token/row.go", "case m.now.Before(r.retry), m.now.Before(r.barred):", "case m.now.Before(r.barred):"},
	{"callers name the version that they cannot use", "token/row.go", "return r.version > n.newerThan && r.alive", "return r.alive"},
	{"a waiting caller reads the row each second", "token/attempt.go", "int64(a.version(a.id)), rereadEvery)", "int64(a.version(a.id)), time.Hour)"},
	{"fences come from the clock", "token/row.go", "db.Next(int64(max(r.fence, r.version)), m.now)", "db.Next(int64(max(r.fence, r.version)), time.UnixMilli(1))"},
	{"a fence is above the rejected version", "token/row.go", ", bad+1)", ", 0*bad)"},
	{"a fence is above what is stored", "token/row.go", "int64(max(r.fence, r.version))", "int64(r.fence)"},
	{"a row that never issued what is known is suspect", "token/row.go", "if r.fence < m.known {", "if false {"},
	{"an answer that SQL did not take is stored later", "token/attempt.go", "	a.storeLater(ctx, c, answer)\n", ""},
	{"an older row does not replace a newer known token", "internal/mirror/newest.go", "if found && old.Version >= v.Version {", "if found && old.Version == v.Version {"},
	{"a clock that is set back uses up no forced refresh", "token/row.go", "		r.forced = m.now\n", "		r.forced = m.now.Add(forcedWithin)\n"},
	{"a listed refresh token overwrites nothing", "token/row.go", "if r.refresh.IsZero() && !refresh.IsZero() {", "if !refresh.IsZero() {"},
	{"only a walk begun after the refusal counts", "authorizer/state.go", "c.Sought.IsZero() || !c.Sought.Before(begun) || ", "c.Sought.IsZero() || "},
	{"a walk counts only for the token that was refused", "authorizer/state.go", " || c.Version != version {", " {"},
	{"a failure of an older token is ignored", "authorizer/fault.go", "if err != nil || stored != version {\n			return c, err\n", "if _ = stored; err != nil {\n			return c, err\n"},
	{"a withdrawal is written only if no token came meanwhile", "authorizer/check.go", "if version != read {", "if _ = version; false {"},
	{"a recovery that was not noted is found", "authorizer/state.go", "if health[one.id].Version > one.Version {", "if _ = health; false {"},
}

// TestEveryMutantFindsItsGuard checks the list above against the code.
func TestEveryMutantFindsItsGuard(t *testing.T) {
	for _, m := range mutants {
		if _, err := m.source(); err != nil {
			t.Error(err)
		}
	}
}

func (m mutant) source() ([]byte, error) {
	text, err := os.ReadFile(filepath.Join("..", m.file))
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(text, []byte(m.old)); n != 1 {
		return nil, fmt.Errorf("%s: got %q %d times in %s, want it once", m.guard, m.old, n, m.file)
	}
	return bytes.Replace(text, []byte(m.old), []byte(m.new), 1), nil
}

// TestMutants removes each guard whose name MUTANT matches, and prints the result as a row
// of docs/custody.md: how many of MUTANTS histories broke an invariant, and which test of the
// guard's package goes red. Without MUTANTS it does nothing.
func TestMutants(t *testing.T) {
	n := setting(t, "MUTANTS", 0)
	which := regexp.MustCompile(testenv.Get("MUTANT"))
	for _, m := range mutants {
		if n == 0 || !which.MatchString(m.guard) {
			continue
		}
		overlay := m.overlay(t)
		found := red.FindStringSubmatch(m.goTest(overlay, "-timeout", "2m", "-failfast", "-skip", "^("+strings.Join(notOfTheGuard, "|")+")$", "./"+filepath.Dir(m.file)))
		if found == nil {
			t.Errorf("%s: got no test of %s red without it", m.guard, filepath.Dir(m.file))
			found = []string{"", "none"}
		}
		fmt.Printf("| %s | `%s` | %s |\n", m.guard, found[1], verdictOf(m.goTest(overlay, "-timeout", "60m", "-run", "TestSimulation$", "-v", "./authorizer")))
	}
}

// The simulation has its own column. The others run histories too, or check the list above.
var notOfTheGuard = []string{"TestSimulation", "TestASeedReplaysTheSameHistory", "TestRandomHistoriesEndWithTheNewestTokenStored", "TestEveryMutantFindsItsGuard", "TestMutants"}

// overlay is a file by which go builds the package over the mutated file.
func (m mutant) overlay(t *testing.T) string {
	text, err := m.source()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	mutated, overlay := filepath.Join(dir, "mutated.go"), filepath.Join(dir, "overlay.json")
	original, err := filepath.Abs(filepath.Join("..", m.file))
	if err != nil {
		t.Fatal(err)
	}
	list, _ := json.Marshal(map[string]any{"Replace": map[string]string{original: mutated}})
	for name, content := range map[string][]byte{mutated: text, overlay: list} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return overlay
}

func (m mutant) goTest(overlay string, args ...string) string {
	command := exec.Command("go", append([]string{"test", "-overlay", overlay, "-count=1", "-vet=off"}, args...)...)
	command.Dir = ".."
	command.Env = append(testenv.Caller(), "SIMULATE="+testenv.Get("MUTANTS"), "SIMULATE_SEED=1", "MUTANTS=")
	out, _ := command.CombinedOutput() // it fails if a test misses the guard
	return string(out)
}

var (
	violations = regexp.MustCompile(`violations (\d+)`)
	broken     = regexp.MustCompile(`seed \d+: ([\w-]+)`)
	red        = regexp.MustCompile(`(?m)^(?:--- FAIL: |\s+)(Test\w+) \(\S+\)$`) // also a test that was running when the time was over
)

func verdictOf(out string) string {
	found := violations.FindStringSubmatch(out)
	if found == nil {
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if testenv.Get("MUTANT") != "" {
			fmt.Println(out)
		}
		return "it does not end: " + strings.Join(lines[:min(3, len(lines))], " ")
	}
	counts := map[string]int{}
	for _, one := range broken.FindAllStringSubmatch(out, -1) {
		counts[one[1]]++
	}
	var kinds []string
	for kind, n := range counts {
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, n))
	}
	slices.Sort(kinds)
	return found[1] + " | " + strings.Join(kinds, ", ")
}
