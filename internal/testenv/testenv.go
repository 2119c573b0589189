// Package testenv keeps the caller's environment away from tests. A test binary sees what any
// program needs, such as PATH, and the switches of the suite. Other variables have no effect on
// tests. Every package's TestMain calls Main, and tests read switches only with Get: package arch
// checks both.
package testenv

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// switches are set by the Makefile and scripts/with-servers.sh for tests.
var switches = []string{
	"TEST_POSTGRES_URL", "TEST_REDIS_URL", "TEST_NET_HTTP", "WITH_PROMTOOL",
	"SIMULATE", "SIMULATE_SEED", "MUTANTS", "MUTANT", "FAULTS", "FAULTS_RACE", "FAULTS_FIELD", "TRANSCRIPT",
}

// needed is what programs, and the Go tools that some tests run, cannot do without. A name that
// ends in * is a prefix.
var needed = []string{"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LD_LIBRARY_PATH", "XDG_CACHE_HOME", "GO*", "CGO_*", "CC", "CXX"}

// caller is the environment before Clear.
var caller = os.Environ()

// Main runs a package's tests in a clean environment.
func Main(m *testing.M) { os.Exit(Clean{m}.Run()) }

// Clean is a testing.M whose Run clears the environment first, for a TestMain that passes its M on.
type Clean struct{ M *testing.M }

// Run runs the tests in a clean environment.
func (c Clean) Run() int {
	Clear()
	return c.M.Run()
}

// Clear unsets everything that is neither needed nor a switch.
func Clear() {
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); !kept(name) {
			_ = os.Unsetenv(name)
		}
	}
}

func kept(name string) bool {
	return slices.Contains(switches, name) || slices.ContainsFunc(needed, func(one string) bool {
		prefix, is := strings.CutSuffix(one, "*")
		return name == one || is && strings.HasPrefix(name, prefix)
	})
}

// Get returns a switch, or "" if it is not set. It panics on any other name.
func Get(name string) string {
	if !slices.Contains(switches, name) {
		panic(fmt.Sprintf("%s is not a switch of the tests", name))
	}
	return os.Getenv(name)
}

// Caller returns the environment that the tests were started in: for go build, which may need a
// proxy, and for nothing that is tested.
func Caller() []string { return slices.Clone(caller) }

// Environ returns the clean environment, for programs that are tested.
func Environ() []string { return os.Environ() }
