package replica

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
)

// process returns a replica that serves, as its first Beat would write it.
func process(host string) Replica {
	self := New()
	self.Host, self.Address, self.Version, self.SealingKey, self.Redis = host, host+":9090", "v1", "k", Shared
	return self
}

func must[T any](t *testing.T, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func beat(t *testing.T, r *Registry, self Replica) Replica {
	t.Helper()
	self, err := r.Beat(t.Context(), self)
	return must(t, self, err)
}

func running(t *testing.T, r *Registry) []Replica {
	t.Helper()
	all, err := r.Running(t.Context())
	return must(t, all, err)
}

func TestARunningReplicaIsListedAsItLastWasUntilItLeaves(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := NewRegistry(d)
		self := beat(t, r, process("a"))
		started := self.Started
		self.Reasons = []Reason{{"no-ticket", "no ticket", "没有 ticket"}, {"redis-away", "Redis is away: \x00 €", ""}}
		self = beat(t, r, self)
		if got := running(t, r); len(got) != 1 || !reflect.DeepEqual(got[0], self) || !self.Started.Equal(started) {
			t.Errorf("got %+v, want %+v", got, self)
		}
		must(t, 0, r.Leave(t.Context(), self))
		if got := running(t, r); len(got) != 0 {
			t.Errorf("got %+v after it left", got)
		}
	})
}

// A process that was killed leaves its row. It is no other replica for the one that replaces it.
func TestARowThatAKilledProcessLeftIsNoOtherReplica(t *testing.T) {
	d := dbtest.SQLite(t)
	at := time.Now().Truncate(time.Millisecond)
	d.Clock = func() time.Time { return at }
	r := NewRegistry(d)
	r.Clock = d.Clock
	killed := beat(t, r, process("a"))
	at = at.Add(time.Second)
	self := beat(t, r, process("a"))
	if got := Others(self, running(t, r)); len(got) != 0 {
		t.Errorf("got %+v, want no other", got)
	}
	at = at.Add(BeatEvery)
	other := beat(t, r, process("b"))
	self = beat(t, r, self)
	if got := Others(self, running(t, r)); len(got) != 1 || got[0].ID != other.ID {
		t.Errorf("got %+v, want %s", got, other.ID)
	}
	at = at.Add(seenWithin)
	if got := running(t, r); len(got) != 0 {
		t.Errorf("got %+v, which were not seen for long", got)
	}
	at = at.Add(2 * keptFor)
	must(t, 0, r.Leave(t.Context(), self))
	if n, err := db.One(t.Context(), d, db.Value[int64], `SELECT COUNT(*) FROM replicas WHERE id = $1`, killed.ID); n != 0 || err != nil {
		t.Errorf("got %d rows of the killed process, %v, want them removed", n, err)
	}
}

func TestTheClockIsComparedWithTheDatabases(t *testing.T) {
	d := dbtest.SQLite(t)
	at := time.Now()
	d.Clock = func() time.Time { return at }
	r := NewRegistry(d)
	for _, off := range []time.Duration{0, 12 * time.Second, -2 * time.Minute} {
		r.Clock = func() time.Time { return at.Truncate(time.Millisecond).Add(off) }
		if got := beat(t, r, process("a")); got.Ahead != off {
			t.Errorf("got %v ahead, want %v", got.Ahead, off)
		}
	}
	// What the reading took is no difference.
	began := at
	for read, want := range map[time.Duration]time.Duration{time.Second: 0, 3 * time.Second: -time.Second, -time.Second: time.Second} {
		if got := ahead(began.Add(read), began, began.Add(2*time.Second)); got != want {
			t.Errorf("read %v after it began: got %v, want %v", read, got, want)
		}
	}
}

func TestProvingAWriteLeavesNothingAndListsNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := NewRegistry(d)
		must(t, 0, r.Prove(t.Context()))
		if n, err := db.One(t.Context(), d, db.Value[int64], `SELECT COUNT(*) FROM replicas`); n != 0 || err != nil {
			t.Errorf("got %d rows, %v, want none", n, err)
		}
		beat(t, r, New()) // as a doctor that was killed leaves it
		if got := running(t, r); len(got) != 0 {
			t.Errorf("got %+v, want no replica", got)
		}
	})
}

// A small row finds room in the pages that a database on a full disk has.
func TestAProofNeedsRoom(t *testing.T) {
	d := dbtest.SQLite(t)
	if _, err := db.Exec(t.Context(), d, `PRAGMA max_page_count = 1`); err != nil { // of the pool's only connection
		t.Fatal(err)
	}
	r := NewRegistry(d)
	beat(t, r, process("a"))
	if err := r.Prove(t.Context()); !errors.Is(err, db.ErrFull) {
		t.Errorf("got %v, want db.ErrFull", err)
	}
}

func TestADatabaseThatTakesNoWritesFailsTheProof(t *testing.T) {
	d := dbtest.SQLite(t)
	d.Gate = func(_ context.Context, text string, _ []any) db.Fate {
		if strings.Contains(text, "INSERT") {
			return db.Refused
		}
		return db.Done
	}
	r := NewRegistry(d)
	_, err := r.Beat(t.Context(), process("a"))
	if !errors.Is(err, db.ErrUnavailable) || !errors.Is(r.Prove(t.Context()), db.ErrUnavailable) {
		t.Errorf("got %v, want db.ErrUnavailable", err)
	}
}
