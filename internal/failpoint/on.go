//go:build failpoints

// Package failpoint lets the fault suite kill, stop or delay a process at a named step, and set its
// clock. In an ordinary build it does nothing.
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

// Hit marks a step; its name is the parts joined by dots. If the folder FAILPOINTS has a file of
// that name, the first process to take it does once what the file says: kill, stop, sleep:2s, or
// nothing. So a test can arm a step while processes run, strike one of several, and read from
// NAME.fired which one it was.
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

// Now returns this process's clock, shifted by FAILPOINTS_CLOCK.
func Now() time.Time { return time.Now().Add(off()) }
