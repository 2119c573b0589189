//go:build !unix

package socket

import "net"

// Able says whether this system can receive without waiting. If not, every Read and Peek returns
// ErrNothing.
const Able = false

// Reader receives nothing here.
type Reader struct{}

// NewReader returns a Reader for c.
func NewReader(*net.TCPConn) (*Reader, error) { return &Reader{}, nil }

// Read returns ErrNothing.
func (*Reader) Read([]byte) (int, error) { return 0, ErrNothing }

// Peek returns ErrNothing.
func (*Reader) Peek([]byte) (int, error) { return 0, ErrNothing }

// Ask writes nothing and returns ErrNothing.
func (*Reader) Ask(_, _ []byte) (wrote, n int, err error) { return 0, 0, ErrNothing }

// Receive returns ErrNothing.
func Receive(uintptr, []byte) (int, error) { return 0, ErrNothing }
