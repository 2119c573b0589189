package inbox

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/queue"
	"wxplatform/internal/seal"
	"wxplatform/wechat"
)

const (
	flowers = wechat.AppID("wx00000000000000aa")
	books   = wechat.AppID("wx00000000000000bb")
)

func TestEventsOfOneAccountAreWorkedOneAtATimeInTheirOrder(t *testing.T) {
	now := time.Now()
	waiting := event{due: now.Add(-time.Second)}
	postponed := event{due: now.Add(time.Second), attempts: 1}
	hopeless := event{due: now.Add(time.Second), attempts: holdUp}
	hopelessAndDue := event{due: now, attempts: holdUp}
	atWork := event{due: now.Add(lease), lease: now.Add(lease), attempts: 1}
	hopelessAtWork := event{due: now.Add(lease), lease: now.Add(lease), attempts: holdUp}
	abandoned := event{due: now, lease: now, attempts: 1}
	clockSetBack := event{due: now.Add(-time.Second), lease: now.Add(time.Hour), attempts: 1}
	for name, c := range map[string]struct {
		line []event
		want string // for each whether it may be worked
	}{
		"alone":                             {[]event{waiting}, "y"},
		"three":                             {[]event{waiting, waiting, waiting}, "ynn"},
		"the first is at work":              {[]event{atWork, waiting}, "nn"},
		"a later one is at work":            {[]event{waiting, atWork, waiting}, "nnn"},
		"the first failed a moment ago":     {[]event{postponed, waiting}, "nn"},
		"the first fails all the time":      {[]event{hopeless, waiting, waiting}, "nyn"},
		"it is its turn again":              {[]event{hopelessAndDue, waiting}, "yn"},
		"it is at work":                     {[]event{hopelessAtWork, waiting}, "nn"},
		"the holder of the first died":      {[]event{abandoned, waiting}, "yn"},
		"a lease from before the clock":     {[]event{clockSetBack, waiting}, "yn"},
		"one fails behind one that may run": {[]event{waiting, hopeless, waiting}, "ynn"},
	} {
		got := ""
		for i := range c.line {
			c.line[i].hash = fmt.Sprint(i)
		}
		for i := range c.line {
			answer := "n"
			if e, ok := mayWork(c.line, fmt.Sprint(i), now); ok && e.hash == fmt.Sprint(i) {
				answer = "y"
			}
			got += answer
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
	if _, ok := mayWork([]event{waiting}, "finished meanwhile", now); ok {
		t.Error("got an event that waits no longer allowed")
	}
}

func TestThePauseGrows(t *testing.T) {
	for attempts, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, holdUp: 32 * time.Second, 9: 256 * time.Second, 10: longWait, 1000: longWait} {
		if got := pause(attempts); got != want {
			t.Errorf("after %d: got %v, want %v", attempts, got, want)
		}
	}
}

// replica is an inbox that stores and leases, and whose clock is the database's.
func replica(d *db.DB, ring *seal.Ring) *Inbox {
	b := &Inbox{db: d, ring: ring}
	b.queue = queue.New(events{b}, atOnce, round, patience)
	return b
}

func due(t *testing.T, b *Inbox) []event {
	t.Helper()
	all, err := events{b}.Due(t.Context(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func leased(t *testing.T, b *Inbox, e event) (event, bool) {
	t.Helper()
	e, ok, err := events{b}.Lease(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return e, ok
}

// Due lists what mayWork allows. Otherwise events that have to wait could keep others from being
// listed.
func TestTheListIsWhatMayBeWorked(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b, now := replica(d, dbtest.Ring(t)), time.UnixMilli(1_800_000_000_000)
		d.Clock = func() time.Time { return now }
		moments := rapid.SampledFrom([]time.Duration{-time.Second, 0, time.Second, lease, lease + time.Second})
		rapid.Check(t, func(r *rapid.T) {
			if _, err := db.Exec(t.Context(), d, `DELETE FROM events`); err != nil {
				r.Fatal(err)
			}
			lines := map[wechat.AppID][]event{}
			for n := range rapid.IntRange(1, 12).Draw(r, "events") {
				e := event{
					hash: fmt.Sprint(n), account: rapid.SampledFrom([]wechat.AppID{flowers, books, ""}).Draw(r, "account"), received: now.Add(-time.Duration(rapid.IntRange(0, 3).Draw(r, "age")) * time.Second),
					due: now.Add(moments.Draw(r, "due")), attempts: rapid.SampledFrom([]int{0, 1, holdUp - 1, holdUp}).Draw(r, "attempts"),
				}
				if rapid.Bool().Draw(r, "leased") {
					e.lease = now.Add(moments.Draw(r, "lease"))
				}
				_, err := db.Exec(t.Context(), d, `INSERT INTO events (hash, account, body, received_at, due, lease_until, attempts) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
					e.hash, string(e.account), []byte{}, db.Stamp(e.received), db.Stamp(e.due), db.Stamp(e.lease), e.attempts)
				if err != nil {
					r.Fatal(err)
				}
				line := e.account
				if line == "" {
					line = wechat.AppID(e.hash) // it is alone
				}
				lines[line] = append(lines[line], e)
			}
			var want []string
			for _, line := range lines {
				slices.SortFunc(line, func(a, b event) int { return a.received.Compare(b.received)*2 + compare(a.hash, b.hash) })
				for _, e := range line {
					if _, ok := mayWork(line, e.hash, now); ok {
						want = append(want, e.hash)
					}
				}
			}
			var got []string
			for _, e := range due(t, b) {
				got = append(got, e.hash)
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				r.Errorf("got %q listed, want %q, of %+v", got, want, lines)
			}
		})
	})
}

func compare(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}

// turns checks that of each account one event is handled at a time, in the order they came.
type turns struct {
	t    *testing.T
	ring *seal.Ring

	mu     sync.Mutex
	atWork map[wechat.AppID]bool
	done   map[wechat.AppID]int
}

// work handles events as fast as it can, until none is left.
func (w *turns) work(b *Inbox) {
	ctx := context.Background()
	for {
		some, err := events{b}.Due(ctx, 3)
		if err != nil || len(some) == 0 {
			if n, _ := b.Waiting(ctx); n == 0 || err != nil {
				return
			}
			continue
		}
		for _, e := range some {
			e, ok, err := events{b}.Lease(ctx, e)
			if err != nil {
				w.t.Error(err)
			}
			if !ok {
				continue
			}
			w.handle(e)
			if err := (events{b}).Finish(ctx, e); err != nil {
				w.t.Error(err)
			}
		}
	}
}

func (w *turns) handle(e event) {
	body, _ := w.ring.Open(e.sealed, place(e.hash)...)
	w.mu.Lock()
	if want := fmt.Sprintf("%s %d", e.account, w.done[e.account]); body.Reveal() != want || w.atWork[e.account] {
		w.t.Errorf("got %q at work, want %q alone", body.Reveal(), want)
	}
	w.atWork[e.account] = true
	w.mu.Unlock()
	time.Sleep(time.Millisecond)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.atWork[e.account] = false
	w.done[e.account]++
}

func TestNoReplicaWorksAnEventOutOfTurn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ring, began := dbtest.Ring(t), time.Now().Add(-time.Hour)
		const each = 6
		accounts := []wechat.AppID{flowers, books, "wx00000000000000cc", "wx00000000000000dd"}
		one := replica(d, ring)
		for n := range each {
			d.Clock = func() time.Time { return began.Add(time.Duration(n) * time.Second) }
			for _, account := range accounts {
				if err := one.store(t.Context(), account, fmt.Appendf(nil, "%s %d", account, n)); err != nil {
					t.Fatal(err)
				}
			}
		}
		d.Clock = nil
		w := &turns{t: t, ring: ring, atWork: map[wechat.AppID]bool{}, done: map[wechat.AppID]int{}}
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { w.work(replica(d, ring)) })
		}
		all.Wait()
		for _, account := range accounts {
			if w.done[account] != each {
				t.Errorf("got %d events of %s handled, want %d", w.done[account], account, each)
			}
		}
	})
}

func TestALateWorkerEndsNothingThatAnotherTook(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b, now := replica(d, dbtest.Ring(t)), time.Now()
		d.Clock = func() time.Time { return now }
		if err := b.store(t.Context(), flowers, []byte("x")); err != nil {
			t.Fatal(err)
		}
		found := due(t, b)[0]
		now = now.Add(40 * time.Second) // a slow listing: the lease begins when it is taken
		first, ok := leased(t, b, found)
		if _, again := leased(t, b, found); !ok || again || len(due(t, b)) != 0 {
			t.Fatal("got it leased twice, or not at all")
		}
		if now = now.Add(lease - time.Millisecond); len(due(t, b)) != 0 {
			t.Error("got it due before its lease ended")
		}
		now = now.Add(time.Millisecond)
		second, ok := leased(t, b, due(t, b)[0])
		if !ok {
			t.Fatal("got what a dead process held not leased again")
		}
		for _, late := range []error{(events{b}).Finish(t.Context(), first), (events{b}).Postpone(t.Context(), first, 0)} {
			if late != nil {
				t.Error(late)
			}
		}
		if n, err := b.Waiting(t.Context()); err != nil || n != 1 || len(due(t, b)) != 0 {
			t.Errorf("got %d waiting, %d due, %v, want it held by the second", n, len(due(t, b)), err)
		}
		if err := (events{b}).Postpone(t.Context(), second, time.Second); err != nil {
			t.Error(err)
		}
		now = now.Add(time.Second)
		third, ok := leased(t, b, due(t, b)[0])
		if err := (events{b}).Finish(t.Context(), third); err != nil || !ok {
			t.Errorf("got %v, %v, want it finished", ok, err)
		}
		if n, err := b.Waiting(t.Context()); err != nil || n != 0 {
			t.Errorf("got %d waiting, %v, want none", n, err)
		}
	})
}

// A replica of an older version stores events without an account. They wait for no other event.
func TestAnEventOfTheVersionBeforeIsWorked(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		b := replica(d, dbtest.Ring(t))
		for _, hash := range []string{"h1", "h2"} {
			if _, err := db.Exec(t.Context(), d, `INSERT INTO events (hash, body, received_at, due) VALUES ($1, $2, 1, 1)`, hash, []byte("sealed "+hash)); err != nil {
				t.Fatal(err)
			}
		}
		some := due(t, b)
		if len(some) != 2 {
			t.Fatalf("got %d due, want both", len(some))
		}
		for _, e := range some {
			e, ok := leased(t, b, e)
			if !ok || string(e.sealed) != "sealed "+e.hash || e.account != "" {
				t.Errorf("got %+v, %v, want each leased", e, ok)
			}
		}
	})
}
