package wechat

import (
	"net"

	"wxplatform/internal/socket"
)

// stream is the TCP connection below HTTP or TLS. It can be told not to wait, so that a tls.Conn on
// top of it can be asked what has arrived: crypto/tls treats socket.ErrNothing as temporary, and
// keeps the part of a record that it has read.
type stream struct {
	*net.TCPConn
	arrived *socket.Reader
	read    reading
	records *records // nil without TLS
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
	}
	if s.records != nil {
		s.records.saw(p[:n])
	}
	return n, err
}

// records follows where TLS records begin and end, because a tls.Conn does not say whether it holds
// a part of one.
type records struct {
	header int // how many of its five bytes were read
	left   int // of the record's content
}

func (r *records) saw(p []byte) {
	for len(p) > 0 {
		if r.header == recordHeader {
			n := min(r.left, len(p))
			r.left -= n
			p = p[n:]
		} else {
			r.header++
			if r.header > recordHeader-2 {
				r.left = r.left<<8 | int(p[0])
			}
			p = p[1:]
		}
		if r.header == recordHeader && r.left == 0 {
			*r = records{}
		}
	}
}

// inside reports whether a record has begun and not ended.
func (r *records) inside() bool { return r != nil && r.header > 0 }

// recordHeader is the length of a record's header: its type, two bytes of version, two of length.
const recordHeader = 5
