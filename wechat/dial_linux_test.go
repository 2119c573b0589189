package wechat

import (
	"context"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel itself drops what a process wrote before it died, if the host acknowledges nothing for
// as long as a call may take.
func TestTheKernelDropsWhatTheHostDoesNotAcknowledge(t *testing.T) {
	base, _ := answers(t, func(_ int64, w io.Writer) bool {
		_, _ = io.WriteString(w, plainAnswer)
		return true
	})
	client := NewClient(base, Observer{})
	if _, err := client.Do(context.Background(), call()); err != nil {
		t.Fatal(err)
	}
	raw, err := client.host.idle.conns[0].stream.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var ms int
	if failed := raw.Control(func(fd uintptr) { ms, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) }); failed != nil || err != nil {
		t.Fatal(failed, err)
	}
	if want := int(CallPatience.Milliseconds()); ms != want {
		t.Errorf("got %d ms, want %d", ms, want)
	}
}

func TestTheShortestRoundTripIsKnown(t *testing.T) {
	base, _ := answers(t, func(_ int64, w io.Writer) bool {
		_, _ = io.WriteString(w, plainAnswer)
		return true
	})
	client := NewClient(base, Observer{})
	defer client.CloseIdle()
	if _, err := client.Do(context.Background(), call()); err != nil {
		t.Fatal(err)
	}
	c := client.host.idle.conns[0]
	if got := roundTrip(c.stream.TCPConn); got <= 0 || got > time.Second || c.early != min(got/8, mostEarly) {
		t.Errorf("got a round trip of %v and no answer within %v, want that of loopback and an eighth of it", got, c.early)
	}
}
