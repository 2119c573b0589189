//go:build unix

package socket

import (
	"io"
	"net"
	"syscall"
)

// Able says whether this system can receive without waiting. If not, every Read and Peek returns
// ErrNothing.
const Able = true

// Reader receives from one connection. It must not be used by two goroutines at once.
type Reader struct {
	raw     syscall.RawConn
	p       []byte
	flags   int
	n       int
	err     error
	receive func(fd uintptr) // made once, so that a read does not allocate
}

// NewReader returns a Reader for c.
func NewReader(c *net.TCPConn) (*Reader, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &Reader{raw: raw}
	r.receive = func(fd uintptr) {
		for {
			r.n, _, r.err = syscall.Recvfrom(int(fd), r.p, r.flags)
			if r.err != syscall.EINTR {
				return
			}
		}
	}
	return r, nil
}

// Read returns what has arrived, ErrNothing if nothing has, or io.EOF if the other side has closed
// the connection or its half of it.
func (r *Reader) Read(p []byte) (int, error) { return r.read(p, syscall.MSG_DONTWAIT) }

// Peek is like Read, but does not consume the bytes.
func (r *Reader) Peek(p []byte) (int, error) {
	return r.read(p, syscall.MSG_DONTWAIT|syscall.MSG_PEEK)
}

func (r *Reader) read(p []byte, flags int) (int, error) {
	r.p, r.flags = p, flags
	err := r.raw.Control(r.receive)
	r.p = nil
	switch {
	case err != nil:
		return 0, err
	case r.err == syscall.EAGAIN:
		return 0, ErrNothing
	case r.err != nil:
		return 0, r.err
	case r.n == 0:
		return 0, io.EOF
	}
	return r.n, nil
}
