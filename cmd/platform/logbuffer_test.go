package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestALogLineWaitsATenthOfASecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &locked{} // the timer writes while the test reads
		lines := &lineBuffer{to: out}
		_, _ = lines.Write([]byte("one\n"))
		_, _ = lines.Write([]byte("two\n"))
		if out.String() != "" {
			t.Errorf("got %q at once, want it to wait", out.String())
		}
		time.Sleep(lineDelay)
		synctest.Wait()
		if out.String() != "one\ntwo\n" {
			t.Errorf("got %q, want both lines", out.String())
		}
		_, _ = lines.Write([]byte("three\n"))
		lines.flush()
		if !strings.HasSuffix(out.String(), "three\n") {
			t.Errorf("got %q, want the third line written by flush", out.String())
		}
	})
}

func TestManyLogLinesDoNotWait(t *testing.T) {
	out := &locked{} // the timer may write while the test reads
	lines := &lineBuffer{to: out}
	line := strings.Repeat("x", 1023) + "\n"
	for range 100 {
		_, _ = lines.Write([]byte(line))
	}
	if kept := 100*len(line) - len(out.String()); kept >= lineRoom {
		t.Errorf("got %d bytes waiting, want less than %d", kept, lineRoom)
	}
}
