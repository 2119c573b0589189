package plainhttp

import (
	"context"
	"errors"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
)

var (
	errMore     = errors.New("the request has not arrived whole yet")
	errNotPlain = errors.New("the request is not of the plain shape")
)

const (
	mostFields = 32
	endOfLine  = "\r\n"
)

// parse parses text as one request of the plain shape, with nothing after it, and gives it ctx. It
// fails with errMore or errNotPlain. For each request that it accepts, net/http's server sees the
// same (FuzzPlain). The request shares memory with text only.
func parse(ctx context.Context, text string) (*http.Request, error) {
	head, body, whole := strings.Cut(text, endOfLine+endOfLine)
	if !whole {
		return nil, errMore
	}
	line, fields, _ := strings.Cut(head, endOfLine)
	r := http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody}
	of := &parts{}
	if !readLine(&r, of, line) || !readFields(&r, of, fields) || r.Host == "" {
		return nil, errNotPlain
	}
	if err := readBody(&r, of, body); err != nil {
		return nil, err
	}
	return r.WithContext(ctx), nil // a copy: r itself is on the stack
}

// parts is what a request points to, in one allocation.
type parts struct {
	url    url.URL
	body   content
	values [mostValues]string
}

// mostValues is how many fields need no further allocation. Most requests have fewer.
const mostValues = 10

// readLine accepts a request line with a known method and a path that has one reading only: no
// escapes, no "..", no empty segments.
func readLine(r *http.Request, of *parts, line string) bool {
	method, rest, _ := strings.Cut(line, " ")
	target, version, _ := strings.Cut(rest, " ")
	path, query, queried := strings.Cut(target, "?")
	switch {
	case method != http.MethodGet && method != http.MethodPost && method != http.MethodDelete, version != r.Proto:
		return false
	case !strings.HasPrefix(path, "/") || !only(inPath, path) || strings.Contains(path, "//") || strings.Contains(path, ".."):
		return false
	case queried && (query == "" || !only(inQuery, query)):
		return false
	}
	of.url = url.URL{Path: path, RawQuery: query}
	r.Method, r.RequestURI, r.URL = method, target, &of.url
	return true
}

func readFields(r *http.Request, of *parts, fields string) bool {
	r.Header = make(http.Header, 8)
	values := of.values[:0]
	for more := true; more; {
		var line string
		line, fields, more = strings.Cut(fields, endOfLine)
		name, value, _ := strings.Cut(line, ":")
		if len(line) == len(name) || name == "" || !only(inName, name) || !only(inValue, value) || len(r.Header) >= mostFields {
			return false
		}
		values = append(values, strings.Trim(value, " "))
		last := len(values) - 1
		if !take(r, canonical(name), values[last:last+1:last+1]) {
			return false
		}
	}
	return true
}

// canonical returns a field's name as net/http spells it. Callers that trace their requests send
// traceparent with each one, in lower case, and textproto would allocate its name each time.
func canonical(name string) string {
	if name == "traceparent" {
		return "Traceparent"
	}
	return textproto.CanonicalMIMEHeaderKey(name)
}

// take accepts a field, unless it is there twice, or changes how the request or the connection is
// read.
func take(r *http.Request, name string, value []string) bool {
	if _, twice := r.Header[name]; twice {
		return false
	}
	switch name {
	case "Host":
		twice := r.Host != ""
		r.Host = value[0]
		return !twice && r.Host != "" && only(inHost, r.Host)
	case "Connection":
		if !strings.EqualFold(value[0], "keep-alive") {
			return false
		}
	case "Content-Length":
		if !readLength(r, value[0]) {
			return false
		}
	case "Expect", "Http2-Settings", "Keep-Alive", "Pragma", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return false
	}
	r.Header[name] = value
	return true
}

// readLength accepts the length of a POST, in digits as strconv formats them. requestLimit bounds
// how large the body can be.
func readLength(r *http.Request, value string) bool {
	n, err := strconv.ParseUint(value, 10, 31)
	r.ContentLength = int64(n)
	return err == nil && r.Method == http.MethodPost && value == strconv.FormatUint(n, 10)
}

func readBody(r *http.Request, of *parts, body string) error {
	given := int64(len(body))
	switch {
	case r.Method == http.MethodPost && r.Header["Content-Length"] == nil, given > r.ContentLength:
		return errNotPlain
	case given < r.ContentLength:
		return errMore
	case given > 0:
		of.body.Reset(body)
		r.Body = &of.body
	}
	return nil
}

// content is a body that arrived whole.
type content struct{ strings.Reader }

func (*content) Close() error { return nil }

// Whole reports whether the body of r, if it has one, has arrived: a handler never waits for it.
func Whole(r *http.Request) bool {
	_, arrived := r.Body.(*content)
	return arrived || r.Body == nil || r.Body == http.NoBody
}

// set is a set of bytes.
type set [256]bool

const (
	lettersAndDigits = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	unreserved       = lettersAndDigits + "-._~"
)

var (
	inPath  = of(unreserved + "/")
	inQuery = of(unreserved + "/=&%+@:,")
	inName  = of(lettersAndDigits + "-")
	inHost  = of(lettersAndDigits + "-.:[]")
	inValue = printable()
)

func of(bytes string) *set {
	var s set
	for _, b := range []byte(bytes) {
		s[b] = true
	}
	return &s
}

func printable() *set {
	var s set
	for b := ' '; b <= '~'; b++ {
		s[b] = true
	}
	return &s
}

func only(s *set, text string) bool {
	for i := range len(text) {
		if !s[text[i]] {
			return false
		}
	}
	return true
}
