package plainhttp

import (
	"errors"
	"net"

	"wxplatform/internal/socket"
)

// hungUp reports whether the caller has closed the connection, or their side of it, which net/http
// takes for the same. What they may have sent stays there to be read.
func hungUp(c *net.TCPConn) bool {
	r, err := socket.NewReader(c)
	if err != nil {
		return true
	}
	var one [1]byte
	_, err = r.Peek(one[:])
	return err != nil && !errors.Is(err, socket.ErrNothing)
}
