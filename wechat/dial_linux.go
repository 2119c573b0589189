package wechat

import (
	"errors"
	"math"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bound tells the kernel to drop a connection on which the host has acknowledged nothing for as
// long as patience, which is what a call may take. Without it, what a process wrote before it died
// would be sent to an unreachable host for minutes, and WeChat could act on the request when nobody
// expects it any more (docs/design.md, "One refresher"). A process that lives aborts such
// connections itself.
func bound(patience time.Duration) func(_, _ string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		failed := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(patience.Milliseconds()))
		})
		return errors.Join(failed, err)
	}
}

// roundTrip returns the shortest round trip that the kernel has measured on c, or 0.
func roundTrip(c *net.TCPConn) time.Duration {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	var info *unix.TCPInfo
	failed := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if failed != nil || err != nil || info.Min_rtt == math.MaxUint32 {
		return 0
	}
	return time.Duration(info.Min_rtt) * time.Microsecond
}
