package plainhttp

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// response is an http.ResponseWriter that keeps the whole response until the handler returns.
type response struct {
	header http.Header
	status int // 0 until WriteHeader
	head   []byte
	body   []byte
	typed  bool // the handler set Content-Type
	dated  bool // the handler set Date
	last   bool // the connection is closed after it
}

// keptMost is the capacity up to which a buffer is reused for the next response.
const keptMost = 4 << 10

func (w *response) reset() {
	clear(w.header) // a handler may not use it once it has returned
	if w.header == nil || len(w.header) > mostFields {
		w.header = make(http.Header, 8)
	}
	*w = response{header: w.header, head: kept(w.head), body: kept(w.body)}
}

func kept(buffer []byte) []byte {
	if cap(buffer) > keptMost {
		return nil
	}
	return buffer[:0]
}

// Header returns the header that WriteHeader will send.
func (w *response) Header() http.Header { return w.header }

// WriteHeader sets the status and fixes the header as it is now. Only the first call counts.
// Interim responses (1xx) are not sent.
func (w *response) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %d", status))
	}
	if w.status != 0 || status < 200 {
		return
	}
	w.status = status
	w.head = appendStatus(w.head, status)
	for name, values := range w.header {
		w.appendField(name, values)
	}
}

func appendStatus(to []byte, status int) []byte {
	to = append(to, "HTTP/1.1 "...)
	to = strconv.AppendInt(to, int64(status), 10)
	to = append(to, ' ')
	to = append(to, cmp.Or(http.StatusText(status), "status code "+strconv.Itoa(status))...)
	return append(to, endOfLine...)
}

// appendField ignores what the handler says about how the body is framed. Of the field Connection
// only "close" has an effect.
func (w *response) appendField(name string, values []string) {
	switch name {
	case "Content-Length", "Transfer-Encoding":
		return
	case "Connection":
		w.last = len(values) > 0 && values[0] == "close"
	case "Content-Type":
		w.typed = true
	case "Date":
		w.dated = true
	}
	if name == "" || !only(inName, name) {
		return
	}
	for _, value := range values {
		w.head = appendField(w.head, name, value)
	}
}

var oneLine = strings.NewReplacer("\r", " ", "\n", " ")

func appendField(to []byte, name, value string) []byte {
	if strings.ContainsAny(value, endOfLine) {
		value = oneLine.Replace(value)
	}
	to = append(to, name...)
	to = append(to, ": "...)
	to = append(to, value...)
	return append(to, endOfLine...)
}

// Flush does nothing: the response is sent when the handler returns. It exists because callers may
// panic without it, as Echo does. A route that must flush is left to net/http (see New).
func (w *response) Flush() {}

// Write appends to the body.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.hasBody() {
		return 0, http.ErrBodyNotAllowed
	}
	w.body = append(w.body, p...)
	return len(p), nil
}

func (w *response) hasBody() bool {
	return w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

// finish returns the bytes of the response. They are valid until the next reset.
func (w *response) finish(clock *clock) []byte {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.dated {
		w.head = appendField(w.head, "Date", clock.date(time.Now()))
	}
	if !w.typed && len(w.body) > 0 {
		w.head = appendField(w.head, "Content-Type", http.DetectContentType(w.body))
	}
	if w.hasBody() {
		w.head = append(w.head, "Content-Length: "...)
		w.head = strconv.AppendInt(w.head, int64(len(w.body)), 10)
		w.head = append(w.head, endOfLine...)
	}
	w.head = append(w.head, endOfLine...)
	w.head = append(w.head, w.body...)
	return w.head
}

// clock formats the time for the field Date, once per second.
type clock struct{ last atomic.Pointer[second] }

type second struct {
	unix int64
	text string
}

func (c *clock) date(now time.Time) string {
	if s := c.last.Load(); s != nil && s.unix == now.Unix() {
		return s.text
	}
	s := &second{now.Unix(), now.UTC().Format(http.TimeFormat)}
	c.last.Store(s)
	return s.text
}
