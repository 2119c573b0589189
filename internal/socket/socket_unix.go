//go:build unix

package socket

import (
	"io"
	"net"
	"syscall"
	"time"
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
	asking  asking
}

// asking is an Ask in progress.
type asking struct {
	question []byte
	wrote    int
	begun    bool
	turn     func(fd uintptr) bool // made once, as receive
	heldUp   time.Duration         // heldUp, replaced in tests only
}

// NewReader returns a Reader for c.
func NewReader(c *net.TCPConn) (*Reader, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &Reader{raw: raw}
	r.receive = func(fd uintptr) { r.n, r.err = receive(fd, r.p, r.flags) }
	r.asking.turn, r.asking.heldUp = r.ask, heldUp
	return r, nil
}

// Ask writes a question and waits until something arrives. It receives nothing of that. A Read
// instead, right after a Write, would find nothing, and that would be a system call in vain.
//
// If something has arrived before the question was written, Ask receives it into p and writes
// nothing: then n is above 0, or err is io.EOF or why the connection failed. Otherwise it writes
// what the system takes at once, and only if that is the whole question it waits, at most until the
// read deadline; after that err is nil, too. It does not wait either if the write was held up, so
// that the caller soon sees what arrived meanwhile. It fails with os.ErrDeadlineExceeded, and has
// done nothing, if the deadline was over before.
func (r *Reader) Ask(question, p []byte) (wrote, n int, err error) {
	r.p, r.n, r.err = p, 0, nil
	r.asking.question, r.asking.wrote, r.asking.begun = question, 0, false
	waited := r.raw.Read(r.asking.turn)
	r.p, r.asking.question = nil, nil
	if !r.asking.begun {
		return 0, 0, waited
	}
	return r.asking.wrote, r.n, r.err
}

// ask is called before the wait, and again when something has arrived. The runtime notes what
// arrives from before the first call on, so nothing that arrives after the look is missed.
func (r *Reader) ask(fd uintptr) (done bool) {
	if r.asking.begun {
		return true
	}
	r.asking.begun = true
	if r.n, r.err = receive(fd, r.p, syscall.MSG_DONTWAIT); r.err != ErrNothing {
		return true
	}
	looked := time.Now()
	r.asking.wrote, r.err = send(fd, r.asking.question)
	return r.asking.wrote < len(r.asking.question) || time.Since(looked) > r.asking.heldUp
}

// heldUp is more than a write of a request takes, unless the thread is interrupted.
const heldUp = 100 * time.Microsecond

// send writes what the system takes at once.
func send(fd uintptr, p []byte) (int, error) {
	for {
		switch n, err := syscall.Write(int(fd), p); err {
		case nil:
			return n, nil
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return 0, nil
		default:
			return 0, err
		}
	}
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
