//go:build !failpoints

// Package failpoint lets the fault suite kill, stop or delay a process at a named step, and set its
// clock. In an ordinary build it does nothing.
package failpoint

import "time"

// Hit marks a step; its name is the parts joined by dots. It does nothing in this build.
func Hit(...string) {}

// Now returns this process's clock.
func Now() time.Time { return time.Now() }
