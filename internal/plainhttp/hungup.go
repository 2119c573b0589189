package plainhttp

import (
	"errors"
	"net"

	"wxplatform/internal/socket"
)

// hungUp reports whether the caller closed the connection or, which net/http treats alike, its side
// of it. It reads nothing.
func hungUp(c *net.TCPConn) bool {
	r, err := socket.NewReader(c)
	if err != nil {
		return true
	}
	var one [1]byte
	_, err = r.Peek(one[:])
	return err != nil && !errors.Is(err, socket.ErrNothing)
}
