//go:build unix

package plainhttp

import (
	"net"
	"syscall"
)

// canLook says that a connection can be asked whether its caller hung up without reading from it.
const canLook = true

// hungUp reports whether the caller has closed the connection, or his side of it, which net/http takes for the same. What he may have sent stays there to be read.
func hungUp(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		var one [1]byte
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		again := err == syscall.EAGAIN || err == syscall.EINTR
		gone = n <= 0 && !again
	})
	return gone || err != nil
}
