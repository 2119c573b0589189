// Package transcript records the answers that tests get from the platform, so that they can be
// checked against the OpenAPI document (bench/openapi). It records only if the suite asks for it.
package transcript

import (
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"

	"wxplatform/internal/testenv"
)

// bodyLimit is how much of a body is recorded.
const bodyLimit = 64 << 10

// answer is what is recorded of an answer. It has neither the query nor the header of the request,
// and no token.
type answer struct {
	Method, Path string
	Status       int
	Header       http.Header
	Body         []byte
	Cut          bool // Body is only the beginning
}

// headers are the fields of an answer that are recorded.
var headers = []string{"Content-Type", "Outcome", "Etag", "Retry-After", "Www-Authenticate", "Allow"}

// Record returns a RoundTripper that records the platform's answers in the folder that the switch
// TRANSCRIPT names, in a file for each process. Without the switch it returns next.
func Record(next http.RoundTripper) http.RoundTripper {
	folder := testenv.Get("TRANSCRIPT")
	if folder == "" {
		return next
	}
	return record(folder, next)
}

func record(folder string, next http.RoundTripper) http.RoundTripper {
	file, err := os.CreateTemp(folder, "*.jsonl")
	if err != nil {
		panic(err)
	}
	return &recorder{next: next, file: file, known: map[[sha256.Size]byte]bool{}}
}

type recorder struct {
	next http.RoundTripper

	mu    sync.Mutex
	file  *os.File
	known map[[sha256.Size]byte]bool // what was recorded, without the ids of requests
}

// RoundTrip sends a request, and has the answer recorded when its body was read.
func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := r.next.RoundTrip(request)
	if err != nil || !ofPlatform(response) {
		return response, err
	}
	made := answer{Method: request.Method, Path: request.URL.Path, Status: response.StatusCode, Header: http.Header{}}
	for _, name := range headers {
		if values := response.Header[name]; values != nil {
			made.Header[name] = values
		}
	}
	if location := response.Header.Get("Location"); location != "" {
		address, _, _ := strings.Cut(location, "?") // the query may hold an invitation
		made.Header.Set("Location", address)
	}
	response.Body = &body{ReadCloser: response.Body, of: made, to: r}
	return response, nil
}

// CloseIdleConnections closes those of the RoundTripper below.
func (r *recorder) CloseIdleConnections() { (&http.Client{Transport: r.next}).CloseIdleConnections() }

// ofPlatform reports whether the platform answered, and not the simulator: the public listener
// gives each answer an id, and the other one has few routes.
func ofPlatform(response *http.Response) bool {
	path := response.Request.URL.Path
	return response.Header.Get("Request-Id") != "" || strings.HasPrefix(path, "/debug/pprof/") || slices.Contains([]string{"/healthz", "/readyz", "/metrics"}, path)
}

// body keeps the beginning of what is read of it.
type body struct {
	io.ReadCloser
	of    answer
	to    *recorder
	whole bool
	over  bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	room := bodyLimit - len(b.of.Body)
	b.of.Body = append(b.of.Body, p[:min(n, room)]...)
	b.of.Cut = b.of.Cut || n > room
	b.whole = b.whole || err == io.EOF
	return n, err
}

func (b *body) Close() error {
	if !b.over {
		b.over = true
		b.of.Cut = b.of.Cut || !b.whole
		b.to.write(b.of)
	}
	return b.ReadCloser.Close()
}

var (
	tokens = regexp.MustCompile(`"access_token":\s*"[^"]*"`)
	ids    = regexp.MustCompile(`"(request_id|rid)":"[^"]*"|rid: \w+`)
)

// write records an answer, unless one that differs only by the request's id was recorded.
func (r *recorder) write(made answer) {
	made.Body = tokens.ReplaceAll(made.Body, []byte(`"access_token":"removed"`))
	line, err := json.Marshal(made)
	if err != nil {
		panic(err)
	}
	without := made
	without.Body = ids.ReplaceAll(made.Body, nil)
	text, _ := json.Marshal(without) // as above
	key := sha256.Sum256(text)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[key] {
		return
	}
	r.known[key] = true
	if _, err := r.file.Write(append(line, '\n')); err != nil {
		panic(err)
	}
}
