package socket

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

func pair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	one, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = one.Close(), other.Close() })
	return one.(*net.TCPConn), other.(*net.TCPConn)
}

// arrives waits until receive returns something other than ErrNothing.
func arrives(t *testing.T, receive func([]byte) (int, error)) (string, error) {
	t.Helper()
	p := make([]byte, 16)
	for range 5000 {
		n, err := receive(p)
		if !errors.Is(err, ErrNothing) {
			return string(p[:n]), err
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("nothing arrives")
	return "", nil
}

func TestReadTakesWhatArrivedAndPeekLeavesIt(t *testing.T) {
	near, far := pair(t)
	r, err := NewReader(near)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != ErrNothing {
		t.Errorf("got %d bytes and %v of a silent connection, want ErrNothing", n, err)
	}
	if _, err := io.WriteString(far, "hello"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := arrives(t, r.Peek); got != "hello" || err != nil {
			t.Errorf("got %q and %v by a peek, want hello", got, err)
		}
	}
	if got, err := arrives(t, r.Read); got != "hello" || err != nil {
		t.Errorf("got %q and %v by a read, want hello", got, err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != ErrNothing {
		t.Errorf("got %d bytes and %v after all was read, want ErrNothing", n, err)
	}
}

func TestTheEndOfAConnectionIsSeen(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(far *net.TCPConn)
		want error
	}{
		"closed":      {func(far *net.TCPConn) { _ = far.Close() }, io.EOF},
		"half closed": {func(far *net.TCPConn) { _ = far.CloseWrite() }, io.EOF},
		"reset":       {func(far *net.TCPConn) { _, _ = far.SetLinger(0), far.Close() }, syscall.ECONNRESET},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := pair(t)
			r, err := NewReader(near)
			if err != nil {
				t.Fatal(err)
			}
			c.end(far)
			if got, err := arrives(t, r.Peek); got != "" || !errors.Is(err, c.want) {
				t.Errorf("got %q and %v, want %v", got, err, c.want)
			}
		})
	}
	near, _ := pair(t)
	r, err := NewReader(near)
	if err != nil {
		t.Fatal(err)
	}
	_ = near.Close()
	if _, err := r.Read(make([]byte, 1)); err == nil || errors.Is(err, ErrNothing) {
		t.Errorf("got %v of a connection that we closed, want a failure", err)
	}
}

func TestALookAllocatesNothing(t *testing.T) {
	near, _ := pair(t)
	r, err := NewReader(near)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 1)
	if got := testing.AllocsPerRun(100, func() { _, _ = r.Read(p) }); got > 0 {
		t.Errorf("got %v allocations a look, want none", got)
	}
}

func BenchmarkRead(b *testing.B) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	c, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	r, err := NewReader(c.(*net.TCPConn))
	if err != nil {
		b.Fatal(err)
	}
	p := make([]byte, 1)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = r.Read(p)
	}
}
