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
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// MostTransfers is how many transfers may be in flight. They take no connection from other calls.
	MostTransfers = 128
	// TransferPatience limits one transfer, unless its context ends earlier.
	TransferPatience = 10 * time.Minute
	// transferIdle is how long a transfer may go on without a byte sent or received.
	transferIdle   = 30 * time.Second
	transferBuffer = 32 << 10
)

// ErrBody says that a call failed because its Upload could not be read, ended early, was longer
// than UploadLength, or stood still. WeChat got at most a part of the body, and the connection was
// aborted, so it does not act on it.
var ErrBody = errors.New("the body could not be read whole")

var (
	errIdle  = errors.New("nothing was sent or received for too long")
	errEarly = errors.New("answered before the body was sent")
)

// transfer is a call whose body or answer is streamed. It has a connection of its own, which
// carries one request, so that no byte of it can reach another call. A goroutine sends the body
// while the caller's waits for the answer: WeChat may refuse before it has read everything.
type transfer struct {
	*connection
	host   *host
	ctx    context.Context
	cancel context.CancelCauseFunc // of ctx
	expire context.CancelFunc      // of the overall limit
	watch  func() bool             // stops watching ctx
	idle   *time.Timer
	ending sync.Once

	whole   atomic.Bool // all of the body was read, and is sent or being sent
	waiting atomic.Bool // for Upload
}

// isTransfer reports whether the call is a transfer.
func (call *Call) isTransfer() bool { return call.Upload != nil || call.Streamed }

// transfer makes a call whose body or answer is streamed.
func (c *Client) transfer(ctx context.Context, call Call) (Answer, error) {
	if call.Upload == nil && call.Body != nil {
		call.Upload, call.UploadLength, call.Body = bytes.NewReader(call.Body), int64(len(call.Body)), nil
	}
	if call.Upload != nil && call.UploadLength == 0 {
		if err := endsHere(call.Upload); err != nil {
			return Answer{}, &Error{path: call.name(), result: notSent, cause: err}
		}
		call.Upload, call.Body = nil, []byte{}
	}
	t, err := c.host.openTransfer(ctx, cmp.Or(call.Timeout, TransferPatience))
	if err != nil {
		return Answer{}, &Error{path: call.name(), result: notSent, cause: err}
	}
	if _, err := t.Write(c.appendRequest(nil, call, delivery{once: true})); err != nil {
		err = t.failed(err)
		result := unknown
		if t.stream.sent == 0 {
			result = notSent
		}
		return Answer{}, &Error{path: call.name(), result: result, cause: err}
	}
	a, err := t.exchange(call)
	if err != nil {
		return a, &Error{path: call.name(), result: unknown, cause: t.failed(err)}
	}
	return c.readTransfer(call, a, t)
}

// readTransfer decides what an answer to a transfer means. One that is streamed is a success. Only
// a refusal may come before the whole body was sent.
func (c *Client) readTransfer(call Call, a Answer, t *transfer) (Answer, error) {
	whole := t.whole.Load()
	if a.Stream != nil && whole {
		return a, nil
	}
	t.end(whole)
	if a.Stream != nil {
		return Answer{Status: a.Status, Header: a.Header}, &Error{path: call.name(), result: unknown, cause: errEarly}
	}
	err := c.read(call, a)
	if err == nil && !whole {
		err = &Error{path: call.name(), result: unknown, cause: errEarly}
	}
	return a, err
}

// kernelLater is by how much the kernel waits longer than the transfer does: what the kernel gave
// up looks like a connection that WeChat closed, and the caller should be told that nothing moved.
const kernelLater = 5 * time.Second

// openTransfer returns a transfer with a new connection. It fails if there is none within
// dialPatience.
func (h *host) openTransfer(ctx context.Context, patience time.Duration) (*transfer, error) {
	connecting, connected := context.WithTimeout(ctx, dialPatience)
	defer connected()
	select {
	case h.transfers <- struct{}{}:
	case <-connecting.Done():
		return nil, fmt.Errorf("wait for a connection: %w", context.Cause(connecting))
	}
	c, err := h.dialBound(connecting, h.transferIdle+kernelLater)
	if err != nil {
		<-h.transfers
		return nil, err
	}
	t := &transfer{connection: c, host: h}
	t.begin(ctx, patience)
	return t, nil
}

// begin aborts the connection when ctx ends, when the transfer has lasted for too long, and when
// nothing moves.
func (t *transfer) begin(ctx context.Context, patience time.Duration) {
	ctx, t.expire = context.WithTimeout(ctx, patience)
	t.ctx, t.cancel = context.WithCancelCause(ctx)
	t.watch = context.AfterFunc(t.ctx, t.abort)
	t.idle = time.AfterFunc(t.host.transferIdle, t.stall)
}

func (t *transfer) stall() {
	if t.waiting.Load() {
		t.cancel(fmt.Errorf("%w: %w", ErrBody, errIdle))
		return
	}
	t.cancel(errIdle)
}

func (t *transfer) moved() { t.idle.Reset(t.host.transferIdle) }

// failed ends the transfer and returns why it failed.
func (t *transfer) failed(err error) error {
	err = because(t.ctx, err)
	t.end(false)
	return err
}

// end closes the connection, or aborts it if anything may still be on its way. Only the first call
// counts.
func (t *transfer) end(orderly bool) {
	t.ending.Do(func() {
		t.watch()
		t.idle.Stop()
		t.cancel(nil)
		t.expire()
		if orderly {
			_ = t.Close()
		} else {
			t.abort()
		}
		<-t.host.transfers
	})
}

// exchange sends the body and reads the answer, whole or as far as its header.
func (t *transfer) exchange(call Call) (Answer, error) {
	if call.Upload == nil {
		t.whole.Store(true)
	} else {
		go t.upload(call.Upload, call.UploadLength)
	}
	t.room = headerLimit
	response, err := t.header()
	if err != nil {
		return Answer{}, err
	}
	t.moved()
	t.room = math.MaxInt
	in, err := t.plain(response)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Status: response.StatusCode, Header: headerFields(response.Header), StreamLength: response.ContentLength}
	return t.receive(a, in, call.Streamed && a.Status == http.StatusOK)
}

// plain returns the body as it arrives. One in gzip, which no call asks for, is decoded, so that a
// refusal or a token in it is seen; then it has no Content-Encoding and no known length.
func (t *transfer) plain(response *http.Response) (*bufio.Reader, error) {
	in := bufio.NewReader(&arriving{t, response.Body})
	if _, err := in.Peek(1); err != nil || !isGzip(response.Header) {
		return in, nil // if that failed, reading fails, too
	}
	decoded, err := gzip.NewReader(in)
	if err != nil {
		return nil, fmt.Errorf("answer cut: %w", err)
	}
	response.Header.Del("Content-Encoding")
	response.ContentLength = -1
	return bufio.NewReader(decoded), nil
}

// receive reads the answer into memory if it is a JSON object or may not be streamed. Above
// answerLimit it streams the answer if it may, and fails with errTooLarge otherwise.
func (t *transfer) receive(a Answer, in *bufio.Reader, streamed bool) (Answer, error) {
	if streamed && !startsObject(in) {
		a.Stream = &download{from: in, t: t}
		return a, nil
	}
	body, err := io.ReadAll(io.LimitReader(in, answerLimit+1))
	switch {
	case err != nil:
		return a, err
	case len(body) <= answerLimit:
		a.Body, a.StreamLength = body, 0
		t.look()
	case streamed:
		a.Stream = &download{from: io.MultiReader(bytes.NewReader(body), in), t: t}
	default:
		return a, errTooLarge
	}
	return a, nil
}

// startsObject reports whether the first byte is {, after blanks and a byte order mark. It also
// returns true for an answer that is empty, blank or unreadable, so that receive reads it whole.
func startsObject(in *bufio.Reader) bool {
	const mark = "\ufeff"
	for n := 1; n <= in.Size(); n++ {
		head, err := in.Peek(n)
		text := bytes.TrimLeft(head, mark+" \t\r\n")
		switch {
		case err != nil && len(text) == 0:
			return true
		case err == nil && strings.HasPrefix(mark, string(text)):
			continue
		}
		return text[0] == '{'
	}
	return false
}

// look counts surplus bytes behind the answer.
func (t *transfer) look() {
	if t.trailing() == written {
		t.host.found(SurplusAnswered)
	}
}

// upload sends the body. If that fails because of the body, it aborts the connection. If it fails
// because of the connection, an answer may have arrived before that.
func (t *transfer) upload(body io.Reader, length int64) {
	if err := t.sendBody(body, length); errors.Is(err, ErrBody) {
		t.cancel(err)
	}
}

// sendBody sends the last bytes only when body has ended there. So WeChat cannot take a wrong body
// for a whole one.
func (t *transfer) sendBody(body io.Reader, length int64) error {
	buffer := make([]byte, min(length, transferBuffer))
	for left := length; left > 0 && t.ctx.Err() == nil; {
		n, err := t.readBody(body, buffer[:min(left, transferBuffer)])
		left -= int64(n)
		switch {
		case err == io.EOF && left > 0:
			return fmt.Errorf("%w: it ended %d bytes early", ErrBody, left)
		case err != nil && err != io.EOF:
			return fmt.Errorf("%w: %w", ErrBody, err)
		}
		if err := t.sendPart(body, buffer[:n], left == 0); err != nil {
			return err
		}
	}
	return nil
}

func (t *transfer) readBody(body io.Reader, p []byte) (int, error) {
	t.waiting.Store(true)
	defer t.waiting.Store(false)
	return body.Read(p)
}

func (t *transfer) sendPart(body io.Reader, part []byte, last bool) error {
	if last {
		t.waiting.Store(true)
		err := endsHere(body)
		t.waiting.Store(false)
		if err != nil {
			return err
		}
		t.whole.Store(true)
	}
	if len(part) == 0 {
		return nil
	}
	_, err := t.Write(part)
	t.moved()
	return err
}

// endsHere returns ErrBody unless body is at its end.
func endsHere(body io.Reader) error {
	switch n, err := io.ReadFull(body, make([]byte, 1)); {
	case n > 0:
		return fmt.Errorf("%w: it is longer than its length", ErrBody)
	case err != io.EOF:
		return fmt.Errorf("%w: %w", ErrBody, err)
	}
	return nil
}

// arriving is the body of an answer as it arrives.
type arriving struct {
	t    *transfer
	body io.Reader
}

// Read returns io.EOF only at the end that the answer announced; any other end is an error.
func (a *arriving) Read(p []byte) (int, error) {
	n, err := a.body.Read(p)
	if n > 0 {
		a.t.moved()
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("answer cut: %w", because(a.t.ctx, err))
	}
	return n, err
}

// download is an answer that is handed on as it arrives.
type download struct {
	from io.Reader
	t    *transfer
	err  error // of the last Read
}

// Read returns io.EOF only at the end that the answer announced. Any other end is an error.
func (d *download) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	n, err := d.from.Read(p)
	if d.err = err; err == io.EOF {
		d.t.look()
		d.t.end(true)
	}
	return n, err
}

// Close ends the transfer. If the answer was not read to its end, the connection is aborted.
func (d *download) Close() error {
	d.t.end(false)
	return nil
}
