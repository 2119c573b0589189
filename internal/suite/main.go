// Command suite runs the repository's tests and prints a summary. make test and make flaky call it.
// The logs of failed packages stay in the folder out.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = "usage: suite test | flaky"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "suite:", err)
	}
	if err != nil || !ok {
		stop()
		os.Exit(1)
	}
}

// run reports whether everything passed.
func run(ctx context.Context, args []string) (ok bool, err error) {
	if len(args) != 1 {
		return false, errors.New(usage)
	}
	switch args[0] {
	case "test":
		return testAll(ctx)
	case "flaky":
		return findFlaky(ctx)
	}
	return false, errors.New(usage)
}

// raceFlags build with the race detector, except for SQLite's own library and the C library below
// it. Both are C translated to Go, whose races are not ours to find, and with the detector they
// take longer to compile and to run than everything else. No package may be excluded that makes
// instances of generic code with types of ours: the linker keeps one instance, perhaps the one
// without the detector.
var raceFlags = []string{
	"-race", "-vet=off",
	"-gcflags=modernc.org/sqlite/lib=-race=false -d=checkptr=0",
	"-gcflags=modernc.org/libc=-race=false -d=checkptr=0",
	"-gcflags=modernc.org/memory=-race=false -d=checkptr=0",
}

// parallel is how many tests of a package run at once. Most tests of cmd/platform wait, so more of
// them than processors shorten its run by a quarter; and more at once find more races.
const parallel = "6"

// environ returns the environment of the go commands, with settings that the caller may replace. A
// program with the race detector sleeps for a second before it exits, unless it is told not to. The
// tests of cmd/platform run serve, which would set GOGC to 35 for all tests of the process: they
// take an eighth less CPU time with 150.
func environ() []string {
	all := os.Environ()
	for name, value := range map[string]string{"GORACE": "atexit_sleep_ms=20", "GOGC": "150"} {
		if os.Getenv(name) == "" {
			all = append(all, name+"="+value)
		}
	}
	return all
}
