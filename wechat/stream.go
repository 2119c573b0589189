package wechat

import (
	"net"

	"wxplatform/internal/socket"
)

// stream is the TCP connection below HTTP or TLS. It can be told that nobody waits for what it reads,
// so that a tls.Conn on top of it can be asked what has arrived: crypto/tls takes socket.ErrNothing
// for temporary, and keeps what it has of a record.
type stream struct {
	*net.TCPConn
	arrived *socket.Reader
	read    reading
	records *records // nil where there is no TLS
}

type reading int

const (
	waits    reading = iota // until something arrives
	arrives                 // what has arrived
	received                // nothing: only what is above has already read
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

// Read reads as s.read says.
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

// records follows where TLS records begin and end. A tls.Conn does not tell whether it holds a part
// of one.
type records struct {
	header int // how many of its five bytes were seen
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

// inside reports whether a record has begun that has not ended.
func (r *records) inside() bool { return r != nil && r.header > 0 }

// A record's header is its type, two bytes of version and two of length.
const recordHeader = 5
