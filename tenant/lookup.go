package tenant

import (
	"context"
	"fmt"
	"maps"
	"slices"
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
	ids   map[ClientID]int // how many wait for each
	turn  chan struct{}    // whoever receives from it sends the statement
	done  chan struct{}
	found map[ClientID]credential
	err   error
}

// find reads the client from SQL. It fails with ErrUnknownClient, db.ErrUnavailable, or the cause
// of ctx's end.
func (l *lookups) find(ctx context.Context, id ClientID) (credential, error) {
	joined := l.join(id)
	select {
	case <-joined.done:
		return joined.of(id)
	case <-joined.turn:
		if l.send(ctx, joined) {
			return joined.of(id)
		}
	case <-ctx.Done():
	}
	l.leave(joined, id)
	return credential{}, context.Cause(ctx)
}

func (l *lookup) of(id ClientID) (credential, error) {
	if l.err != nil {
		return credential{}, l.err
	}
	c, known := l.found[id]
	if !known {
		return credential{}, fmt.Errorf("%w: %s", ErrUnknownClient, id)
	}
	return c, nil
}

// join adds the id to the next lookup.
func (l *lookups) join(id ClientID) *lookup {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == nil {
		l.next = &lookup{ids: map[ClientID]int{}, turn: make(chan struct{}, 1), done: make(chan struct{}), err: db.ErrUnavailable}
		l.next.turn <- struct{}{}
	}
	l.next.ids[id]++
	return l.next
}

// leave takes the id of a caller that has left out of a lookup that has not been sent.
func (l *lookups) leave(joined *lookup, id ClientID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if joined != l.next {
		return
	}
	if joined.ids[id]--; joined.ids[id] == 0 {
		delete(joined.ids, id)
	}
}

// send waits until a statement may be sent, and reads all ids that joined until then. If ctx ends
// before, it reports false, and it is the turn of another that waits.
func (l *lookups) send(ctx context.Context, mine *lookup) bool {
	if !l.admitted(ctx) {
		mine.turn <- struct{}{}
		return false
	}
	defer func() { <-l.slots }()
	l.mu.Lock()
	l.next = nil
	l.mu.Unlock()
	defer close(mine.done)
	mine.found, mine.err = selectClientsByID(context.WithoutCancel(ctx), l.db, slices.Collect(maps.Keys(mine.ids)))
	return true
}

// admitted takes a slot once the pace allows a statement, or reports false when ctx ends.
func (l *lookups) admitted(ctx context.Context) bool {
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	for {
		wait, ok := l.pace.Take(lookupRate, time.Now())
		if ok {
			return true
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			<-l.slots
			return false
		}
	}
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
