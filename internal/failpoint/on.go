//go:build failpoints

// Package failpoint lets the fault suite kill, stop or delay a process at a named step, and set its clock wrong. In the ordinary build there is nothing in it.
package failpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Hit marks a step. The parts, joined by dots, are its name.
// Where the folder FAILPOINTS holds a file of that name, the process that is first to take it does what it says, once: kill, stop, sleep:2s, or nothing.
// So a test arms a step while the processes run, strikes one of several, and reads from NAME.fired which one.
func Hit(parts ...string) {
	name := filepath.Join(os.Getenv("FAILPOINTS"), strings.Join(parts, "."))
	taken := fmt.Sprintf("%s.%d", name, os.Getpid())
	if os.Rename(name, taken) != nil {
		return
	}
	what, err := os.ReadFile(taken)
	if err == nil {
		err = os.WriteFile(taken, fmt.Append(nil, os.Getpid()), 0o600)
	}
	if err == nil {
		err = os.Rename(taken, name+".fired")
	}
	if err != nil {
		panic(err)
	}
	act(string(what))
}

func act(what string) {
	delay, isSleep := strings.CutPrefix(what, "sleep:")
	switch {
	case what == "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case what == "stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case isSleep:
		d, err := time.ParseDuration(delay)
		if err != nil {
			panic(err)
		}
		time.Sleep(d)
	}
}

var off = sync.OnceValue(func() time.Duration {
	text := os.Getenv("FAILPOINTS_CLOCK")
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		panic(err)
	}
	return d
})

// Now is this process's clock, which FAILPOINTS_CLOCK sets wrong by so much.
func Now() time.Time { return time.Now().Add(off()) }
