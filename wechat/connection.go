package wechat

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"wxplatform/internal/socket"
)

const (
	headerLimit    = 64 << 10
	interimAnswers = 5
	// mostEarly bounds for how long after a request bytes are taken for older than it.
	mostEarly = time.Millisecond
)

// connection is one to the host, used by one call at a time.
type connection struct {
	net.Conn // the stream, or TLS on it
	stream   *stream
	in       *bufio.Reader
	room     int       // how much of an answer is still read
	dialled  bool      // for the call that uses it
	kept     bool      // it has carried a request
	since    time.Time // when it became idle

	wrote time.Time     // when the request began to be written
	heard bool          // whether a byte came after that
	early time.Duration // after wrote, within which no answer can come
	some  [16]byte      // of what a look finds
}

func newConnection(c net.Conn, s *stream) *connection {
	made := &connection{Conn: c, stream: s, dialled: true}
	made.in = bufio.NewReader(made)
	return made
}

// answer is what came back. Its body is whole.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	last    bool // of its connection
	surplus bool // another one came with it
}

var (
	errTooLarge = errors.New("answer too large")
	errClosed   = errors.New("the connection was closed before an answer")
	errSurplus  = errors.New("the connection held an answer that nobody asked for")
)

// abort closes a connection whose call was given up, with what was not sent yet. Closed in order, the kernel would go on sending it to a host that it cannot reach, for minutes,
// and the request could land when nobody expects it any more (unsettled_until, DESIGN.md §4 rule 2).
func (c *connection) abort() {
	_ = c.stream.SetLinger(0)
	_ = c.stream.Close()
}

// Read is Conn's within the room that an answer has. It fails where what arrives cannot be an answer
// to the request that was just written.
func (c *connection) Read(p []byte) (int, error) {
	if c.room <= 0 {
		return 0, errTooLarge
	}
	n, err := c.Conn.Read(p[:min(len(p), c.room)])
	c.room -= n
	if n > 0 && !c.heard {
		c.heard = true
		if c.early > 0 && time.Since(c.wrote) < c.early {
			return 0, errSurplus
		}
	}
	return n, err
}

// carried notes that a request was answered on c, which is kept for another one.
func (c *connection) carried() {
	if !c.kept {
		// No answer comes sooner than after a round trip. An eighth of the shortest one leaves room for
		// a network that became faster, and is enough: between the look and the write pass microseconds.
		c.early = min(roundTrip(c.stream.TCPConn)/8, mostEarly)
	}
	c.dialled, c.kept = false, true
}

// finding is what a look at a connection found.
type finding int

const (
	silent  finding = iota // it stands, and nothing has arrived
	ended                  // the host closed it, or it was idle for too long
	written                // the host wrote to it although nothing was asked
)

// look finds what has arrived on an idle connection, without waiting.
func (c *connection) look() finding {
	if time.Since(c.since) > idlePatience {
		return ended
	}
	return c.find(arrives)
}

// behind finds what was received together with an answer.
func (c *connection) behind() finding {
	if n := c.in.Buffered(); n > 0 {
		text, _ := c.in.Peek(min(n, len(c.some)))
		return judge(text)
	}
	if c.stream.records == nil {
		return silent
	}
	return c.find(received)
}

func (c *connection) find(how reading) finding {
	c.stream.read = how
	n, err := c.Conn.Read(c.some[:])
	c.stream.read = waits
	switch {
	case n > 0:
		return judge(c.some[:n])
	case !errors.Is(err, socket.ErrNothing):
		return ended
	case !c.stream.records.inside():
		return silent
	case how == received || c.kept:
		return written
	default:
		return ended // most likely it is a part of a TLS session ticket
	}
}

// judge says what bytes are that nobody asked for. Some hosts end a connection with a 408, and some
// end a body with an empty line: neither is an answer that could be taken for another.
func judge(text []byte) finding {
	if len(bytes.Trim(text, "\r\n")) == 0 || bytes.HasPrefix(text, []byte("HTTP/1.1 408")) || bytes.HasPrefix(text, []byte("HTTP/1.0 408")) {
		return ended
	}
	return written
}

// useless reports whether err is c's: it ended before a byte of an answer, or it held surplus bytes.
func (c *connection) useless(err error) bool {
	var waited net.Error
	return errors.Is(err, errSurplus) || !c.heard && !(errors.As(err, &waited) && waited.Timeout())
}

// converse writes the request and reads the answer. Where it fails, left says whether a byte of the request may have left.
func (c *connection) converse(ctx context.Context, request []byte) (a answer, left bool, err error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer func() { a.last = !stop() || a.last }()
	c.heard, c.wrote = false, time.Now()
	sent, err := c.Write(request)
	if err != nil {
		return answer{}, sent > 0 || isTLS(c.Conn), because(ctx, err)
	}
	if a, err = c.answer(); err != nil {
		return answer{}, true, because(ctx, err)
	}
	return a, true, nil
}

// Of a TLS connection nobody knows what a failed Write has sent.
func isTLS(c net.Conn) bool {
	_, is := c.(*stream)
	return !is
}

// because is why ctx ended, where that is why a connection failed.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// answer reads the answer, after those that only say that one will come. A connection that was kept
// may owe two answers, and then nobody knows whose the first one is.
func (c *connection) answer() (answer, error) {
	response, err := c.header()
	if err != nil {
		return answer{}, err
	}
	c.room += answerLimit
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, fmt.Errorf("answer cut: %w", err)
	}
	behind := c.behind()
	if behind == written && c.kept {
		return answer{}, errSurplus
	}
	return answer{
		status: response.StatusCode, header: response.Header, body: body, surplus: behind == written,
		last: response.Close || response.StatusCode == http.StatusSwitchingProtocols || behind != silent,
	}, nil
}

func (c *connection) header() (*http.Response, error) {
	c.room = headerLimit
	for range interimAnswers {
		response, err := http.ReadResponse(c.in, nil)
		if err != nil {
			return nil, noAnswer(err)
		}
		if response.StatusCode/100 != 1 || response.StatusCode == http.StatusSwitchingProtocols {
			return response, nil
		}
	}
	return nil, errors.New("no end of interim answers")
}

// net/http's parser quotes what it cannot read, and that may be anything.
func noAnswer(err error) error {
	var failed net.Error
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errClosed
	case errors.Is(err, errTooLarge), errors.Is(err, errSurplus), errors.As(err, &failed):
		return err
	default:
		return errors.New("the answer is not HTTP")
	}
}
