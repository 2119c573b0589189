// Package replica keeps one row for each process that serves: where it runs, which version it is,
// how far its clock is from the database's, which Redis it uses, and why it is degraded. Operators
// see all replicas from any of them. Writing the row proves that the database takes writes. The
// package owns the table replicas.
package replica

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"

	"wxplatform/internal/db"
)

const (
	// BeatEvery is how often a replica calls Beat.
	BeatEvery = 5 * time.Second
	// seenWithin is how long after its last Beat a replica counts as running.
	seenWithin = 4 * BeatEvery
	// keptFor is how long the row of a process that was killed is kept at least.
	keptFor = time.Hour
	// most is how many replicas are read at most.
	most = 1000
)

// Redis says which Redis a replica uses.
type Redis string

// The kinds of Redis. Replicas that do not share one learn late of each other's changes.
const (
	Shared    Redis = "shared"
	InProcess Redis = "in-process"
)

// Reason is why a replica is degraded.
type Reason struct {
	Code   string `json:"code"` // such as "redis-away"
	Text   string `json:"text"`
	TextZH string `json:"text_zh,omitempty"` // in Chinese; older versions wrote none
}

// Replica is a process that serves.
type Replica struct {
	ID         string // random, made when the process starts
	Host       string
	Address    string // of its operations listener
	Version    string
	SealingKey string // the id of the key that it seals with
	Redis      Redis
	Reasons    []Reason      // why it is degraded; none if it is ready
	Ahead      time.Duration // how far its clock is ahead of the database's, in whole milliseconds; negative if behind
	Started    time.Time     // by the database's clock
	Seen       time.Time     // when it last called Beat, by the database's clock
}

// New returns the replica that this process is, with a new ID.
func New() Replica { return Replica{ID: strings.ToLower(rand.Text()[:12])} }

// Registry reads and writes the rows. It is safe for concurrent use.
type Registry struct {
	db *db.DB
	// Clock replaces this process's clock, in tests only. Nil means time.Now.
	Clock func() time.Time
}

// NewRegistry returns the registry of the database.
func NewRegistry(d *db.DB) *Registry { return &Registry{db: d} }

func (r *Registry) now() time.Time {
	if r.Clock != nil {
		return r.Clock()
	}
	return time.Now()
}

// Beat writes self's row, and returns self with Ahead, Started and Seen as they are now. It fails
// with db.ErrUnavailable, and with the db.Err… of its cause if that is known.
func (r *Registry) Beat(ctx context.Context, self Replica) (Replica, error) {
	began := r.now()
	at, err := db.Now(ctx, r.db)
	if err != nil {
		return self, err
	}
	self.Ahead, self.Seen = ahead(at, began, r.now()).Truncate(time.Millisecond), at
	if self.Started.IsZero() {
		self.Started = at
	}
	return self, upsert(ctx, r.db, self)
}

// ahead returns how far our clock is ahead of another one that showed at when ours was between
// began and ended.
func ahead(at, began, ended time.Time) time.Duration {
	switch {
	case at.Before(began.Truncate(time.Millisecond)): // the database's clock has whole milliseconds
		return began.Sub(at)
	case at.After(ended):
		return ended.Sub(at)
	}
	return 0
}

// Running returns the replicas that run, the oldest first. One that was killed less than seenWithin
// ago may be among them.
func (r *Registry) Running(ctx context.Context) ([]Replica, error) {
	at, err := db.Now(ctx, r.db)
	if err != nil {
		return nil, err
	}
	return selectSeen(ctx, r.db, at.Add(-seenWithin))
}

// Others returns the running replicas except self that called Beat after self started. So it leaves
// out the row of self's predecessor, if that was killed.
func Others(self Replica, running []Replica) (others []Replica) {
	for _, one := range running {
		if one.ID != self.ID && one.Seen.After(self.Started) {
			others = append(others, one)
		}
	}
	return others
}

// Leave removes self's row, and those of processes that were killed more than an hour ago.
func (r *Registry) Leave(ctx context.Context, self Replica) error {
	at, err := db.Now(ctx, r.db)
	if err != nil {
		return err
	}
	return deleteRows(ctx, r.db, self.ID, at.Add(-keptFor))
}

// proofSize is the size of the row that Prove writes, in bytes. It is more than a database on a
// full disk usually has free in its pages.
const proofSize = 256 << 10

// Prove writes a large row and removes it again, which proves that the database takes writes and
// has room. It fails as Beat does.
func (r *Registry) Prove(ctx context.Context) error {
	large := make([]byte, proofSize/2)
	_, _ = rand.Read(large) // never fails. PostgreSQL compresses what is not random
	self := New()
	self.Version = hex.EncodeToString(large)
	self, err := r.Beat(ctx, self)
	if err != nil {
		return err
	}
	return r.Leave(ctx, self)
}
