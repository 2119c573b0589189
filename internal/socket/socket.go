// Package socket receives what has already arrived on a TCP connection, without waiting for more.
package socket

import "net"

// ErrNothing says that nothing has arrived on an open connection. It is a net.Error that is
// temporary, so crypto/tls continues where it was when a later read succeeds.
var ErrNothing net.Error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "nothing has arrived" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }
