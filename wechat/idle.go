package wechat

import (
	"slices"
	"sort"
	"sync"
	"time"

	"wxplatform/internal/socket"
)

const (
	mostIdle     = 256
	idlePatience = 50 * time.Second // WeChat's front ends close after about a minute
	// settleTime is how long a connection is left alone after an answer. By then a second answer,
	// or the end of the connection, which a faulty or simple front end sends right after the first,
	// has arrived.
	settleTime = 100 * time.Millisecond
)

// idle holds the connections that wait for their next request.
type idle struct {
	mu    sync.Mutex
	conns []*connection // ordered by when they became idle
}

// take removes and returns the connection that was used last among those that have settled. If none
// has, it returns nil, so that a new one is dialled; but if there are many connections, counting
// those in use, it returns the one that has been idle longest.
func (i *idle) take(inUse int) *connection {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch n := i.settled(); {
	case n > 0:
		return i.remove(n - 1)
	case len(i.conns) > 0 && len(i.conns)+inUse > mostIdle:
		return i.remove(0)
	}
	return nil
}

// settled counts the connections that have settled, which are the first ones. It looks at the first
// one alone before it searches: while there are many calls none has settled, and reading the others
// would only cost cache misses.
func (i *idle) settled() int {
	now := time.Now()
	unsettled := func(at int) bool { return now.Sub(i.conns[at].since) <= settleTime }
	if len(i.conns) == 0 || unsettled(0) {
		return 0
	}
	return sort.Search(len(i.conns), unsettled)
}

// first removes and returns the connection that has been idle longest, or nil.
func (i *idle) first() *connection {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.conns) == 0 {
		return nil
	}
	return i.remove(0)
}

func (i *idle) remove(at int) *connection {
	c := i.conns[at]
	i.conns = slices.Delete(i.conns, at, at+1)
	return c
}

// put keeps c for another call. It closes the connection that has been idle longest if that was too
// long, or if there are too many. If connections cannot be inspected, none is kept.
func (i *idle) put(c *connection) {
	if !socket.Able {
		_ = c.Close()
		return
	}
	c.carried()
	i.mu.Lock()
	c.since = time.Now()
	i.conns = append(i.conns, c)
	var old *connection
	if first := i.conns[0]; len(i.conns) > mostIdle || c.since.Sub(first.since) > idlePatience {
		old = i.remove(0)
	}
	i.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
}

func (i *idle) close() {
	i.mu.Lock()
	all := i.conns
	i.conns = nil
	i.mu.Unlock()
	for _, c := range all {
		_ = c.Close()
	}
}
