package audit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
)

var ctx = context.Background()

const alice = Actor("operator:alice@host")

// write commits the changes, in transactions that are short on a busy machine too.
func write(t *testing.T, d *db.DB, changes ...Change) {
	t.Helper()
	for some := range slices.Chunk(changes, 100) {
		err := d.Tx(ctx, func(tx *db.Tx) error {
			for _, c := range some {
				Record(ctx, tx, alice, c)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// all returns all entries.
func all(t *testing.T, d *db.DB) []Entry {
	t.Helper()
	entries, err := New(d).Newest(ctx, Filter{}, 0, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func of(owner Owner, subject string) Change {
	return Change{Action: TenantSuspend, Owner: owner, Subject: subject, Before: Of(Null("suspended_at")), After: Of(Is("suspended_at", "now"))}
}

func TestAnEntrySaysWhoChangedWhat(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		at := time.UnixMilli(1_795_901_424_001)
		d.Clock = func() time.Time { return at }
		c := Change{Action: ClientSet, Owner: "t1", Subject: "c1", Before: Of(Is("scopes", "a b"), Is("n", 1)), After: Of(Is("scopes", "a<&>"), Null("n"))}
		write(t, d, c)
		want := Entry{ID(at.UnixMilli()), at, alice, "", c}
		if got := all(t, d); len(got) != 1 || got[0] != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func TestAnEntryIsCommittedWithItsChangeOrNotAtAll(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		boom := errors.New("boom")
		err := d.Tx(ctx, func(tx *db.Tx) error { Record(ctx, tx, alice, of("t1", "t1")); return boom })
		if got := all(t, d); !errors.Is(err, boom) || len(got) != 0 {
			t.Errorf("got %v and %v, want nothing of what was rolled back", got, err)
		}
		change := func() error {
			return d.Tx(ctx, func(tx *db.Tx) error {
				Record(ctx, tx, alice, of("t1", "t1"))
				_, err := db.Exec(ctx, tx, `INSERT INTO tenants (id, name, redirects, created_at) VALUES ('t1', 'Tea', '[]', 1)`)
				return err
			})
		}
		if _, err := db.Exec(ctx, d, `ALTER TABLE audit RENAME TO elsewhere`); err != nil {
			t.Fatal(err)
		}
		if err := change(); err == nil {
			t.Error("got a change without its entry")
		}
		if _, err := db.Exec(ctx, d, `ALTER TABLE elsewhere RENAME TO audit`); err != nil {
			t.Fatal(err)
		}
		if err := change(); err != nil { // the one before has left nothing
			t.Error(err)
		}
		if got := all(t, d); len(got) != 1 {
			t.Errorf("got %v, want one entry", got)
		}
	})
}

func TestIDsRiseWhateverTheClockDoes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		now := time.UnixMilli(2_000_000)
		d.Clock = func() time.Time { return now }
		write(t, d, of("t1", "a"), of("t1", "b"))
		now = time.UnixMilli(1_000_000)
		write(t, d, of("t1", "c"))
		now = time.UnixMilli(3_000_000)
		write(t, d, of("t1", "d"))
		var got []ID
		for _, e := range all(t, d) {
			got = append(got, e.ID)
		}
		if want := []ID{2_000_000, 2_000_001, 2_000_002, 3_000_000}; !slices.Equal(got, want) {
			t.Errorf("got %d, want %d", got, want)
		}
	})
}

func TestATenantReadsOnlyWhatIsAboutItself(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		write(t, d, of("t1", "a"), of("t2", "b"), of("", "c"), of("t1", "d"), of("t1", "e"))
		trail := New(d)
		read := func(owner Owner, after ID, limit int) (subjects string, last ID) {
			t.Helper()
			some, err := trail.List(ctx, owner, after, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range some {
				subjects, last = subjects+e.Subject, e.ID
			}
			return subjects, last
		}
		first, last := read("t1", 0, 2)
		rest, _ := read("t1", last, 2)
		others, _ := read("t2", 0, 10)
		nobodys, _ := read("", 0, 10)
		if first != "ad" || rest != "e" || others != "b" || nobodys != "" {
			t.Errorf("got %q, %q, %q and %q, want each its own", first, rest, others, nobodys)
		}
	})
}

func TestATenantIsNotToldWhichOperatorItWas(t *testing.T) {
	e := Entry{ID: 1, By: alice, Change: of("t1", "t1")}
	if v := e.TenantView(); v.Actor != (Who{Kind: "operator"}) || e.View().Actor != (Who{Kind: "operator", OSUser: "alice", Host: "host"}) {
		t.Errorf("got %+v and %+v, want name and host for the operator only", v.Actor, e.View().Actor)
	}
	e.By = Client("t1", "c1")
	if v := e.TenantView(); v != e.View() || v.Actor.Client != "c1" {
		t.Errorf("got %+v, want the tenant's client named", v)
	}
}

func TestTheOperatorChoosesEntries(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		now := time.UnixMilli(1_000_000)
		d.Clock = func() time.Time { return now }
		write(t, d, of("t1", "a"), of("t2", "b"))
		now = time.UnixMilli(2_000_000)
		other := of("t1", "c")
		other.Action = TenantResume
		write(t, d, other, of("", "d"))
		for name, c := range map[string]struct {
			f      Filter
			before ID
			limit  int
			want   string
		}{
			"all":        {Filter{}, 0, 9, "abcd"},
			"a tenant's": {Filter{Owner: "t1"}, 0, 9, "ac"},
			"an action":  {Filter{Action: TenantResume}, 0, 9, "c"},
			"since":      {Filter{Since: time.UnixMilli(1_000_001)}, 0, 9, "cd"},
			"the newest": {Filter{}, 0, 3, "bcd"},
			"older ones": {Filter{}, 2_000_000, 1, "b"},
		} {
			some, err := New(d).Newest(ctx, c.f, c.before, c.limit)
			got := ""
			for _, e := range some {
				got += e.Subject
			}
			if err != nil || got != c.want {
				t.Errorf("%s: got %q, %v, want %q", name, got, err, c.want)
			}
		}
	})
}

// Many transactions take their IDs at once and commit at different times. Whoever reads what is
// newer than the last one that it read misses none.
func TestAReaderMissesNoEntry(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		const writers, each = 8, 10
		var writing sync.WaitGroup
		for w := range writers {
			writing.Go(func() {
				for i := range each {
					writeSlowly(t, d, of("t1", fmt.Sprintf("%d-%d", w, i)))
				}
			})
		}
		done := make(chan struct{})
		go func() { writing.Wait(); close(done) }()
		seen := map[string]bool{}
		for after, ended := ID(0), false; ; {
			select {
			case <-done:
				ended = true
			default:
			}
			some, err := New(d).following(ctx, Filter{}, after, 3)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range some {
				seen[e.Subject], after = true, e.ID
			}
			if ended && len(some) == 0 {
				break
			}
		}
		if len(seen) != writers*each {
			t.Errorf("got %d entries, want %d", len(seen), writers*each)
		}
	})
}

// writeSlowly commits some time after the entry has got its ID.
func writeSlowly(t *testing.T, d *db.DB, c Change) {
	t.Helper()
	err := d.Tx(ctx, func(tx *db.Tx) error {
		Record(ctx, tx, alice, c)
		tx.Last(func(context.Context) error { time.Sleep(rand.N(5 * time.Millisecond)); return nil })
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestFollowPassesOldAndNewEntries(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		write(t, d, of("t1", "seen"))
		after, err := New(d).Last(ctx)
		if err != nil {
			t.Fatal(err)
		}
		write(t, d, of("t1", "old"), of("t2", "other"))
		following, stop := context.WithCancel(ctx)
		defer stop()
		passed, ended := make(chan string), make(chan error, 1)
		go func() {
			ended <- New(d).Follow(following, Filter{Owner: "t1"}, after, func(e Entry) error { passed <- e.Subject; return nil }, func(error) {})
		}()
		if got := <-passed; got != "old" {
			t.Errorf("got %q, want old", got)
		}
		write(t, d, of("t1", "new"))
		if got := <-passed; got != "new" {
			t.Errorf("got %q, want new", got)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("got %v, want no error of one that was told to stop", err)
		}
	})
}

func TestFollowWaitsForADatabaseThatIsUnavailable(t *testing.T) {
	d := dbtest.SQLite(t)
	var down bool
	var mu sync.Mutex
	d.Gate = func(context.Context, string, []any) db.Fate {
		mu.Lock()
		defer mu.Unlock()
		if down {
			return db.Refused
		}
		return db.Done
	}
	set := func(is bool) { mu.Lock(); defer mu.Unlock(); down = is }
	set(true)
	following, stop := context.WithCancel(ctx)
	defer stop()
	passed, lost := make(chan string), make(chan error, 100)
	go func() {
		_ = New(d).Follow(following, Filter{}, 0, func(e Entry) error { passed <- e.Subject; return nil }, func(err error) { lost <- err })
	}()
	if err := <-lost; !errors.Is(err, db.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	set(false)
	write(t, d, of("t1", "later"))
	if got := <-passed; got != "later" || len(lost) != 0 {
		t.Errorf("got %q and %d more reports, want later, and one report", got, len(lost))
	}
}

func TestFollowEndsWithItsReader(t *testing.T) {
	d := dbtest.SQLite(t)
	write(t, d, of("t1", "a"))
	boom := errors.New("boom")
	if err := New(d).Follow(ctx, Filter{}, 0, func(Entry) error { return boom }, func(error) {}); !errors.Is(err, boom) {
		t.Errorf("got %v, want the reader's error", err)
	}
}

// A clock that is set a year ahead makes every entry look old.
func TestNothingIsDeletedForADayAfterTheClockWasSet(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		own, ahead := time.Now().Add(-41*24*time.Hour), time.Duration(0) // young entries cannot be deleted at all
		d.Own = func() time.Time { return own }
		d.Clock = func() time.Time { return own.Add(ahead) }
		write(t, d, of("t1", "young"))
		trail := New(d)
		ahead = 2 * trail.Keep
		for _, c := range []struct {
			after time.Duration
			want  int
		}{{0, 1}, {afterJump - time.Second, 1}, {2 * time.Second, 0}} {
			own = own.Add(c.after)
			if err := trail.Sweep(ctx); err != nil {
				t.Fatal(err)
			}
			if got := all(t, d); len(got) != c.want {
				t.Errorf("got %d entries %v later, want %d", len(got), c.after, c.want)
			}
		}
	})
}

func TestWhatIsOlderThanKeepIsDeletedInBites(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		at := func(ago time.Duration) {
			d.Clock = func() time.Time { return time.Now().Add(-ago) }
			d.Own = d.Clock
		}
		const old = 601
		changes := make([]Change, old)
		for i := range changes {
			changes[i] = of("t1", "old")
		}
		at(41 * 24 * time.Hour)
		write(t, d, changes...)
		at(39 * 24 * time.Hour)
		write(t, d, of("t1", "young"))
		at(0)
		bites := 0
		d.Gate = func(_ context.Context, text string, _ []any) db.Fate {
			if strings.Contains(text, "DELETE FROM audit") {
				bites++
			}
			return db.Done
		}
		trail := New(d)
		trail.Keep = 40 * 24 * time.Hour
		if err := trail.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		if got := all(t, d); len(got) != 1 || got[0].Subject != "young" || bites != 2 {
			t.Errorf("got %d entries left and %d bites, want the young one and 2", len(got), bites)
		}
	})
}

func TestTheDatabaseItselfKeepsEntries(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		write(t, d, of("t1", "a"))
		tries := []string{`UPDATE audit SET actor = 'nobody'`, `DELETE FROM audit`}
		if d.Engine() == "postgres" {
			tries = append(tries, `TRUNCATE audit`)
		}
		for _, try := range tries {
			if _, err := db.Exec(ctx, d, try); err == nil || !strings.Contains(err.Error(), "audit trail") {
				t.Errorf("%s: got %v, want it refused", try, err)
			}
		}
		if got := all(t, d); len(got) != 1 || got[0].By != alice {
			t.Errorf("got %+v, want the entry as it was", got)
		}
	})
}

func TestSettingsAreRecordedWhereTheyDiffer(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		trail := New(d)
		for _, c := range []struct {
			now  map[string]string
			want string // of the new entry, "" for none
		}{
			{map[string]string{"B": "1", "A": ""}, ` {"A":"","B":"1"}`},
			{map[string]string{"A": "", "B": "1"}, ""},
			{map[string]string{"A": "", "B": "2"}, `{"B":"1"} {"B":"2"}`},
			{map[string]string{"B": "2", "C": "x"}, `{"A":"","C":null} {"A":null,"C":"x"}`},
			{map[string]string{"B": "2", "C": "x"}, ""},
		} {
			before := len(all(t, d))
			if err := trail.Settings(ctx, alice, c.now); err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, e := range all(t, d)[before:] {
				got += e.Before.String() + " " + e.After.String()
			}
			if got != c.want {
				t.Errorf("%v: got %q, want %q", c.now, got, c.want)
			}
		}
	})
}

func TestReplicasThatStartAtOnceRecordTheSettingsOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		var starting sync.WaitGroup
		for range 5 {
			starting.Go(func() {
				if err := New(d).Settings(ctx, alice, map[string]string{"A": "1"}); err != nil {
					t.Error(err)
				}
			})
		}
		starting.Wait()
		if got := all(t, d); len(got) != 1 {
			t.Errorf("got %d entries, want one", len(got))
		}
	})
}

func TestAnOutageIsNoEmptyTrail(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLiteURL(t))
	trail := New(d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	_, listing := trail.List(ctx, "t1", 0, 1)
	_, newest := trail.Newest(ctx, Filter{}, 0, 1)
	for _, err := range []error{listing, newest, trail.Sweep(ctx), trail.Settings(ctx, alice, nil)} {
		if !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
	}
}
