package wechatsim

import (
	"net"
	"syscall"
)

// cork holds back what is written, and sends it in one segment when it is switched off.
func cork(c *net.TCPConn, on bool) {
	value := 0
	if on {
		value = 1
	}
	if c == nil {
		return
	}
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CORK, value) })
	}
}
