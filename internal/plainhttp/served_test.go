package plainhttp

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// filling is a request that takes the whole buffer.
func filling() string {
	const form = "POST / HTTP/1.1\r\nHost: a\r\nX: %s\r\nContent-Length: 2\r\n\r\n{}"
	return fmt.Sprintf(form, strings.Repeat("x", requestLimit-len(form)+len("%s")))
}

// A receive that filled the buffer may have left something, which would not end a wait. If it was
// waited for, the connection settles before the next request is seen.
func TestARequestThatFillsTheBufferHidesNoOther(t *testing.T) {
	t.Parallel()
	const tries = 9
	address, s := started(t, &witness{}, ours)
	for range tries {
		c := dial(t, address)
		in := bufio.NewReader(c)
		say(t, c, closing)
		listen(t, in)
		say(t, c, filling()+closing)
		listen(t, in)
		listen(t, in)
		_ = c.Close()
	}
	wantUnsettled(t, s, tries)
}

// wantUnsettled fails if most of the connections settled. On a busy machine some may.
func wantUnsettled(t *testing.T, s server, of int64) {
	t.Helper()
	if n := s.(*Server).settled.Load(); n > of/2 {
		t.Errorf("got %d of %d connections settled, want what arrived on them seen at once", n, of)
	}
}

// listen reads one answer of several.
func listen(t *testing.T, in *bufio.Reader) {
	t.Helper()
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("got status %d, %v", answer.StatusCode, err)
	}
}
