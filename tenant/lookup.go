package tenant

import (
	"context"
	"fmt"
	"sync"
	"time"

	"wxplatform/internal/bucket"
	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
)

const (
	lookupsAtOnce   = 2
	triesRemembered = 20_000
	triedFor        = 3 * time.Second
)

// lookupRate limits the statements that look up clients, in each process.
var lookupRate = bucket.Rate{Every: 10 * time.Millisecond, Burst: 50}

// lookups reads clients by id, all that wait with one statement. Anyone may try made-up ids, so the
// number of statements is limited. An id that comes above the limit waits for the next statement
// and is not refused: among the made-up ids may be that of a client that this process does not know
// yet.
type lookups struct {
	db    *db.DB
	pace  bucket.Bucket
	slots chan struct{} // one element for each statement in flight

	mu   sync.Mutex
	next *lookup // which the next statement will read; nil if nobody waits
}

func newLookups(d *db.DB) *lookups { return &lookups{db: d, slots: make(chan struct{}, lookupsAtOnce)} }

// lookup is one statement: the ids that it reads, and what it found.
type lookup struct {
	ids   map[ClientID]bool
	done  chan struct{}
	found map[ClientID]credential
	err   error
}

// find reads the client from SQL. It fails with ErrUnknownClient or db.ErrUnavailable.
func (l *lookups) find(ctx context.Context, id ClientID) (credential, error) {
	joined, first := l.join(id)
	if first {
		l.run(ctx, joined)
	}
	select {
	case <-joined.done:
	case <-ctx.Done():
		return credential{}, context.Cause(ctx)
	}
	if joined.err != nil {
		return credential{}, joined.err
	}
	c, known := joined.found[id]
	if !known {
		return credential{}, fmt.Errorf("%w: %s", ErrUnknownClient, id)
	}
	return c, nil
}

// join adds the id to the next lookup. The first to join runs it.
func (l *lookups) join(id ClientID) (joined *lookup, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if first = l.next == nil; first {
		l.next = &lookup{ids: map[ClientID]bool{}, done: make(chan struct{}), err: db.ErrUnavailable}
	}
	l.next.ids[id] = true
	return l.next, first
}

// run waits until a statement may be sent, and reads all ids that joined until then. It goes on for
// the others if ctx ends.
func (l *lookups) run(ctx context.Context, mine *lookup) {
	defer close(mine.done)
	l.slots <- struct{}{}
	defer func() { <-l.slots }()
	for {
		wait, ok := l.pace.Take(lookupRate, time.Now())
		if ok {
			break
		}
		time.Sleep(wait)
	}
	l.mu.Lock()
	l.next = nil
	l.mu.Unlock()
	mine.found, mine.err = selectClientsByID(context.WithoutCancel(ctx), l.db, mine.ids)
}

// tries remembers for some seconds what SQL has of clients that were tried with a secret that is
// not theirs: the zero credential if there is no such client. So one that is tried again costs
// nothing.
type tries struct {
	now   func() time.Time
	found *mirror.Local[ClientID, try]
}

type try struct {
	credential
	until time.Time
}

func newTries(now func() time.Time) *tries {
	return &tries{now: now, found: mirror.NewLocal[ClientID, try](triesRemembered)}
}

func (t *tries) last(id ClientID) (last credential, recent bool) {
	tried, found := t.found.Get(id)
	return tried.credential, found && t.now().Before(tried.until)
}

func (t *tries) remember(id ClientID, found credential) {
	t.found.Set(id, try{found, t.now().Add(triedFor)})
}
