package wechat

import (
	"errors"
	"math"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bound has the kernel drop a connection on which the host has acknowledged nothing for as long as a call may take. Otherwise it would go on sending what a process wrote before it died to a host that it cannot reach, for minutes,
// and the request could land when nobody expects it any more (unsettled_until, DESIGN.md §4 rule 2). What a process gives up that lives, it aborts itself.
func bound(_, _ string, c syscall.RawConn) error {
	var err error
	failed := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(CallPatience.Milliseconds()))
	})
	return errors.Join(failed, err)
}

// roundTrip is the shortest that the kernel has seen on c, or 0 where it has seen none.
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
