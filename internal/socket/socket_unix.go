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
	r.receive = func(fd uintptr) { r.n, r.err = receive(fd, r.p, r.flags) }
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
	if err != nil {
		return 0, err
	}
	return r.n, r.err
}

// Receive is like Reader.Read for a file descriptor that a syscall.RawConn provides.
func Receive(fd uintptr, p []byte) (int, error) { return receive(fd, p, syscall.MSG_DONTWAIT) }

func receive(fd uintptr, p []byte, flags int) (int, error) {
	for {
		switch n, _, err := syscall.Recvfrom(int(fd), p, flags); {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, ErrNothing
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}
