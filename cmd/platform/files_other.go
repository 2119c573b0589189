//go:build !unix

package main

import "math"

// openFiles returns that there is no limit.
func openFiles() uint64 { return math.MaxUint64 }

// freeSpace returns that nothing is known.
func freeSpace(string) (bytes uint64, known bool) { return 0, false }
