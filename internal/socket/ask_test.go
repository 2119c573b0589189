//go:build unix

package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// asks returns a pair of connections, and the Reader of the near one.
func asks(t *testing.T) (near, far *net.TCPConn, r *Reader) {
	t.Helper()
	near, far = pair(t)
	r, err := NewReader(near)
	if err != nil {
		t.Fatal(err)
	}
	return near, far, r
}

func deadline(t *testing.T, c *net.TCPConn, at time.Time) {
	t.Helper()
	if err := c.SetReadDeadline(at); err != nil {
		t.Fatal(err)
	}
}

const question = "question"

func TestAskWaitsForTheAnswerAndLeavesIt(t *testing.T) {
	_, far, r := asks(t)
	answered := make(chan error, 1)
	go func() {
		got := make([]byte, len(question))
		_, err := io.ReadFull(far, got)
		time.Sleep(20 * time.Millisecond)
		_, wrong := far.Write(bytes.ToUpper(got))
		answered <- errors.Join(err, wrong)
	}()
	p := make([]byte, 16)
	if wrote, n, err := r.Ask([]byte(question), p); wrote != len(question) || n != 0 || err != nil {
		t.Errorf("got %d written, %d read, %v", wrote, n, err)
	}
	if got, err := arrives(t, r.Read); got != "QUESTION" || err != nil {
		t.Errorf("got %q and %v after Ask, want the answer", got, err)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestAskWritesNothingIfSomethingHasArrived(t *testing.T) {
	for what, before := range map[string]func(far *net.TCPConn) error{
		"surplus": func(far *net.TCPConn) error { _, err := io.WriteString(far, "surplus"); return err },
		"":        func(far *net.TCPConn) error { return far.CloseWrite() },
	} {
		near, far, r := asks(t)
		deadline(t, near, time.Now().Add(10*time.Second))
		if err := before(far); err != nil {
			t.Fatal(err)
		}
		_, _ = arrives(t, r.Peek)
		p := make([]byte, 16)
		wrote, n, err := r.Ask([]byte(question), p)
		if wrote != 0 || string(p[:n]) != what || what == "" && err != io.EOF {
			t.Errorf("got %d written, %q read, %v; want %q", wrote, p[:n], err, what)
		}
		_ = near.CloseWrite()
		if sent, err := io.ReadAll(far); len(sent) > 0 || err != nil {
			t.Errorf("%q: got %q sent, %v", what, sent, err)
		}
	}
}

// What arrives between the look and the wait must end the wait: its edge is not seen twice.
func TestAskMissesNothing(t *testing.T) {
	near, far, r := asks(t)
	end := time.Now().Add(time.Minute)
	deadline(t, near, end)
	p := make([]byte, 16)
	for i := range 2000 {
		stray := make(chan error, 1)
		go func() {
			for range i % 40 * 50 { // so that it comes at any moment
			}
			_, err := io.WriteString(far, "x")
			stray <- err
		}()
		wrote, n, err := r.Ask([]byte(question), p)
		if err := errors.Join(err, <-stray); err != nil {
			t.Fatal(err)
		}
		got := string(p[:n])
		if n == 0 {
			got, err = arrives(t, r.Read)
		}
		if !time.Now().Before(end) {
			t.Fatalf("turn %d: the wait ended at its deadline, not when something arrived", i)
		}
		if got != "x" || err != nil {
			t.Fatalf("turn %d: got %d written, %q and %v, want x", i, wrote, got, err)
		}
		if _, err := io.ReadFull(far, make([]byte, wrote)); err != nil {
			t.Fatal(err)
		}
	}
}

// If the thread was interrupted between look and write, what arrived meanwhile is read at once.
func TestAskDoesNotWaitAfterAWriteThatWasHeldUp(t *testing.T) {
	near, _, r := asks(t)
	deadline(t, near, time.Now().Add(time.Minute))
	r.asking.heldUp = -1
	p := make([]byte, 16)
	if wrote, n, err := r.Ask([]byte(question), p); wrote != len(question) || n != 0 || err != nil {
		t.Errorf("got %d written, %d read, %v", wrote, n, err)
	}
	if _, err := r.Read(p); err != ErrNothing {
		t.Errorf("got %v, want it not to wait for what never comes", err)
	}
}

func TestAskEndsAtTheDeadline(t *testing.T) {
	near, far, r := asks(t)
	deadline(t, near, time.Now().Add(20*time.Millisecond))
	p := make([]byte, 16)
	if wrote, n, err := r.Ask([]byte(question), p); wrote != len(question) || n != 0 || err != nil {
		t.Errorf("got %d written, %d read, %v", wrote, n, err)
	}
	deadline(t, near, time.Unix(1, 0))
	if wrote, n, err := r.Ask([]byte(question), p); wrote != 0 || n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %d written, %d read, %v after the deadline, want nothing done", wrote, n, err)
	}
	_ = near.CloseWrite()
	if sent, err := io.ReadAll(far); string(sent) != question || err != nil {
		t.Errorf("got %q sent, %v, want one question", sent, err)
	}
}

func TestAskWritesWhatFitsAndDoesNotWaitThen(t *testing.T) {
	_, _, r := asks(t)
	long := make([]byte, 64<<20) // more than any system's buffers
	for total := 0; ; {
		wrote, n, err := r.Ask(long, make([]byte, 16))
		if n != 0 || err != nil || total == 0 && wrote == 0 {
			t.Fatalf("got %d written, %d read, %v after %d", wrote, n, err, total)
		}
		if total += wrote; wrote == 0 {
			break
		}
		if total >= len(long) {
			t.Fatalf("got %d bytes written that nobody reads", total)
		}
	}
}

func TestAskAllocatesNothing(t *testing.T) {
	_, far, r := asks(t)
	if _, err := far.Write(make([]byte, 200)); err != nil {
		t.Fatal(err)
	}
	_, _ = arrives(t, r.Peek)
	p := make([]byte, 1)
	if got := testing.AllocsPerRun(100, func() { _, _, _ = r.Ask(nil, p) }); got > 0 {
		t.Errorf("got %v allocations, want none", got)
	}
}
