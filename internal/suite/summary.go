package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// engines are the parts of test names that say which engine a test ran on.
var engines = []struct{ part, name string }{
	{"sqlite", "SQLite"}, {"postgres", "PostgreSQL"}, {"miniredis", "the in-process Redis"}, {"real", "a redis-server"},
}

// wanted are the lines that a complete run must contain.
var wanted = map[string]string{"simulation: ": "the simulation", " scenarios in ": "the fault suite"}

// count counts tests by outcome.
type count struct{ passed, failed, skipped int }

// summarize writes what failed and where to look, what was run, and a closing line. It reports
// whether everything was run and nothing failed.
func (r *results) summarize(to io.Writer, trouble []string) bool {
	all := r.count()
	trouble = slices.Concat(r.failures(to), r.notRun(), trouble)
	if all.skipped > 0 {
		trouble = append(trouble, fmt.Sprintf("skipped: %s", strings.Join(r.skipped(), ", ")))
	}
	fmt.Fprintf(to, "\nWhat was run: %d packages, %s.\n", len(r.sorted()), r.ranOn())
	for _, line := range r.facts {
		fmt.Fprintf(to, "  %s\n", line)
	}
	for _, line := range trouble {
		fmt.Fprintf(to, "FAILED: %s\n", line)
	}
	if all.skipped == 0 {
		fmt.Fprintln(to, "Nothing was skipped.")
	}
	if len(trouble) > 0 {
		fmt.Fprintf(to, "The logs are in %s.\n", r.dir)
	}
	fmt.Fprintf(to, "%d passed, %d failed, %d skipped\n", all.passed, max(all.failed, min(len(trouble), 1)), all.skipped)
	return len(trouble) == 0
}

func (r *results) count() (c count) {
	for _, p := range r.packages {
		c.passed += len(p.with("pass"))
		c.failed += len(p.with("fail")) + len(p.with(""))
		c.skipped += len(p.with("skip"))
	}
	return c
}

// failures writes the output of each test that failed or did not end, and how to run it again. It
// returns one line for each.
func (r *results) failures(to io.Writer) (lines []string) {
	if r.built.Len() > 0 && !r.clean() {
		fmt.Fprintf(to, "\n--- build\n%s", r.built.String())
	}
	for _, p := range r.sorted() {
		names := slices.Concat(p.with("fail"), p.with(""))
		for _, name := range names {
			how := "failed"
			if p.tests[name].outcome == "" {
				how = "did not end"
			}
			lines = append(lines, fmt.Sprintf("%s %s %s", p.name, name, how))
			r.show(to, p, p.name+" "+name, p.tests[name].output)
			fmt.Fprintf(to, "    again: %s\n", again(p.name, name))
		}
		if p.outcome != "pass" && len(names) == 0 {
			lines = append(lines, p.name+" failed outside of its tests")
			r.show(to, p, p.name, p.output)
		}
	}
	return lines
}

const linesShown = 40

func (r *results) show(to io.Writer, p *result, heading string, output []string) {
	fmt.Fprintf(to, "\n--- %s\n    log: %s\n", heading, r.logOf(p.name))
	for _, line := range output[:min(len(output), linesShown)] {
		fmt.Fprintf(to, "    %.400s\n", line)
	}
	if more := len(output) - linesShown; more > 0 {
		fmt.Fprintf(to, "    … %d lines more in the log\n", more)
	}
}

// again returns the command that runs one test.
func again(pkg, name string) string {
	pattern := "'^" + strings.ReplaceAll(name, "/", "$/^") + "$'"
	if pkg == "faults" {
		return "scripts/with-servers.sh sh -c \"cd faults && go test -tags failpoints -count=1 -run " + pattern + "\""
	}
	return "scripts/with-servers.sh go test -race -count=1 -run " + pattern + " ./" + pkg
}

// ranOn returns how many tests there were, and how many of them ran on each engine.
func (r *results) ranOn() string {
	tests, on := 0, make([]int, len(engines))
	for _, p := range r.packages {
		for name := range p.tests {
			tests++
			for i, e := range engines {
				if slices.Contains(strings.Split(name, "/"), e.part) {
					on[i]++
				}
			}
		}
	}
	text := fmt.Sprintf("%d tests", tests)
	for i, e := range engines {
		text += fmt.Sprintf(", %d on %s", on[i], e.name)
	}
	return text
}

// notRun returns what a complete run lacks: a test that has no server to run against passes without
// saying so.
func (r *results) notRun() (lines []string) {
	ran := r.ranOn() + "."
	for _, e := range engines {
		if strings.Contains(ran, " 0 on "+e.name) {
			lines = append(lines, "nothing was run on "+e.name)
		}
	}
	for part, what := range wanted {
		if !slices.ContainsFunc(r.facts, func(line string) bool { return strings.Contains(line, part) }) {
			lines = append(lines, what+" was not run to its end")
		}
	}
	slices.Sort(lines)
	return lines
}

func (r *results) skipped() (names []string) {
	for _, p := range r.sorted() {
		for _, name := range p.with("skip") {
			names = append(names, p.name+" "+name)
		}
	}
	return names
}
