package tenant

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/seal"
)

// counted counts the statements that d carries out.
func counted(d *db.DB) *atomic.Int64 {
	var n atomic.Int64
	d.Gate = func(context.Context, string, []any) db.Fate {
		n.Add(1)
		return db.Done
	}
	return &n
}

func (w *world) tried(t *testing.T, r *Registry, id ClientID, secret seal.Secret) {
	t.Helper()
	_, err := r.Token(t.Context(), id, secret, "")
	wantErr(t, err, ErrWrongSecret)
}

// What an attempt costs must not tell whether the client exists.
func TestAnUnknownClientCostsAsMuchSQLAsAWrongSecret(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorldOn(t, d, dbtest.Ring(t))
		fresh := w.replica(t) // it does not know the client yet
		ghost := ClientID(newID("c", idLength))
		wrong, ghosts := newSecret(w.client.ID), newSecret(ghost)
		w.token() // so that w knows the client
		statements := counted(d)
		cost := func(r *Registry, id ClientID, secret seal.Secret) int64 {
			before := statements.Load()
			w.tried(t, r, id, secret)
			return statements.Load() - before
		}
		for name, r := range map[string]*Registry{"a process that knows the client": w.Registry, "one that does not": fresh} {
			if first, unknown := cost(r, w.client.ID, wrong), cost(r, ghost, ghosts); first != 1 || unknown != 1 {
				t.Errorf("%s: got %d statements for a wrong secret and %d for an unknown client, want 1", name, first, unknown)
			}
			if again, unknown := cost(r, w.client.ID, wrong), cost(r, ghost, ghosts); again != 0 || unknown != 0 {
				t.Errorf("%s, tried again: got %d statements for a wrong secret and %d for an unknown client, want none", name, again, unknown)
			}
		}
	})
}

func TestAWrongSecretLocksNoClientOut(t *testing.T) {
	w := newWorld(t)
	fresh := w.replica(t)
	for _, r := range []*Registry{w.Registry, fresh} {
		for range 3 {
			w.tried(t, r, w.client.ID, newSecret(w.client.ID))
		}
		got(r.Token(t.Context(), w.client.ID, w.secret, ""))(t)
	}
}

func TestAnAbsenceIsRememberedForSomeSecondsOnly(t *testing.T) {
	w := newWorld(t)
	c := Client{ID: ClientID(newID("c", idLength)), Tenant: w.tenant.ID, Name: "late", Scopes: NewScopes(KFSessionRead), Created: w.clock.Now()}
	secret := newSecret(c.ID)
	w.tried(t, w.Registry, c.ID, secret)
	must(t, insertClient(t.Context(), w.db, credential{Client: c, SecretHash: secret.Hash()}))
	w.clock.Move(triedFor)
	got(w.Token(t.Context(), c.ID, secret, ""))(t)
}

func TestARevokedClientIsRefusedByAProcessThatDoesNotKnowIt(t *testing.T) {
	w := newWorld(t)
	must(t, w.RevokeClient(t.Context(), tester, w.tenant.ID, w.client.ID))
	w.tried(t, w.replica(t), w.client.ID, w.secret)
}

// Strangers who try made-up ids get few statements in all, and a client that this process does not
// know yet gets its JWT meanwhile.
func TestManyUnknownClientsAreLookedUpTogether(t *testing.T) {
	w := newWorld(t)
	r := w.replica(t)
	const strangers = 200
	var lookups, inFlight, most atomic.Int64
	held := make(chan struct{})
	w.db.Gate = func(_ context.Context, text string, _ []any) db.Fate {
		if strings.Contains(text, "json_each") {
			lookups.Add(1)
			now := inFlight.Add(1)
			defer inFlight.Add(-1)
			most.Store(max(most.Load(), now))
			<-held
		}
		return db.Done
	}
	var all sync.WaitGroup
	for range strangers {
		all.Go(func() {
			ghost := ClientID(newID("c", idLength))
			_, err := r.Token(context.Background(), ghost, newSecret(ghost), "")
			wantErr(t, err, ErrWrongSecret)
		})
	}
	all.Go(func() {
		_, err := r.Token(context.Background(), w.client.ID, w.secret, "")
		wantErr(t, err, nil)
	})
	waiting := func() int {
		r.lookups.mu.Lock()
		defer r.lookups.mu.Unlock()
		if r.lookups.next == nil {
			return 0
		}
		return len(r.lookups.next.ids)
	}
	waitFor(t, func() bool { return waiting() >= strangers/2 })
	close(held)
	all.Wait()
	if most.Load() > lookupsAtOnce || lookups.Load() > strangers/2 {
		t.Errorf("got %d statements, %d at once, want few, and at most %d at once", lookups.Load(), most.Load(), lookupsAtOnce)
	}
}

// A caller that leaves while it waits for its turn waits no longer, and its turn passes to another.
func TestALookUpGoesOnWhenItsFirstCallerLeaves(t *testing.T) {
	w := newWorld(t)
	r := w.replica(t)
	for range lookupsAtOnce {
		r.lookups.slots <- struct{}{}
	}
	ghost := ClientID(newID("c", idLength))
	ctx, leave := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	callers.Go(func() {
		_, err := r.lookups.find(ctx, ghost)
		wantErr(t, err, context.Canceled)
	})
	waitFor(t, func() bool { return r.lookups.waiting(ghost) == 1 })
	answered := make(chan error)
	go func() {
		_, err := r.lookups.find(t.Context(), w.client.ID)
		answered <- err
	}()
	waitFor(t, func() bool { return r.lookups.waiting(w.client.ID) == 1 })
	leave()
	callers.Wait()
	if n := r.lookups.waiting(ghost); n != 0 {
		t.Errorf("got %d that wait for the client whose caller has left, want none", n)
	}
	<-r.lookups.slots
	wantErr(t, <-answered, nil)
}

func TestALookUpWhoseCallersAllLeftIsSentByTheNext(t *testing.T) {
	w := newWorld(t)
	r := w.replica(t)
	gone, leave := context.WithCancel(t.Context())
	leave()
	for range lookupsAtOnce {
		r.lookups.slots <- struct{}{}
	}
	for range 10 {
		_, err := r.lookups.find(gone, ClientID(newID("c", idLength)))
		wantErr(t, err, context.Canceled)
	}
	<-r.lookups.slots
	got(r.lookups.find(t.Context(), w.client.ID))(t)
}

// waiting is how many wait for the client in the next statement.
func (l *lookups) waiting(id ClientID) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == nil {
		return 0
	}
	return l.next.ids[id]
}
