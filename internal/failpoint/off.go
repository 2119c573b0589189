//go:build !failpoints

// Package failpoint lets the fault suite kill, stop or delay a process at a named step, and set its clock wrong. In the ordinary build there is nothing in it.
package failpoint

import "time"

// Hit marks a step. The parts are its name.
func Hit(...string) {}

// Now is this process's clock.
func Now() time.Time { return time.Now() }
