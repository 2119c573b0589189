//go:build !linux

package wechatsim

import "net"

// cork does nothing here: what is written in two pieces may be sent in two segments.
func cork(*net.TCPConn, bool) {}
