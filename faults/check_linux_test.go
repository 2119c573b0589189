//go:build failpoints

package faults

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/token"
	"wxplatform/wechat"
)

// stored is a row of the tokens table, with its secrets opened.
type stored struct {
	kind                   token.Kind
	id                     wechat.AppID
	fence, version         int64
	lease, unsettled, due  int64
	access, refresh, spare string
	failures               int
	expires, barred, retry int64
	sealed                 [3][]byte
}

func readStored(scan db.Scan) (stored, error) {
	var s stored
	err := scan(&s.kind, &s.id, &s.fence, &s.version, &s.lease, &s.unsettled, &s.due, &s.failures, &s.expires, &s.barred, &s.retry, &s.sealed[0], &s.sealed[1], &s.sealed[2])
	return s, err
}

var columns = []string{"access", "refresh", "spare"}

// place is where a secret of the tokens table is sealed.
func (w *world) place(kind token.Kind, id wechat.AppID, column string) seal.Place {
	return seal.Place{"tokens", column, string(kind), string(id)}
}

func (w *world) rows() ([]stored, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*second)
	defer cancel()
	rows, err := db.All(ctx, w.db, readStored, `
		SELECT kind, id, fence, version, lease_until, unsettled_until, due, failures, expires_at, barred_until, retry_at, access, refresh, spare FROM tokens`)
	for i := range rows {
		s := &rows[i]
		for column, to := range []*string{&s.access, &s.refresh, &s.spare} {
			opened, err := w.ring.Open(s.sealed[column], w.place(s.kind, s.id, columns[column])...)
			if err != nil {
				return nil, fmt.Errorf("%s of %s: %w", columns[column], s.id, err)
			}
			*to = opened.Reveal()
		}
	}
	return rows, err
}

// watcher samples the database during a scenario and checks I3 and I4.
type watcher struct {
	w      *world
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	fences map[wechat.AppID][2]int64
	broken map[wechat.AppID]bool // that WeChat itself says are not authorized
	faults []string
	strict bool                       // no row at rest may hold anything but the newest, at any time
	wrong  map[wechat.AppID]wrongness // rows that did

	sampling sync.Mutex // held for each sample
}

// wrongness counts for how many samples a row has been at rest and wrong, in one version.
type wrongness struct {
	version int64
	samples int
}

func watchOver(w *world) *watcher {
	ctx, cancel := context.WithCancel(context.Background())
	o := &watcher{w: w, cancel: cancel, done: make(chan struct{}), fences: map[wechat.AppID][2]int64{}, broken: map[wechat.AppID]bool{}, wrong: map[wechat.AppID]wrongness{}}
	go func() {
		defer close(o.done)
		for ctx.Err() == nil {
			o.sample()
			select {
			case <-ctx.Done():
			case <-time.After(150 * time.Millisecond):
			}
		}
	}()
	return o
}

func (o *watcher) stop() { o.cancel(); <-o.done }

type state struct {
	id    wechat.AppID
	state string
}

func (o *watcher) sample() {
	o.sampling.Lock()
	defer o.sampling.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 2*second)
	defer cancel()
	states, err := db.All(ctx, o.w.db, func(scan db.Scan) (s state, err error) { err = scan(&s.id, &s.state); return s, err }, `SELECT appid, state FROM authorizers`)
	if err != nil {
		return // SQL is away
	}
	rows, err := o.w.rows()
	if err != nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range states {
		if (s.state == "revoked" || s.state == "reauthorize") && !o.broken[s.id] {
			o.fault("I3: %s is %s", s.id, s.state)
		}
	}
	for _, r := range rows {
		if o.strict {
			o.atRest(r)
		}
		was := o.fences[r.id]
		if r.fence < was[0] || r.version < was[1] {
			o.fault("I4: %s went from fence %d, version %d to %d, %d", r.id, was[0], was[1], r.fence, r.version)
		}
		o.fences[r.id] = [2]int64{r.fence, r.version}
	}
}

// beStrict is for scenarios in which only the holder of a lease calls WeChat.
func (o *watcher) beStrict() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.strict = true
}

func (o *watcher) atRest(r stored) {
	newest := o.w.sim.LastAccessToken(r.id)
	if r.kind == token.Component {
		newest = o.w.sim.LastComponentToken()
	}
	was := o.wrong[r.id]
	if r.lease > 0 || r.unsettled > 0 || newest == "" || r.access == newest || was.version != r.version {
		o.wrong[r.id] = wrongness{version: r.version}
		return
	}
	was.samples++
	o.wrong[r.id] = was
	if was.samples == 4 {
		o.fault("I1: %s is not suspect, and its version %d is not the newest", r.id, r.version)
	}
}

// allow tells the watcher that a merchant withdraws.
func (o *watcher) allow(id wechat.AppID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.broken[id] = true
}

func (o *watcher) fault(text string, args ...any) {
	if said := fmt.Sprintf(text, args...); !slices.Contains(o.faults, said) {
		o.faults = append(o.faults, said)
	}
}

// across resets the recorded fences: restore replaces the database with an older state.
func (o *watcher) across(restore func()) {
	o.sampling.Lock()
	defer o.sampling.Unlock()
	restore()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fences = map[wechat.AppID][2]int64{}
}

// settled waits until nothing is in flight or suspect, and then requires that every row has the
// newest tokens (I1, I2). A row that is neither suspect nor newest is a fault at once, before a
// renewal can repair it.
func (w *world) settled() {
	w.t.Helper()
	began := time.Now()
	wrong := map[wechat.AppID]int{}
	var open []string
	quiet := within(w.plan.times.Lease+w.plan.times.Unsettled+2*w.plan.times.Call+20*second, func() bool {
		time.Sleep(150 * time.Millisecond)
		var err error
		if open, err = w.unsettled(wrong); err != nil {
			open = []string{err.Error()}
		}
		return len(open) == 0
	})
	if !quiet {
		w.t.Errorf("not settled after %s: %q", time.Since(began).Round(second), open)
	}
	w.readHistory()
	w.watch.mu.Lock()
	defer w.watch.mu.Unlock()
	for _, fault := range w.watch.faults {
		w.t.Error(fault)
	}
	w.watch.faults = nil
}

// unsettled returns what is not yet at rest, and reports errors for what is at rest and wrong.
func (w *world) unsettled(wrong map[wechat.AppID]int) (open []string, err error) {
	newest := map[wechat.AppID][2]string{}
	for _, id := range w.ids {
		newest[id] = [2]string{w.sim.LastAccessToken(id), w.sim.RefreshToken(id)}
	}
	component := w.sim.LastComponentToken()
	rows, err := w.rows()
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		of, ours := newest[r.id]
		access, refresh := of[0], of[1]
		if r.kind == token.Component {
			access, refresh, ours = component, "", true
		}
		if !ours {
			continue // the scenario left it out
		}
		switch {
		case r.lease > 0 || r.unsettled > 0:
			open = append(open, fmt.Sprintf("%s: lease %d, unsettled %d, due in %d ms, failures %d, barred %d", r.id, r.lease, r.unsettled, r.due-time.Now().UnixMilli(), r.failures, r.barred))
		case r.access != access || refresh != "" && r.refresh != refresh && r.spare != refresh:
			open = append(open, fmt.Sprintf("%s: not the newest (access %v, refresh %v)", r.id, r.access == access, r.refresh == refresh || r.spare == refresh))
			if wrong[r.id]++; wrong[r.id] == 4 {
				w.t.Errorf("I1/I2: %s is not suspect, and holds not the newest: access %v, refresh %v, spare %v; version %d, fence %d", r.id, r.access == access, r.refresh == refresh, r.spare == refresh, r.version, r.fence)
			}
		default:
			wrong[r.id] = 0
		}
	}
	return open, nil
}
