package plainhttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// sayLast sends text and the end of the caller's side in one segment.
func sayLast(t *testing.T, c *net.TCPConn, text string) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = syscall.Sendto(int(fd), []byte(text), syscall.MSG_MORE, nil) })
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	_ = c.CloseWrite()
}

// Callers that send one request often end their side with it, and wait for the end of ours.
func TestTheEndBehindAnOnlyRequestIsSeenAtOnce(t *testing.T) {
	t.Parallel()
	const tries = 9
	address, s := started(t, &witness{}, ours)
	for range tries {
		c := dial(t, address)
		time.Sleep(20 * time.Millisecond) // so that it usually waits when the request comes
		sayLast(t, c, closing)
		wantLast(t, c)
	}
	wantUnsettled(t, s, tries)
}

// Without time-outs nothing else would end the wait.
func TestTheEndBehindALaterRequestIsSeenWithoutTimeouts(t *testing.T) {
	t.Parallel()
	address, s := started(t, &witness{}, func(s *http.Server) server {
		s.ReadHeaderTimeout, s.ReadTimeout, s.IdleTimeout = 0, 0, 0
		return New(s, all, 0)
	})
	for range 9 {
		c := dial(t, address)
		say(t, c, closing)
		hear(t, c)
		rests(t, s)
		time.Sleep(20 * time.Millisecond) // so that it usually waits when the request comes
		sayLast(t, c, closing)
		wantLast(t, c)
	}
}

// wantLast reads an answer, behind which the connection ends.
func wantLast(t *testing.T, c *net.TCPConn) {
	t.Helper()
	in := bufio.NewReader(c)
	listen(t, in)
	if _, err := in.ReadByte(); err != io.EOF {
		t.Fatalf("got %v, want the connection closed", err)
	}
}
