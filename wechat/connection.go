package wechat

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"wxplatform/internal/socket"
)

const (
	headerLimit    = 64 << 10
	interimAnswers = 5
	// mostEarly limits the time after a request within which bytes are taken to be older than it.
	mostEarly = time.Millisecond
)

// connection is a connection to the host. One call at a time uses it.
type connection struct {
	net.Conn // the stream, or TLS on top of it
	stream   *stream
	in       *bufio.Reader
	length   int       // of the answer, as far as it was read
	room     int       // bytes of the answer that may still be read
	dialled  bool      // for the call that uses it
	kept     bool      // it has carried a request before
	since    time.Time // when it became idle

	began time.Time     // when the request began to be written
	heard bool          // a byte arrived after that
	early time.Duration // the time after began within which no answer can arrive
	some  [16]byte      // the first bytes that an inspection finds
}

func newConnection(c net.Conn, s *stream) *connection {
	s.sent = 0 // bytes of a handshake are no call's
	made := &connection{Conn: c, stream: s, dialled: true}
	made.in = bufio.NewReader(made)
	return made
}

// answer is a response with its whole body.
type answer struct {
	status  int
	header  []Field
	body    []byte
	last    bool // the connection cannot be used again
	surplus bool // another answer came with it
}

var (
	errTooLarge = errors.New("answer too large")
	errClosed   = errors.New("the connection was closed before an answer")
	errSurplus  = errors.New("the connection held a surplus answer")
	errUnasked  = errors.New("the connection held bytes before the request was written")
	errEnded    = errors.New("the connection had ended before the request was written")
)

// abort closes a connection whose call was given up, and discards what was not sent yet. After an
// orderly close the kernel would keep sending it to an unreachable host for minutes, and WeChat
// could act on the request when nobody expects it any more (docs/design.md, "One refresher").
func (c *connection) abort() {
	_ = c.stream.SetLinger(0)
	_ = c.stream.Close()
}

// Read reads at most what an answer may still have. If the first bytes arrive too early to be an
// answer to the request that was just written, it fails with errSurplus, or with io.EOF if they
// only say that the connection ends.
func (c *connection) Read(p []byte) (int, error) {
	if c.room <= 0 {
		return 0, errTooLarge
	}
	n, err := c.Conn.Read(p[:min(len(p), c.room)])
	c.room -= n
	c.length += n
	switch {
	case n == 0 || c.heard:
	case c.early == 0 || time.Since(c.began) >= c.early:
		c.heard = true
	case judge(p[:n]) == ended:
		return 0, io.EOF
	default:
		return 0, errSurplus
	}
	return n, err
}

// carried notes that c has carried a request and is kept for another one.
func (c *connection) carried() {
	if !c.kept {
		// No answer arrives sooner than one round trip. An eighth of the shortest round trip leaves
		// room for a network that became faster, and suffices: inspection and write are
		// microseconds apart.
		c.early = min(roundTrip(c.stream.TCPConn)/8, mostEarly)
	}
	c.dialled, c.kept = false, true
}

// finding is the result of inspecting a connection.
type finding int

const (
	silent  finding = iota // it is open, and nothing has arrived
	ended                  // the host closed it, or it was idle for too long
	written                // the host wrote to it although nothing was asked
)

// inspect inspects an idle connection without waiting.
func (c *connection) inspect() finding {
	if time.Since(c.since) > idlePatience {
		return ended
	}
	return c.find(arrives)
}

// preselect is inspect for a connection on which the next request is written at once: it leaves to
// ask what ask looks at itself.
func (c *connection) preselect() finding {
	if c.looksItself() && time.Since(c.since) <= idlePatience {
		return silent
	}
	return c.inspect()
}

// trailing inspects what was received together with an answer.
func (c *connection) trailing() finding {
	switch n := c.in.Buffered(); {
	case n > 0:
		text, _ := c.in.Peek(min(n, len(c.some)))
		return judge(text)
	case c.length >= c.in.Size(): // in was full, or passed over, so the rest may still be in the socket
		return c.find(arrives)
	case c.stream.records == nil:
		return silent
	}
	return c.find(received)
}

// find reports what is there to read without waiting. A part of a TLS record counts as written,
// unless it is likely to be harmless.
func (c *connection) find(how reading) finding {
	n, err := c.arrived(how)
	if errors.Is(err, socket.ErrNothing) && how == received && c.stream.records.inside() {
		n, err = c.arrived(arrives) // crypto/tls may have received a part of what has arrived
	}
	partly := c.stream.records.inside()
	switch {
	case n > 0:
		return judge(c.some[:n])
	case partly && c.stream.records.onlyAlert():
		return ended
	case partly && how == received:
		return written
	case !errors.Is(err, socket.ErrNothing):
		return ended
	case !partly:
		return silent
	case c.kept:
		return written
	default:
		return ended // most likely a part of a TLS session ticket
	}
}

// arrived reads into c.some what is there, without waiting.
func (c *connection) arrived(how reading) (int, error) {
	c.stream.read = how
	defer func() { c.stream.read = waits }()
	return c.Conn.Read(c.some[:])
}

// judge classifies bytes that no request asked for. Some hosts send a 408 before they close, and
// some send an empty line after a body: neither could be taken for an answer.
func judge(text []byte) finding {
	if len(bytes.Trim(text, "\r\n")) == 0 || bytes.HasPrefix(text, []byte("HTTP/1.1 408")) || bytes.HasPrefix(text, []byte("HTTP/1.0 408")) {
		return ended
	}
	return written
}

// useless reports whether a call failed because of c alone: c ended before a byte of an answer, or
// it held surplus bytes.
func (c *connection) useless(err error) bool {
	var waited net.Error
	return errors.Is(err, errSurplus) || !c.heard && !(errors.As(err, &waited) && waited.Timeout())
}

// converse writes the request and reads the answer, within limit. If it fails, left says whether a
// byte of the request may have left this machine, and a is what arrived of an answer that was cut.
func (c *connection) converse(limit patience, request []byte, netHTTP bool) (a answer, left bool, err error) {
	if !c.stream.begin(limit) {
		return answer{}, false, limit.because(os.ErrDeadlineExceeded)
	}
	defer c.stream.end()
	c.heard, c.length, c.began = false, 0, time.Now()
	if err := c.ask(request); err != nil {
		return answer{}, c.stream.sent > 0, limit.because(err)
	}
	if a, err = c.answer(netHTTP); err != nil {
		return a, true, limit.because(err)
	}
	return a, true, nil
}

// ask writes a request. Without TLS it looks itself whether anything has arrived, and then fails
// with errUnasked or errEnded; otherwise it waits for the answer, too, which saves a read that
// would find nothing.
func (c *connection) ask(request []byte) error {
	if !c.looksItself() {
		_, err := c.Write(request)
		return err
	}
	sent, n, err := c.stream.ask(request, c.some[:])
	switch {
	case n > 0 && judge(c.some[:n]) == written:
		return errUnasked
	case n > 0, err == io.EOF:
		return errEnded
	case err == nil && sent < len(request):
		_, err = c.Write(request[sent:])
	}
	return err
}

// looksItself reports whether ask looks at what has arrived, so that nobody has to do it before.
func (c *connection) looksItself() bool { return socket.Able && c.stream.records == nil }

// because returns why ctx ended if it has, since that is why the connection failed, or else err.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// answer reads the answer and skips interim ones (1xx). If two answers arrive on a connection that
// was kept, the first may belong to an earlier request, so neither is accepted.
func (c *connection) answer(netHTTP bool) (answer, error) {
	a, err := c.receive(netHTTP)
	if err != nil {
		return a, err
	}
	behind := c.trailing()
	if behind == written && c.kept {
		return answer{}, errSurplus
	}
	a.surplus, a.last = behind == written, a.last || behind != silent
	return a, nil
}

// receive reads an answer of the plain form itself, if it arrives all at once, and leaves every
// other to net/http.
func (c *connection) receive(netHTTP bool) (answer, error) {
	c.room = headerLimit
	if err := c.begins(); err != nil {
		return answer{}, err
	}
	if !netHTTP {
		text, _ := c.in.Peek(c.in.Buffered())
		if a, n := parsePlain(text); n > 0 {
			_, _ = c.in.Discard(n)
			return a, nil
		}
	}
	response, err := c.header()
	if err != nil {
		return answer{}, err
	}
	c.room += answerLimit
	body, cut := io.ReadAll(response.Body)
	body, broken := unzipped(body, response.Header)
	if failed := cmp.Or(cut, broken); failed != nil {
		err = fmt.Errorf("answer cut: %w", failed)
	}
	last := response.Close || response.StatusCode == http.StatusSwitchingProtocols
	return answer{status: response.StatusCode, header: headerFields(response.Header), body: body, last: last}, err
}

// begins waits for the first bytes of an answer. On a kept connection they may be the rest of an
// earlier answer, or crossed the request and only say that the connection ends.
func (c *connection) begins() error {
	text, err := c.in.Peek(len("HTTP/1.1 408"))
	switch {
	case len(text) == 0:
		return noAnswer(err)
	case !c.kept:
	case judge(text) == ended:
		c.heard = false
		return errClosed
	case !strings.HasPrefix("HTTP/", string(text[:min(len(text), len("HTTP/"))])):
		return errSurplus
	}
	return nil
}

// unzipped decodes a body in gzip, which no call asks for, and removes Content-Encoding. If the
// body is cut, it returns what could be decoded, and an error. If the checksum is wrong, it returns
// only the error, because any byte may be wrong.
func unzipped(body []byte, header http.Header) ([]byte, error) {
	if len(body) == 0 || !isGzip(header) {
		return body, nil
	}
	header.Del("Content-Encoding")
	reader, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(reader, answerLimit+1))
	if errors.Is(err, gzip.ErrChecksum) {
		return nil, err
	}
	return plain, err
}

func isGzip(header http.Header) bool {
	is := strings.ToLower(strings.Join(header["Content-Encoding"], ","))
	return is == "gzip" || is == "x-gzip"
}

// header reads a header within c.room.
func (c *connection) header() (*http.Response, error) {
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

// noAnswer returns an error without the text that net/http's parser quotes: it may hold anything.
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
