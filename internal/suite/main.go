// Command suite runs the tests of the repository and says what came of them. It is what make test and
// make flaky call; logs of what failed stay in the folder out.
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

// run reports whether all went well.
func run(ctx context.Context, args []string) (ok bool, err error) {
	if len(args) != 1 {
		return false, errors.New(usage)
	}
	switch args[0] {
	case "test":
		return testAll(ctx)
	case "flaky":
		return hunt(ctx)
	}
	return false, errors.New(usage)
}

// raceFlags build with the race detector, but for SQLite's own library: that is C which was translated
// to Go, races in it are not ours to find, and instrumented it takes longer to compile and to run than
// all the rest. It must be that package alone: one that has generic code in common with others would
// take the detector's eyes from those too.
var raceFlags = []string{"-race", "-gcflags=modernc.org/sqlite/lib=-race=false -d=checkptr=0", "-vet=off"}

// environ is that of the go commands. A program with the race detector sleeps for a second before it
// exits, unless it is told not to.
func environ() []string {
	all := os.Environ()
	if os.Getenv("GORACE") == "" {
		all = append(all, "GORACE=atexit_sleep_ms=20")
	}
	return all
}
