package token

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wxplatform/internal/seal"
)

// world is a WeChat and a row between which holders stall, die, and lose answers. Only the clocks
// are simulated: the rules are those that serve.
type world struct {
	r       row
	now     time.Time
	served  int    // how many tokens WeChat gave
	refresh string // the newest refresh token
	before  string // the one before, which WeChat still takes
	asks    []*asking
}

// asking is one holder with his claim, or one exchange.
type asking struct {
	claim    claim
	exchange bool
	sent     time.Time // zero: not yet
	given    *Answer   // what WeChat answered, once it acted
	gone     bool      // the holder was killed
}

const slowest = 60 * time.Second // from the sending until WeChat acts, at most

func (w *world) m() instant { return instant{Times: DefaultTimes(), now: w.now, spread: 0.5} }

func (w *world) claim(*rapid.T) {
	if w.r.held(w.m()) || w.r.refresh.IsZero() {
		return
	}
	w.asks = append(w.asks, &asking{claim: w.r.claim(w.m(), w.r.version)})
}

// send is within the lease for one who may die; one who is paused for longer lives to see his
// answer.
func (w *world) send(t *rapid.T) {
	a := w.pick(t, func(a *asking) bool { return a.sent.IsZero() && !a.gone })
	if a != nil {
		a.sent = w.now
	}
}

func (w *world) exchange(*rapid.T) {
	w.asks = append(w.asks, &asking{exchange: true, sent: w.now})
}

// serve has WeChat act on something that was sent, also if who sent it is gone.
func (w *world) serve(t *rapid.T) {
	a := w.pick(t, func(a *asking) bool { return !a.sent.IsZero() && a.given == nil })
	if a != nil {
		w.act(a)
	}
}

func (w *world) act(a *asking) {
	if !a.exchange && !w.takes(a.claim.refresh) {
		a.claim.refreshDead = true
		if !w.takes(a.claim.spare) {
			w.drop(a)
			if !a.gone {
				w.r.fail(a.claim, dead, w.m())
				w.r.addSpare(seal.NewSecret(w.refresh), w.m()) // as WeChat lists it: three that overlapped may leave neither token alive
			}
			return
		}
	}
	w.served++
	w.before, w.refresh = w.refresh, fmt.Sprint("refresh ", w.served)
	a.given = &Answer{Access: seal.NewSecret(fmt.Sprint("access ", w.served)), Refresh: seal.NewSecret(w.refresh), ExpiresIn: 2 * time.Hour}
	if a.gone {
		w.drop(a)
	}
}

func (w *world) takes(refresh seal.Secret) bool {
	token := refresh.Reveal()
	return token == w.refresh || token == w.before
}

func (w *world) commit(t *rapid.T) {
	if a := w.pick(t, func(a *asking) bool { return a.given != nil }); a != nil {
		w.settle(a)
	}
}

func (w *world) settle(a *asking) {
	w.drop(a)
	if a.exchange {
		w.r.grant(*a.given, a.sent, w.m())
	} else {
		w.r.succeed(a.claim, *a.given, w.m())
	}
}

// lose cuts the answer off: the holder knows only that WeChat may have acted, or may still.
func (w *world) lose(t *rapid.T) {
	a := w.pick(t, func(a *asking) bool {
		return !a.sent.IsZero() && !a.gone && !a.exchange && w.now.Sub(a.sent) < 10*time.Second
	})
	if a == nil {
		return
	}
	w.r.fail(a.claim, unknown, w.m())
	if a.gone = true; a.given != nil {
		w.drop(a)
	}
}

// kill is only of those whose lease has not ended: a later one was paused, and then killed, which
// nobody can know of.
func (w *world) kill(t *rapid.T) {
	a := w.pick(t, func(a *asking) bool { return !a.gone && !a.exchange && w.now.Sub(a.claim.at) < 4*time.Second })
	if a == nil {
		return
	}
	if a.gone = true; a.given != nil || a.sent.IsZero() {
		w.drop(a)
	}
}

func (w *world) pass(t *rapid.T) {
	w.advance(time.Duration(rapid.SampledFrom([]int{1, 500, 3_000, 9_000, 13_000, 61_000, 600_000}).Draw(t, "ms")) * time.Millisecond)
}

// advance has WeChat act on all that was sent before it is too late.
func (w *world) advance(d time.Duration) {
	for _, a := range append([]*asking{}, w.asks...) {
		if !a.sent.IsZero() && a.given == nil && w.now.Add(d).Sub(a.sent) > slowest {
			w.act(a)
		}
	}
	w.now = w.now.Add(d)
}

func (w *world) pick(t *rapid.T, ok func(*asking) bool) *asking {
	var some []*asking
	for _, a := range w.asks {
		if ok(a) {
			some = append(some, a)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return some[rapid.IntRange(0, len(some)-1).Draw(t, "which")]
}

func (w *world) drop(gone *asking) {
	for i, a := range w.asks {
		if a == gone {
			w.asks = append(w.asks[:i:i], w.asks[i+1:]...)
			return
		}
	}
}

// quiet lets everything end that was begun, and then the keeper do its work.
func (w *world) quiet() {
	for len(w.asks) > 0 {
		a := w.asks[0]
		if a.sent.IsZero() {
			a.sent = w.now
		}
		if a.given == nil {
			w.act(a)
		}
		if a.given != nil && !a.gone {
			w.settle(a)
		}
	}
	for range 10 {
		w.now = w.now.Add(90 * time.Second)
		if !w.r.wanted(w.m()) {
			return
		}
		a := &asking{claim: w.r.claim(w.m(), w.r.version), sent: w.now}
		w.asks = append(w.asks, a)
		if w.act(a); a.given != nil {
			w.settle(a)
		}
	}
}

// TestTheNewestTokenIsStoredWhateverHappens holds the invariants I1, I2 and I4 of custody over
// random histories.
func TestTheNewestTokenIsStoredWhateverHappens(t *testing.T) {
	for range 20 {
		rapid.Check(t, anything)
	}
}

func anything(t *rapid.T) {
	w := &world{now: start}
	w.exchange(t)
	w.quiet()
	fence, version := w.r.fence, w.r.version
	t.Repeat(map[string]func(*rapid.T){
		"claim": w.claim, "send": w.send, "exchange": w.exchange, "serve": w.serve, "commit": w.commit, "lose": w.lose, "kill": w.kill, "pass": w.pass,
		"": func(t *rapid.T) {
			if w.r.fence < fence || w.r.version < version {
				t.Fatalf("got fence %d and version %d, want them never lower than %d and %d", w.r.fence, w.r.version, fence, version)
			}
			fence, version = w.r.fence, w.r.version
		},
	})
	w.quiet()
	if got, want := w.r.access.Reveal(), fmt.Sprint("access ", w.served); got != want {
		t.Fatalf("got %q stored, want %q", got, want)
	}
	if got := w.r.refresh.Reveal(); got != w.refresh {
		t.Fatalf("got %q stored, want %q", got, w.refresh)
	}
}
