package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const module = "wxplatform/"

// event is a line of go test -json.
type event struct {
	Action     string
	Package    string
	ImportPath string // of a package that is being built
	Test       string
	Output     string
	Elapsed    float64
}

// results collects the results of all packages.
type results struct {
	dir      string // of the logs
	tell     io.Writer
	began    time.Time
	printed  time.Time // when a line was last printed
	packages map[string]*result
	facts    []string // lines in which tests say what they ran
	built    strings.Builder
}

// result is the result of one package.
type result struct {
	name     string
	began    time.Time
	took     time.Duration
	outcome  string // "pass", "fail", or "" while it runs; "skip" means that it has no tests
	tests    map[string]*test
	log      *os.File
	lastTest string   // the test of the last line in the log
	output   []string // lines that belong to no test
}

// test is one test or subtest.
type test struct {
	outcome string // "pass", "fail", "skip", or "" while it runs
	output  []string
}

func newResults(dir string, tell io.Writer) *results {
	return &results{dir: dir, tell: tell, began: time.Now(), packages: map[string]*result{}}
}

// say prints a line of progress with the time since the beginning.
func (r *results) say(format string, args ...any) {
	r.printed = time.Now()
	passed := r.printed.Sub(r.began).Round(time.Second)
	fmt.Fprintf(r.tell, "%3d:%02d  %s\n", int(passed.Minutes()), int(passed.Seconds())%60, fmt.Sprintf(format, args...))
}

// add takes in one event.
func (r *results) add(e event) {
	if e.Package == "" {
		r.built.WriteString(e.Output) // a build's, which is shown if it failed
		return
	}
	p := r.of(e.Package)
	switch {
	case e.Action == "output":
		r.write(p, e)
	case e.Action == "start": // may come twice: without its build tag the fault suite has no tests
		p.began, p.outcome = time.Now(), ""
	case e.Test != "":
		p.test(e.Test).end(e.Action)
		if e.Action == "fail" && !p.parts(e.Test, "fail") {
			r.say("FAIL   %s %s", p.name, e.Test)
		}
	case e.Action == "pass" || e.Action == "fail" || e.Action == "skip":
		r.end(p, e)
	}
	if e.Action == "run" && len(p.tests) == 1 && !strings.Contains(e.Test, "/") {
		r.say("start  %s", p.name)
	}
}

func (r *results) of(name string) *result {
	name = strings.TrimPrefix(name, module)
	if r.packages[name] == nil {
		r.packages[name] = &result{name: name, tests: map[string]*test{}}
	}
	return r.packages[name]
}

func (p *result) test(name string) *test {
	if p.tests[name] == nil {
		p.tests[name] = &test{}
	}
	return p.tests[name]
}

func (t *test) end(action string) {
	if action == "pass" || action == "fail" || action == "skip" {
		t.outcome = action
	}
}

const outputKept = 2000 // lines per test, in memory; its package's log has all

var (
	framing = regexp.MustCompile(`^\s*(=== |--- |PASS$|FAIL$|ok\s|FAIL\s|\?\s|exit status )`)
	fact    = regexp.MustCompile(`^(simulation: \d+ histories|\d+ scenarios in )`)
)

// write stores a line of output in the package's log and for the summary. It prints the lines of
// the fault suite, which runs long and reports its progress.
func (r *results) write(p *result, e event) {
	r.log(p, e)
	line := strings.TrimSuffix(e.Output, "\n")
	if fact.MatchString(line) {
		r.facts = append(r.facts, line)
	}
	if framing.MatchString(line) || line == "" {
		return
	}
	kept := &p.output
	if e.Test != "" {
		kept = &p.test(e.Test).output
	}
	if len(*kept) < outputKept {
		*kept = append(*kept, line)
	}
	if p.name == "faults" && !strings.HasPrefix(line, "    ") {
		r.say("       %s", line)
	}
}

// log writes the test's name above its lines whenever it changes: parallel tests write between each
// other's lines.
func (r *results) log(p *result, e event) {
	if p.log == nil {
		log, err := os.Create(r.logOf(p.name))
		if err != nil {
			return // it was printed
		}
		p.log = log
	}
	if e.Test != p.lastTest {
		p.lastTest = e.Test
		_, _ = fmt.Fprintf(p.log, "=== %s\n", cmp.Or(e.Test, p.name))
	}
	_, _ = p.log.WriteString(e.Output)
}

func (r *results) logOf(name string) string {
	return filepath.Join(r.dir, strings.ReplaceAll(name, "/", "-")+".log")
}

func (r *results) end(p *result, e event) {
	p.outcome, p.took = e.Action, time.Duration(e.Elapsed*float64(time.Second))
	if p.log != nil {
		_ = p.log.Close()
	}
	switch {
	case e.Action == "skip" || e.Action == "pass" && len(p.tests) == 0:
		p.outcome = "skip" // it has no tests
	case e.Action == "pass":
		r.say("ok     %-22s %6.1f s  %d tests", p.name, e.Elapsed, len(p.tests))
	default:
		r.say("FAIL   %-22s %6.1f s", p.name, e.Elapsed)
	}
}

// running returns the names of what has begun and not ended.
func (r *results) running() string {
	var all []string
	for _, p := range r.packages {
		if p.outcome == "" && len(p.tests) > 0 {
			all = append(all, fmt.Sprintf("%s (%.0f s)", p.name, time.Since(p.began).Seconds()))
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// sorted returns the packages that have tests, by name.
func (r *results) sorted() (all []*result) {
	for _, p := range r.packages {
		if p.outcome != "skip" {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *result) int { return cmp.Compare(a.name, b.name) })
	return all
}

// with returns the tests with an outcome, by name. A test that failed only because of its subtests
// is left out.
func (p *result) with(outcome string) (names []string) {
	for name, t := range p.tests {
		if t.outcome == outcome && !(outcome != "pass" && p.parts(name, outcome)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (p *result) parts(of, outcome string) bool {
	for name, t := range p.tests {
		if strings.HasPrefix(name, of+"/") && t.outcome == outcome {
			return true
		}
	}
	return false
}
