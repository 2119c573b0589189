package wechat

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"time"

	"wxplatform/internal/socket"
)

// stream is the TCP connection below HTTP or TLS. It can be told not to wait, so that a tls.Conn on
// top of it can be asked what has arrived: crypto/tls treats socket.ErrNothing as temporary, and
// keeps the part of a record that it has read.
type stream struct {
	*net.TCPConn
	arrived  *socket.Reader
	read     reading
	records  *records  // nil without TLS
	sent     int       // bytes that the system took for the call
	limit    patience  // of the call in flight, if there is one
	deadline time.Time // that was set last
}

// lookTime is how often a call that waits looks whether its context has ended.
const lookTime = 100 * time.Millisecond

// patience limits a call. It ends at a time, or when ctx does. The zero value has no limit.
//
// A call is limited by the deadline of its connection, which is never more than lookTime away. A
// timer, and a goroutine that ctx starts when it ends, would cost a dozen allocations per call.
type patience struct {
	ctx   context.Context
	until time.Time
}

func (p patience) over(now time.Time) bool { return p.ctx.Err() != nil || !now.Before(p.until) }

// next returns when a call that waits must look again.
func (p patience) next(now time.Time) time.Time {
	next := now.Add(lookTime)
	if end, ends := p.ctx.Deadline(); ends && end.After(now) && end.Before(next) {
		next = end.Add(time.Millisecond) // by then ctx knows
	}
	if p.until.Before(next) {
		return p.until
	}
	return next
}

// because returns why the call is over, since that is why its connection failed, or err if it is
// not over. That surplus bytes were found must be reported in any case.
func (p patience) because(err error) error {
	if errors.Is(err, errUnasked) || errors.Is(err, errSurplus) {
		return err
	}
	if p.ctx.Err() == nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return because(p.ctx, err)
}

type reading int

const (
	waits    reading = iota // for something to arrive
	arrives                 // returns what has arrived
	received                // returns nothing, so that the layer above returns only what it has buffered
)

func newStream(c *net.TCPConn, secure bool) (*stream, error) {
	arrived, err := socket.NewReader(c)
	if err != nil {
		return nil, err
	}
	s := &stream{TCPConn: c, arrived: arrived}
	if secure {
		s.records = &records{}
	}
	return s, nil
}

// Read reads in the way that s.read says.
func (s *stream) Read(p []byte) (n int, err error) {
	switch s.read {
	case received:
		return 0, socket.ErrNothing
	case arrives:
		n, err = s.arrived.Read(p)
	default:
		n, err = s.TCPConn.Read(p)
		for err != nil && s.goesOn(err) {
			n, err = s.TCPConn.Read(p)
		}
	}
	if s.records != nil {
		s.records.saw(p[:n])
	}
	return n, err
}

// Write writes p, for as long as the limit allows. A layer above must not see that a write was
// interrupted: a tls.Conn cannot go on after that.
func (s *stream) Write(p []byte) (int, error) {
	n, err := s.TCPConn.Write(p)
	for err != nil && s.goesOn(err) {
		var more int
		more, err = s.TCPConn.Write(p[n:])
		n += more
	}
	s.sent += n
	return n, err
}

// ask is socket.Reader.Ask, for as long as the limit allows. After it, what arrives may still be
// waited for.
func (s *stream) ask(request, p []byte) (sent, n int, err error) {
	sent, n, err = s.arrived.Ask(request, p)
	for errors.Is(err, os.ErrDeadlineExceeded) && s.goesOn(err) {
		sent, n, err = s.arrived.Ask(request, p)
	}
	s.sent += sent
	return sent, n, err
}

// begin limits reading and writing until end. It returns false if the time is over already.
func (s *stream) begin(limit patience) bool {
	s.limit, s.sent = limit, 0
	return s.look()
}

// end removes the limit. The deadline stays, because nothing waits for an idle connection, and the
// next call may begin soon. With TLS it is removed: an inspection may have to write, and a write
// that fails once fails for good.
func (s *stream) end() {
	s.limit = patience{}
	if s.records != nil {
		s.deadline = time.Time{}
		_ = s.SetDeadline(s.deadline)
	}
}

// look sets the next deadline, unless the call's time is over. Setting one costs as much as parsing
// an answer's header, so one that is a little early is kept.
func (s *stream) look() bool {
	now := time.Now()
	if s.limit.over(now) {
		return false
	}
	next := s.limit.next(now)
	if s.deadline.After(now) && !s.deadline.After(next) && next.Sub(s.deadline) < lookTime/2 {
		return true
	}
	s.deadline = next
	return s.SetDeadline(next) == nil
}

// goesOn reports whether err only says that it is time to look, and the call may go on.
func (s *stream) goesOn(err error) bool {
	return s.limit.ctx != nil && errors.Is(err, os.ErrDeadlineExceeded) && s.look()
}

// records follows where TLS records begin and end, because a tls.Conn does not say whether it holds
// a part of one.
type records struct {
	header [recordHeader]byte // of the record that has begun
	read   int                // how many bytes of header were read
	left   int                // of the record's content
}

const (
	// recordHeader is the length of a record's header: its type, two bytes of version, two of length.
	recordHeader = 5
	alertType    = 21 // TLS 1.3 encrypts it
	alertLength  = 19 // in TLS 1.3: two bytes, the type, and 16 of a tag
)

func (r *records) saw(p []byte) {
	for len(p) > 0 {
		if r.read < recordHeader {
			r.header[r.read], p = p[0], p[1:]
			r.read++
			r.left = r.length()
		} else {
			n := min(r.left, len(p))
			r.left -= n
			p = p[n:]
		}
		if r.read == recordHeader && r.left == 0 {
			*r = records{}
		}
	}
}

func (r *records) length() int { return int(binary.BigEndian.Uint16(r.header[recordHeader-2:])) }

// inside reports whether a record has begun and not ended.
func (r *records) inside() bool { return r != nil && r.read > 0 }

// onlyAlert reports whether the record that has begun is an alert, such as close_notify, or too
// short for anything else that matters.
func (r *records) onlyAlert() bool {
	return r.read == recordHeader && (r.header[0] == alertType || r.length() <= alertLength)
}
