package wechat

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
)

// errShown says that an answer shows the token of its call. A page of a faulty proxy that repeats
// the request's address does.
var errShown = errors.New("the answer shows the token of its call")

// shortestToken is far below the length of WeChat's tokens, which is over a hundred. A shorter text
// would be found in answers that do not show it.
const shortestToken = 12

// withoutToken returns an answer that does not show the token of its call, so that no caller gets
// it. Whether WeChat acted is not known of one that does.
func withoutToken(call Call, a Answer, err error) (Answer, error) {
	token := plainest(call.Token.Reveal())
	switch {
	case len(token) < shortestToken:
	case a.bodyShows(token) || a.headerShows(token):
		if a.Stream != nil {
			_ = a.Stream.Close()
		}
		return Answer{}, &Error{path: call.name(), result: unknown, cause: errShown}
	case a.Stream != nil:
		a.Stream = &tokenless{from: a.Stream, token: []byte(token)}
	}
	return a, err
}

// plainest returns the longest part of a token that looks the same however an answer encodes it,
// such as in an address, where a call has it.
func plainest(token string) (longest string) {
	plain := func(c byte) bool {
		return c == '-' || c == '_' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
	}
	for begin, end := 0, 0; end <= len(token); end++ {
		if end == len(token) || !plain(token[end]) {
			if end-begin > len(longest) {
				longest = token[begin:end]
			}
			begin = end + 1
		}
	}
	return longest
}

// bodyShows allocates nothing for a body that is shorter than the token, as most are.
func (a Answer) bodyShows(token string) bool {
	return len(a.Body) >= len(token) && bytes.Contains(a.Body, []byte(token))
}

func (a Answer) headerShows(token string) bool {
	return slices.ContainsFunc(a.Header, func(f Field) bool { return strings.Contains(f.Value, token) })
}

// tokenless is a stream that fails before it hands on a token. It keeps back the last bytes that
// arrived while they could be the beginning of one.
type tokenless struct {
	from  io.ReadCloser
	token []byte
	room  []byte // what held is a part of
	held  []byte // read, and not handed on yet
	err   error  // of from, or errShown
}

// Read fails with errShown at the token.
func (s *tokenless) Read(p []byte) (int, error) {
	for s.err == nil && s.free() == 0 {
		s.fill()
	}
	n := copy(p, s.held[:s.free()])
	s.held = s.held[n:]
	if n == 0 && len(p) > 0 {
		return 0, s.err
	}
	return n, nil
}

// free is how many of the bytes held may be handed on.
func (s *tokenless) free() int {
	if s.err != nil {
		return len(s.held)
	}
	for kept := min(len(s.held), len(s.token)-1); kept > 0; kept-- {
		if bytes.HasPrefix(s.token, s.held[len(s.held)-kept:]) {
			return len(s.held) - kept
		}
	}
	return len(s.held)
}

// fill reads once.
func (s *tokenless) fill() {
	if s.room == nil {
		s.room = make([]byte, transferBuffer)
	}
	kept := copy(s.room, s.held)
	n, err := s.from.Read(s.room[kept:])
	s.held, s.err = s.room[:kept+n], err
	if bytes.Contains(s.held, s.token) {
		s.held, s.err = nil, errShown
	}
}

// Close ends the transfer.
func (s *tokenless) Close() error { return s.from.Close() }
