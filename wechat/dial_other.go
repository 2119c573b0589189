//go:build !linux

package wechat

import (
	"net"
	"syscall"
	"time"
)

// bound does nothing here: only Linux limits how long the kernel sends for a dead process.
func bound(time.Duration) func(_, _ string, _ syscall.RawConn) error { return nil }

// roundTrip is unknown here.
func roundTrip(*net.TCPConn) time.Duration { return 0 }
