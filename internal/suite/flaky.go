package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	busyLoops = 4
	atOnce    = 2    // packages, besides the busy loops
	patience  = "1h" // for one run of a package. Beside others, cmd/platform takes more than 15 minutes
	rounds    = 20
	histories = "^(TestSimulation|TestASeedReplaysTheSameHistory|TestMutants)$" // these have their own command and no randomness: a seed decides everything
)

// binary is the compiled tests of a package.
type binary struct{ name, dir, file string }

// flakes records the runs in which each test failed.
type flakes struct {
	mu   sync.Mutex
	runs map[string][]int
	ran  int
	bad  int // runs in which something failed
}

// findFlaky runs every package's tests again and again next to busy loops, and reports which test
// failed in which run. ROUNDS is how often, ONLY a regular expression for packages.
func findFlaky(ctx context.Context) (ok bool, err error) {
	const dir = "out/flaky"
	if err := emptied(dir); err != nil {
		return false, err
	}
	n, err := number("ROUNDS", rounds)
	if err != nil {
		return false, err
	}
	r := newResults(dir, os.Stdout)
	all, err := r.compile(ctx, os.Getenv("ONLY"))
	if err != nil {
		return false, err
	}
	r.say("running %d packages %d times next to %d busy loops", len(all), n, busyLoops)
	stop := loop(busyLoops)
	defer stop()
	f := &flakes{runs: map[string][]int{}}
	r.rounds(ctx, n, all, f)
	stop()
	f.tell(r)
	return f.bad == 0, ctx.Err()
}

func number(name string, otherwise int) (int, error) {
	text := os.Getenv(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%s is not a number above 0", name)
	}
	return n, nil
}

// loop keeps n threads busy until stop is called. They end with this process, however it ends.
func loop(n int) (stop func()) {
	runtime.GOMAXPROCS(runtime.NumCPU() + n)
	ctx, cancel := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	for range n {
		loops.Go(func() {
			for ctx.Err() == nil {
			}
		})
	}
	return func() { cancel(); loops.Wait() }
}

// compile builds the test binaries of the packages that have tests.
func (r *results) compile(ctx context.Context, only string) (all []binary, err error) {
	which, err := regexp.Compile(only)
	if err != nil {
		return nil, fmt.Errorf("ONLY: %w", err)
	}
	list := exec.CommandContext(ctx, "go", append([]string{"list", "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}"}, append(longest, "./...")...)...)
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	r.say("compiling with the race detector")
	for line := range strings.Lines(string(out)) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
		name := strings.TrimPrefix(path, module)
		if path == "" || !which.MatchString(name) {
			continue
		}
		file, err := filepath.Abs(filepath.Join(r.dir, strings.ReplaceAll(name, "/", "-")+".test"))
		if err != nil {
			return nil, err
		}
		build := exec.CommandContext(ctx, "go", append(append([]string{"test", "-c", "-o", file}, raceFlags...), path)...)
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("compile the tests of %s: %w\n%s", name, err, out)
		}
		all = append(all, binary{name, dir, file})
	}
	return all, nil
}

func (r *results) rounds(ctx context.Context, n int, all []binary, f *flakes) {
	var running errgroup.Group
	running.SetLimit(atOnce)
	for round := 1; round <= n && ctx.Err() == nil; round++ {
		f.mu.Lock()
		r.say("round %d of %d; %d runs have ended, %d of them with failures", round, n, f.ran, f.bad)
		f.mu.Unlock()
		for _, b := range all {
			running.Go(func() error { r.once(ctx, b, round, f); return nil })
		}
	}
	_ = running.Wait()
}

// once runs the tests of one package. If something failed, the log is kept.
func (r *results) once(ctx context.Context, b binary, round int, f *flakes) {
	began := time.Now()
	cmd := exec.CommandContext(ctx, b.file, "-test.v", "-test.timeout="+patience, "-test.skip="+histories)
	cmd.Dir, cmd.Env, cmd.WaitDelay = b.dir, environ(), 10*time.Second
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.CombinedOutput()
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	f.ran++
	if err == nil {
		return
	}
	f.bad++
	log := filepath.Join(r.dir, fmt.Sprintf("%s.%02d.log", strings.ReplaceAll(b.name, "/", "-"), round))
	if wrote := os.WriteFile(log, out, 0o644); wrote != nil {
		err = errors.Join(err, wrote)
	}
	for _, name := range failed(out) {
		f.runs[b.name+" "+name] = append(f.runs[b.name+" "+name], round)
		r.say("FAIL   %s %s, run %d, after %.0f s; see %s (%v)", b.name, name, round, time.Since(began).Seconds(), log, err)
	}
}

var (
	lost     = regexp.MustCompile(`(?m)^\s*--- (?:FAIL|SKIP): (\S+)`)
	unended  = regexp.MustCompile(`(?m)^\s+(Test\S+|Fuzz\S+) \(\S+\)$`) // how go test lists what was running at a time-out
	panicked = regexp.MustCompile(`(?m)^(panic: .*|fatal error: .*|.*found unexpected goroutines.*)$`)
)

// failed returns the tests that failed, subtests before their parents, or else what is known.
func failed(out []byte) (names []string) {
	for _, found := range append(lost.FindAllSubmatch(out, -1), unended.FindAllSubmatch(out, -1)...) {
		names = append(names, string(found[1]))
	}
	slices.Sort(names)
	names = slices.Compact(names)
	leaves := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.ContainsFunc(names, func(other string) bool { return strings.HasPrefix(other, name+"/") })
	})
	if len(leaves) > 0 {
		return leaves
	}
	if why := panicked.Find(out); why != nil {
		return []string{string(why)}
	}
	if bytes.Contains(out, []byte("DATA RACE")) {
		return []string{"a data race"}
	}
	return []string{"the package"}
}

// tell prints which test failed in which runs.
func (f *flakes) tell(r *results) {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := []string{}
	for name := range f.runs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(r.tell, "FLAKY: %s failed in %d runs: %v\n", name, len(f.runs[name]), f.runs[name])
	}
	if len(names) > 0 {
		fmt.Fprintf(r.tell, "The logs are in %s.\n", r.dir)
	}
	fmt.Fprintf(r.tell, "%d passed, %d failed\n", f.ran-f.bad, f.bad)
}
