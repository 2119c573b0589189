package main

import (
	"sync/atomic"
	"time"
)

// lateness is how long the upstream takes to answer a close: nothing, until set is called. All
// answers are equally late, so they are due in the order in which they began to wait.
type lateness struct {
	by      atomic.Int64 // nanoseconds
	waiting chan pending
}

// pending is an answer that waits. due gets an element at the time.
type pending struct {
	at  time.Time
	due chan<- struct{}
}

// mostPending is more answers than ever wait: the platform keeps fewer connections.
const mostPending = 10_000

func newLateness() *lateness { return &lateness{waiting: make(chan pending, mostPending)} }

func (l *lateness) set(by time.Duration) { l.by.Store(int64(by)) }

// run wakes the answers that wait, until the channel is closed or a fails.
func (l *lateness) run(a *alarm) error {
	for next := range l.waiting {
		if err := a.wait(next.at); err != nil {
			return err
		}
		next.due <- struct{}{}
	}
	return nil
}

// wait returns when an answer to a request that arrived just now is due.
func (l *lateness) wait(due chan struct{}) {
	by := time.Duration(l.by.Load())
	if by == 0 {
		return
	}
	l.waiting <- pending{time.Now().Add(by), due}
	<-due
}
