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

// response is an answer, kept whole until the handler returns.
type response struct {
	header http.Header
	status int // 0 until WriteHeader
	head   []byte
	body   []byte
	typed  bool // the handler said what the body is
	dated  bool
	last   bool // the connection ends with it
}

// A buffer that grew beyond this is not kept for the next answer.
const keptRoom = 4 << 10

func (w *response) reset() {
	*w = response{header: make(http.Header, 8), head: kept(w.head), body: kept(w.body)}
}

func kept(buffer []byte) []byte {
	if cap(buffer) > keptRoom {
		return nil
	}
	return buffer[:0]
}

// Header is what WriteHeader will send.
func (w *response) Header() http.Header { return w.header }

// WriteHeader is the answer's status, with the header as it is now. Of several the first counts; interim ones (1xx) are not sent.
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

// How the body ends and the connection goes on is not the handler's to say, but that it ends.
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

// Write adds to the body.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.bodied() {
		return 0, http.ErrBodyNotAllowed
	}
	w.body = append(w.body, p...)
	return len(p), nil
}

func (w *response) bodied() bool {
	return w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

// finish is the answer as it is sent.
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
	if w.bodied() {
		w.head = append(w.head, "Content-Length: "...)
		w.head = strconv.AppendInt(w.head, int64(len(w.body)), 10)
		w.head = append(w.head, endOfLine...)
	}
	w.head = append(w.head, endOfLine...)
	w.head = append(w.head, w.body...)
	return w.head
}

// clock spells the time as HTTP does, once a second.
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
