package tenant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"wxplatform/audit"
	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
)

// trail returns all entries with this action.
func (w *world) trail(what audit.Action) []audit.Entry {
	w.t.Helper()
	return got(audit.New(w.db).Newest(w.t.Context(), audit.Filter{Action: what}, 0, 10_000))(w.t)
}

// follow returns what a follower of the trail sees, until there are so many entries.
func follow(t *testing.T, d *db.DB, after audit.ID, many int) <-chan []audit.Entry {
	seen := make(chan []audit.Entry, 1)
	go func() {
		var all []audit.Entry
		enough := errors.New("enough")
		_ = audit.New(d).Follow(t.Context(), audit.Filter{}, after, func(e audit.Entry) error {
			if all = append(all, e); len(all) == many {
				return enough
			}
			return nil
		}, func(err error) { t.Error(err) })
		seen <- all
	}()
	return seen
}

func TestEachOfManySimultaneousOrdersIsRecordedOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorldOn(t, d, dbtest.Ring(t))
		const orderers, each = 6, 5
		last := got(audit.New(d).Last(t.Context()))(t)
		seen := follow(t, d, last, 2*orderers*each)
		var ordering sync.WaitGroup
		for o := range orderers {
			ordering.Go(func() {
				for i := range each {
					n := o*each + i + 1
					_, _, creating := w.CreateClient(t.Context(), tester, w.tenant.ID, fmt.Sprint(n), NewScopes(KFSessionRead))
					if err := errors.Join(creating, w.SetLimit(t.Context(), tester, w.tenant.ID, Limit{n, n})); err != nil {
						t.Error(err)
					}
				}
			})
		}
		ordering.Wait()
		if limits := w.trail(audit.TenantLimit); len(limits) != orderers*each {
			t.Errorf("got %d entries of limits, want %d", len(limits), orderers*each)
		} else {
			w.follows(limits)
		}
		followed := <-seen
		if all := got(audit.New(d).List(t.Context(), audit.Owner(w.tenant.ID), last, 1000))(t); !slices.Equal(followed, all) {
			t.Errorf("got %d entries followed, want the %d in their order", len(followed), len(all))
		}
		if created := w.clientsOf(followed); len(created) != orderers*each {
			t.Errorf("got %d clients, want an entry for each of %d", len(created), orderers*each)
		}
	})
}

// follows fails unless each change of the limit begins with what the one before left, and the last
// is the tenant's.
func (w *world) follows(limits []audit.Entry) {
	w.t.Helper()
	is := w.tenant.limits()
	for _, e := range limits {
		if e.Before != is {
			w.t.Errorf("got a change from %s, want one from %s", e.Before, is)
		}
		is = e.After
	}
	if now := got(w.ShowTenant(w.t.Context(), w.tenant.ID))(w.t).limits(); now != is {
		w.t.Errorf("got the limit %s, want that of the last entry, %s", now, is)
	}
}

func (w *world) clientsOf(entries []audit.Entry) map[string]bool {
	created := map[string]bool{}
	for _, e := range entries {
		if e.Action == audit.ClientCreate {
			created[e.Subject] = true
		}
	}
	return created
}

func TestEachChangeOfALimitIsRecorded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorldOn(t, d, dbtest.Ring(t))
		const none = `{"requests_per_second":null,"burst":null}`
		for _, c := range []struct {
			id   ID
			to   Limit
			want string // the new entry's values, "" for none
			err  error
		}{
			{w.tenant.ID, Limit{}, "", nil}, // it had none
			{w.tenant.ID, Limit{700, 1400}, none + ` {"requests_per_second":700,"burst":1400}`, nil},
			{w.tenant.ID, Limit{700, 1400}, "", nil},
			{w.tenant.ID, Limit{700, 700}, `{"requests_per_second":700,"burst":1400} {"requests_per_second":700,"burst":700}`, nil},
			{w.tenant.ID, Limit{0, 1}, "", ErrInvalid},
			{"tnobody", Limit{1, 1}, "", ErrUnknownTenant},
			{w.tenant.ID, Limit{}, `{"requests_per_second":700,"burst":700} ` + none, nil},
		} {
			before, entry := len(w.trail(audit.TenantLimit)), ""
			if err := w.SetLimit(t.Context(), tester, c.id, c.to); !errors.Is(err, c.err) {
				t.Errorf("%v: got %v, want %v", c.to, err, c.err)
			}
			for _, e := range w.trail(audit.TenantLimit)[before:] {
				entry += e.Before.String() + " " + e.After.String()
			}
			if entry != c.want {
				t.Errorf("%v: got %q, want %q", c.to, entry, c.want)
			}
		}
	})
}

func TestAnOutageLeavesALimitAndItsEntryOrNeither(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorldOn(t, d, dbtest.Ring(t))
		fate := db.Done
		d.Gate = func(_ context.Context, text string, _ []any) db.Fate {
			if text == "" { // a transaction
				return fate
			}
			return db.Done
		}
		entries := 0
		for rate, c := range []struct {
			fate db.Fate
			done int
		}{{db.Refused, 0}, {db.Undone, 0}, {db.Unheard, 1}, {db.Undone, 0}, {db.Unheard, 1}} {
			fate = c.fate
			if err := w.SetLimit(t.Context(), tester, w.tenant.ID, Limit{rate + 1, 1}); !errors.Is(err, db.ErrUnavailable) {
				t.Errorf("fate %v: got %v, want ErrUnavailable", c.fate, err)
			}
			entries += c.done
			limits := w.trail(audit.TenantLimit)
			if len(limits) != entries {
				t.Errorf("fate %v: got %d entries, want %d", c.fate, len(limits), entries)
			}
			w.follows(limits)
		}
	})
}
