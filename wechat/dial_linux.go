package wechat

import (
	"errors"
	"syscall"

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
