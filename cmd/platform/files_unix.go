//go:build unix

package main

import (
	"math"
	"syscall"
)

// openFiles returns how many files the process may have open. Go raises the soft limit to the hard
// one when a program starts.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxUint64
	}
	return uint64(limit.Cur)
}

// freeSpace returns how many bytes the file system of a directory has left for this process.
func freeSpace(directory string) (bytes uint64, known bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(directory, &s); err != nil {
		return 0, false
	}
	return uint64(s.Bavail) * uint64(s.Bsize), true
}
