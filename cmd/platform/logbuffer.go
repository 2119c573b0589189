package main

import (
	"io"
	"sync"
	"time"
)

// lineBuffer writes log lines in batches: a system call for each line costs more than formatting
// it. A line waits at most lineDelay, so a crash loses no more than that.
type lineBuffer struct {
	to io.Writer

	mu      sync.Mutex
	waiting []byte
}

const (
	lineDelay = 100 * time.Millisecond
	lineRoom  = 64 << 10 // bytes; a full buffer is written at once
)

// Write takes one line. It never fails.
func (b *lineBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		time.AfterFunc(lineDelay, b.flush)
	}
	b.waiting = append(b.waiting, line...)
	if len(b.waiting) >= lineRoom {
		b.writeOut()
	}
	return len(line), nil
}

// flush writes the lines that wait. Lines that cannot be written are lost, as without the buffer.
func (b *lineBuffer) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writeOut()
}

func (b *lineBuffer) writeOut() {
	if len(b.waiting) > 0 {
		_, _ = b.to.Write(b.waiting)
		b.waiting = b.waiting[:0]
	}
}
