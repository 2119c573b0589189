//go:build !linux

package wechat

import (
	"net"
	"syscall"
	"time"
)

// bound does nothing here: only Linux's kernel can be told for how long it may go on sending what a dead process wrote.
func bound(_, _ string, _ syscall.RawConn) error { return nil }

// roundTrip is not known here.
func roundTrip(*net.TCPConn) time.Duration { return 0 }
