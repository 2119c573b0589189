package main

import (
	"io"
	"sync"
	"time"
)

// lineBuffer writes log lines together, for a system call a line costs more than to make the line. A line waits for lineDelay at most: what a crash may lose.
type lineBuffer struct {
	to io.Writer

	mu      sync.Mutex
	waiting []byte
}

const (
	lineDelay = 100 * time.Millisecond
	lineRoom  = 64 << 10 // bytes; more are not kept waiting
)

// Write takes one line.
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

// flush writes what waits. Lines that cannot be written are lost, as they would be without the buffer.
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
