package authorizer_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wxplatform/authorizer"
	"wxplatform/internal/db"
	"wxplatform/token"
)

// seen is a row of custody as the checks look at it, with the state of its authorizer.
type seen struct {
	fence, version          int64
	lease, unsettled, retry time.Time
	due, retired            time.Time
	access, refresh, spare  string
	state                   authorizer.State
	sought, checks          bool
	exchanges               int // when the request of the exchange was sent that is stored, or was
}

func (w *world) look() seen {
	s, err := db.One(context.Background(), w.base, w.scan, `
		SELECT t.fence, t.version, t.lease_until, t.unsettled_until, t.retry_at, t.due, t.retired_at, t.access, t.refresh, t.spare, a.state, a.sought_at, a.check_at
		FROM tokens AS t, authorizers AS a
		WHERE t.kind = 'authorizer' AND t.id = a.appid`)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) scan(scan db.Scan) (seen, error) {
	var s seen
	var sought, check time.Time
	var sealed [3][]byte
	err := scan(&s.fence, &s.version, (*db.Stamp)(&s.lease), (*db.Stamp)(&s.unsettled), (*db.Stamp)(&s.retry), (*db.Stamp)(&s.due), (*db.Stamp)(&s.retired),
		&sealed[0], &sealed[1], &sealed[2], &s.state, (*db.Stamp)(&sought), (*db.Stamp)(&check))
	s.sought, s.checks = !sought.IsZero(), !check.IsZero()
	for i, column := range []string{"access", "refresh", "spare"} {
		plain, opening := w.ring.Open(sealed[i], "tokens", column, string(token.Authorizer), string(id))
		err = errors.Join(err, opening)
		*[]*string{&s.access, &s.refresh, &s.spare}[i] = plain.Reveal()
	}
	return s, err
}

// check holds the row against what it was a moment ago.
func (w *world) check() {
	if !w.wrote {
		return
	}
	w.wrote = false
	before, now := w.seen, w.look()
	now.exchanges = before.exchanges
	w.seen = now
	if now == before {
		return
	}
	if now.fence < before.fence || now.version < before.version {
		w.fail("I4: fence %d and version %d after %d and %d", now.fence, now.version, before.fence, before.version)
	}
	if now.fence > before.fence && !now.lease.IsZero() {
		w.claimed(before, w.dbNow())
	}
	w.issued = max(w.issued, now.fence)
	if now.access != before.access && now.access != "" {
		w.stored(now)
	}
	if now.state != before.state && now.state.Blocks() && !w.wx.ended {
		w.fail("I3: %s without WeChat's definite word", now.state)
	}
}

// claimed says that nobody had the row, and that nobody asks again at once after an ask that
// failed. A row of an older dump that is behind what was issued since may be taken from its holder.
func (w *world) claimed(before seen, at time.Time) {
	if before.fence >= w.issued && at.Before(before.lease) && before.lease.Sub(at) <= token.DefaultTimes().Lease {
		w.fail("I5: claimed while somebody else had it for %v", before.lease.Sub(at))
	}
	if at.Before(before.retry) && before.retry.Sub(at) <= 12*time.Second {
		w.fail("back-off: asked again %v too soon", before.retry.Sub(at))
	}
}

// stored says that no result of a call that was sent before an exchange is stored over the
// exchange.
func (w *world) stored(now seen) {
	sent := w.wx.sent[now.access]
	if !w.wx.exchange[now.access] && sent < now.exchanges {
		w.fail("I6: what request #%d gave is stored over an exchange that was sent later, as #%d", sent, now.exchanges)
	}
	if w.wx.exchange[now.access] {
		w.seen.exchanges = max(now.exchanges, sent)
	}
}

// quiet ends all trouble: what is under way ends, keepers do their work, and callers are served,
// before that or after it; then the invariants hold.
func (w *world) quiet() {
	w.note("all trouble ends")
	calm := w.odds.calm
	w.sqlDown, w.shelf.down = false, false
	w.odds = odds{calm: calm} // so that a caller who is not served still counts
	for _, r := range w.replicas {
		r.paused, r.cut = false, false
		if !r.hears {
			r.miss()
		}
	}
	w.finish(2 * time.Minute)
	if asks := w.wx.asks; calm && (asks["api_authorizer_token"] > 1 || asks["api_component_token"] > 1) {
		w.fail("I5: %d asks for an access token and %d for a component token, want one", asks["api_authorizer_token"], asks["api_component_token"])
	}
	w.redeemAgain(w.replicas[0])
	first := w.rng.IntN(2) == 0
	if w.restored { // what came after the dump is lost, until a caller on each replica has asked for what lives
		w.pass(overlap)
		first = true
	}
	if first {
		w.serveAll()
	}
	w.keepAll()
	if !first && w.violation == "" {
		w.serveAll()
		w.keepAll()
	}
	w.healthy()
}

// healthy says how the authorizer is in the end. One whose last ask failed is degraded until a
// caller or, with less haste, a keeper asks again.
func (w *world) healthy() {
	switch s := w.seen; {
	case w.violation != "":
	case w.wx.withdrawn && s.checks:
		w.fail("I3: %s is not settled long after WeChat was asked", s.state)
	case w.wx.withdrawn, w.wx.dead, s.state == authorizer.Healthy:
	case s.state.Blocks():
		w.fail("I3: %s although the merchant authorized again", s.state)
	default:
		w.fail("I3: got %s in the end, want healthy", s.state)
	}
}

// serveAll has a caller on each replica, who must be served soon. Before the keepers did anything a
// token may have to be replaced for him; after them, it must be there.
func (w *world) serveAll() {
	refused := w.wx.refused
	for _, r := range w.replicas {
		w.serve(r)
	}
	w.finish(10 * time.Minute)
	if w.wx.refused == refused && !w.wx.ended && w.violation == "" {
		w.served()
	}
}

// keepAll has keepers, walkers and checkers at work until there is nothing more to do, or for some
// hours.
func (w *world) keepAll() {
	for round := 0; round < 40 && w.violation == "" && (round < len(w.replicas) || !w.done()); round++ {
		w.round(round)
	}
	if w.violation == "" {
		w.final()
	}
}

// finish lets all that waits go on, and time pass, until nothing is under way.
func (w *world) finish(within time.Duration) {
	deadline := w.passed() + within
	for w.violation == "" {
		w.settle()
		w.check()
		if open := w.open(); len(open) > 0 {
			w.finishOne(open[0])
			continue
		}
		if !w.busy() {
			break
		}
		if w.passed() > deadline {
			w.fail("something is under way %v after all trouble ended", within)
			return
		}
		w.pass(500 * time.Millisecond)
	}
}

func (w *world) finishOne(g *gate) {
	switch {
	case g.kind == atConnect:
		w.let(g, through, "is sent and answered")
	case g.kind == atAnswer && !g.q.acted:
		w.wx.act(g.q)
		w.let(g, answerComes, "comes")
	default:
		w.let(g, 0, "")
	}
}

// serve is a caller on r who may have to wait for a back-off or for a pause of this replica, or
// until another refresh may be forced, and not for more.
func (w *world) serve(r *process) {
	w.spawn(r, "last caller", func(ctx context.Context) {
		var err error
		for _, wait := range []time.Duration{13 * time.Second, 13 * time.Second, 2 * time.Minute, 2 * time.Minute, 0} {
			if _, err = r.call(ctx); err == nil {
				break
			}
			rest(ctx, wait)
		}
		if err != nil {
			w.answers = append(w.answers, fmt.Sprintf("%s: %v", r.name, err))
		}
		w.tell(ctx, r, err)
	})
}

func (w *world) served() {
	for _, answer := range w.answers {
		w.fail("served: a caller was not served soon: %s", answer)
	}
}

func (w *world) round(n int) {
	w.pass(time.Duration(30+10*n) * time.Second)
	r := w.replicas[n%len(w.replicas)]
	w.keeper(r)
	w.finish(time.Minute)
	if !w.done() {
		w.walker(r)
		w.finish(time.Minute)
		w.checker(r)
		w.finish(time.Minute)
	}
}

func (w *world) done() bool {
	return w.seen.lease.IsZero() && w.seen.unsettled.IsZero() && !w.seen.sought && !w.seen.checks && w.seen.state != authorizer.Degraded
}

func (w *world) final() {
	switch s := w.seen; {
	case w.wx.withdrawn, w.wx.dead:
	case s.access != w.wx.access.newest():
		w.fail("I1: %q is stored, and WeChat gave %q", s.access, w.wx.access.newest())
	case !s.lease.IsZero():
		w.fail("I1: nobody noticed a holder that vanished")
	case !s.unsettled.IsZero():
		w.fail("I1: the row is still suspect")
	case s.refresh != w.wx.refresh:
		w.fail("I2: %q is stored, and WeChat gave %q", s.refresh, w.wx.refresh)
	}
}
