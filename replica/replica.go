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
	// seenWithin is how long ago a replica that runs has called Beat at most.
	seenWithin = 4 * BeatEvery
	// keptFor is how long the row of a process that was killed is kept.
	keptFor = time.Hour
	// most is how many replicas are read.
	most = 1000
)

// Redis says which Redis a replica uses.
type Redis string

// The kinds of Redis. Replicas with an in-process one do not hear of each other's changes at once.
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
	Ahead      time.Duration // of its clock before the database's, in whole milliseconds; below zero if it is behind
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

// Beat writes self, and returns it with Ahead, Started and Seen as they are now. It fails with
// db.ErrUnavailable, and with the db.Err… of its cause if that is known. Then nothing was written.
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

// ahead is how far our clock is ahead of another one, which was read between began and ended of
// ours.
func ahead(at, began, ended time.Time) time.Duration {
	switch {
	case at.Before(began.Truncate(time.Millisecond)): // the database's clock has whole milliseconds
		return began.Sub(at)
	case at.After(ended):
		return ended.Sub(at)
	}
	return 0
}

// Running returns the replicas that run, the oldest first. Those that were killed in the last 20 s
// are among them.
func (r *Registry) Running(ctx context.Context) ([]Replica, error) {
	at, err := db.Now(ctx, r.db)
	if err != nil {
		return nil, err
	}
	return selectSeen(ctx, r.db, at.Add(-seenWithin))
}

// Others returns which of the running replicas were seen since self started, self excepted. A row
// that a killed process left, perhaps self's predecessor, is not among them.
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

// proofSize is the size of the row that Prove writes, in bytes: more than usually fits into pages
// that a database on a full disk has free.
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
