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
	ImportPath string // of a package that is built
	Test       string
	Output     string
	Elapsed    float64
}

// results are those of all packages that were run, as their events came.
type results struct {
	dir      string // of the logs
	tell     io.Writer
	began    time.Time
	said     time.Time // when a line was last printed
	packages map[string]*result
	facts    []string // lines of the tests that say what they ran
	built    strings.Builder
}

// result is that of one package.
type result struct {
	name    string
	began   time.Time
	took    time.Duration
	verdict string // "pass", "fail", or "" while it runs; "skip" has no tests
	tests   map[string]*test
	log     *os.File
	said    string   // the test of the last line in the log
	output  []string // of no test
}

// test is one test or subtest.
type test struct {
	verdict string // "pass", "fail", "skip", or "" while it runs
	output  []string
}

func newResults(dir string, tell io.Writer) *results {
	return &results{dir: dir, tell: tell, began: time.Now(), packages: map[string]*result{}}
}

// say prints a line of progress, behind the time since the beginning.
func (r *results) say(format string, args ...any) {
	r.said = time.Now()
	passed := r.said.Sub(r.began).Round(time.Second)
	fmt.Fprintf(r.tell, "%3d:%02d  %s\n", int(passed.Minutes()), int(passed.Seconds())%60, fmt.Sprintf(format, args...))
}

// add takes in one event.
func (r *results) add(e event) {
	if e.Package == "" {
		r.built.WriteString(e.Output) // a build's, which is told where it failed
		return
	}
	p := r.of(e.Package)
	switch {
	case e.Action == "output":
		r.write(p, e)
	case e.Action == "start": // perhaps once more: without its build tag the fault suite has no tests
		p.began, p.verdict = time.Now(), ""
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
		t.verdict = action
	}
}

const outputKept = 2000 // lines a test, in memory; its package's log has all

var (
	framing = regexp.MustCompile(`^\s*(=== |--- |PASS$|FAIL$|ok\s|FAIL\s|\?\s|exit status )`)
	fact    = regexp.MustCompile(`^(simulation: \d+ histories|\d+ scenarios in )`)
)

// write keeps a line of output: in the package's log, for the summary, and on the screen where it is
// a line of the fault suite, which runs long and says what it does.
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

// log names the test above each of its runs of lines, for tests that run at once write between each other's.
func (r *results) log(p *result, e event) {
	if p.log == nil {
		log, err := os.Create(r.logOf(p.name))
		if err != nil {
			return // the screen has it
		}
		p.log = log
	}
	if e.Test != p.said {
		p.said = e.Test
		_, _ = fmt.Fprintf(p.log, "=== %s\n", cmp.Or(e.Test, p.name))
	}
	_, _ = p.log.WriteString(e.Output)
}

func (r *results) logOf(name string) string {
	return filepath.Join(r.dir, strings.ReplaceAll(name, "/", "-")+".log")
}

func (r *results) end(p *result, e event) {
	p.verdict, p.took = e.Action, time.Duration(e.Elapsed*float64(time.Second))
	if p.log != nil {
		_ = p.log.Close()
	}
	switch {
	case e.Action == "skip" || e.Action == "pass" && len(p.tests) == 0:
		p.verdict = "skip" // it has no tests
	case e.Action == "pass":
		r.say("ok     %-22s %6.1f s  %d tests", p.name, e.Elapsed, len(p.tests))
	default:
		r.say("FAIL   %-22s %6.1f s", p.name, e.Elapsed)
	}
}

// running names what has begun and not ended.
func (r *results) running() string {
	var all []string
	for _, p := range r.packages {
		if p.verdict == "" && len(p.tests) > 0 {
			all = append(all, fmt.Sprintf("%s (%.0f s)", p.name, time.Since(p.began).Seconds()))
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// sorted are the packages that have tests, by name.
func (r *results) sorted() (all []*result) {
	for _, p := range r.packages {
		if p.verdict != "skip" {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *result) int { return cmp.Compare(a.name, b.name) })
	return all
}

// with are the tests of a verdict, by name. Of a test that failed because a part of it did, only the
// part counts.
func (p *result) with(verdict string) (names []string) {
	for name, t := range p.tests {
		if t.verdict == verdict && !(verdict != "pass" && p.parts(name, verdict)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (p *result) parts(of, verdict string) bool {
	for name, t := range p.tests {
		if strings.HasPrefix(name, of+"/") && t.verdict == verdict {
			return true
		}
	}
	return false
}
