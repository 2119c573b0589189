package token

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wxplatform/internal/seal"
)

// world is a simulated WeChat and a row, and holders that stall, die and lose answers. The rules
// are the production code.
type world struct {
	r       row
	now     time.Time
	served  int    // how many tokens WeChat gave
	refresh string // the newest refresh token
	before  string // the one before, which WeChat still takes
	asks    []*asking
}

// asking is one holder with its claim, or one exchange.
type asking struct {
	claim    claim
	exchange bool
	sent     time.Time // zero: not yet
	given    *Answer   // what WeChat answered, once it acted
	gone     bool      // the holder was killed
}

const slowest = 60 * time.Second // WeChat acts on a request at most this long after it was sent

func (w *world) m() instant { return instant{Times: DefaultTimes(), now: w.now, spread: 0.5} }

func (w *world) claim(*rapid.T) {
	if w.r.held(w.m()) || w.r.refresh.IsZero() {
		return
	}
	w.asks = append(w.asks, &asking{claim: w.r.claim(w.m(), w.r.version)})
}

// send sends the request of a holder. One that may die sends within its lease; one that is paused
// for longer lives until its answer comes.
func (w *world) send(t *rapid.T) {
	a := w.pick(t, func(a *asking) bool { return a.sent.IsZero() && !a.gone })
	if a != nil {
		a.sent = w.now
	}
}

func (w *world) exchange(*rapid.T) {
	w.asks = append(w.asks, &asking{exchange: true, sent: w.now})
}

// serve lets WeChat act on a request, also if the process that sent it died.
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
				w.r.addSpare(seal.NewSecret(w.refresh), w.m()) // from WeChat's list: after three refreshes that overlapped, both stored tokens may be dead
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

// lose loses an answer: the holder knows only that WeChat may have acted, or may still act.
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

// kill kills a holder whose lease has not ended. No rule can cover one that was paused for longer
// and then killed.
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

// advance lets time pass. WeChat acts in time on each request that was sent.
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

// quiet ends all requests, and then lets the keeper work.
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

// It checks the invariants I1, I2 and I4 of docs/custody.md in random histories.
func TestRandomHistoriesEndWithTheNewestTokenStored(t *testing.T) {
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
