//go:build !linux

package wechatsim

import "net"

// cork does nothing: what is written in two pieces may travel in two segments.
func cork(*net.TCPConn, bool) {}
