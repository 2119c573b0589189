package authorizer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"wxplatform/internal/db"
	"wxplatform/wechat"
)

const (
	hitsForAll     = 5 // refusals for their quota within hitsWithin say that it is not the authorizers' own
	hitsWithin     = time.Minute
	probeQuota     = 10 * time.Minute
	probeOwn       = 5 * time.Second
	ownPause       = 24 * time.Hour // or until a probe succeeds
	pauseReadEvery = time.Second
)

// PauseError says that WeChat is not asked for an access token now, and until when: for its quota, or because of a fault that the operator must put right.
type PauseError struct {
	Code  wechat.Code // WeChat's last word
	Until time.Time
}

// Error says so.
func (e *PauseError) Error() string {
	return fmt.Sprintf("no access token is asked for until %s, for WeChat answered %d", e.Until.UTC().Format(time.RFC3339), e.Code)
}

// Pause is why no access tokens are asked for at all. The zero Pause is none.
type Pause struct {
	Code  wechat.Code
	Since time.Time
	Until time.Time
	probe time.Time // when one ask is let through, to see whether it is over
}

func (p Pause) holds(now time.Time) bool { return now.Before(p.Until) }

// forAll is the pause that a quota refusal of all authorizers means. A minute's is not worth a probe.
func forAll(code wechat.Code, now time.Time) Pause {
	until := code.Resets(now)
	if code != wechat.DayQuota {
		return Pause{Code: code, Since: now, Until: until, probe: until}
	}
	return Pause{Code: code, Since: now, Until: until, probe: now.Add(probeQuota)}
}

// pauses are those that this replica knows. The one for a quota stands in SQL and holds for all replicas. The one for the platform's own faults is this replica's:
// what is at fault may be its address, which the others do not share, and a wrong secret or ticket stops the component's token, whose row in SQL they all share.
// Hits are counted here alone, for n replicas ask in vain at most n times five before all stop.
type pauses struct {
	mu     sync.Mutex
	own    Pause
	shared Pause
	read   time.Time // when shared was
	hits   map[wechat.Code][]time.Time
}

// hit counts a refusal for a quota, and reports whether it is the fifth within a minute.
func (p *pauses) hit(code wechat.Code, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hits == nil {
		p.hits = map[wechat.Code][]time.Time{}
	}
	recent := []time.Time{now}
	for _, at := range p.hits[code] {
		if now.Sub(at) < hitsWithin && len(recent) < hitsForAll {
			recent = append(recent, at)
		}
	}
	p.hits[code] = recent
	return len(recent) == hitsForAll
}

// current is the pause that holds, or none.
func (p *pauses) current(now time.Time) Pause {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range []Pause{p.own, p.shared} {
		if one.holds(now) {
			return one
		}
	}
	return Pause{}
}

func (p *pauses) stale(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	stale := now.Sub(p.read).Abs() >= pauseReadEvery
	if stale {
		p.read = now
	}
	return stale
}

func (p *pauses) setShared(shared Pause) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shared = shared
}

// pauseOwn begins or prolongs this replica's own pause.
func (p *pauses) pauseOwn(code wechat.Code, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.own.holds(now) {
		p.own.Since = now
	}
	p.own.Code, p.own.Until, p.own.probe = code, now.Add(ownPause), now.Add(probeOwn)
}

func (p *pauses) endOwn() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.own = Pause{}
}

// takeOwn takes the probe of the own pause, if it is time for one.
func (p *pauses) takeOwn(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Before(p.own.probe) {
		return false
	}
	p.own.probe = now.Add(probeOwn)
	return true
}

// Paused is the pause that holds now, if one does.
func (r *Registry) Paused(ctx context.Context) (Pause, bool) {
	p := r.pause(ctx, time.Now())
	return p, p != Pause{}
}

// pause reads what other replicas wrote, at most once a second; while SQL is away what was read last holds.
func (r *Registry) pause(ctx context.Context, now time.Time) Pause {
	if r.pauses.stale(now) {
		if shared, err := r.loadPause(ctx); err == nil {
			r.pauses.setShared(shared)
		}
	}
	return r.pauses.current(now)
}

// leave is the right to ask: always where there is no pause, else once in a while for one, as a probe.
type leave struct{ probe Pause }

func (l leave) isProbe() bool { return l.probe != Pause{} }

func (r *Registry) mayAsk(ctx context.Context) (leave, error) {
	now := time.Now()
	p := r.pause(ctx, now)
	if p == (Pause{}) {
		return leave{}, nil
	}
	refusal := &PauseError{p.Code, p.Until}
	if now.Before(p.probe) {
		return leave{}, refusal
	}
	if ours(p.Code) {
		if !r.pauses.takeOwn(now) {
			return leave{}, refusal
		}
		return leave{p}, nil
	}
	taken, err := r.moveProbe(ctx, p, now.Add(probeQuota))
	if err != nil || !taken {
		return leave{}, refusal
	}
	return leave{p}, nil
}

// learn takes the end of an ask: a probe that got an answer ends the pause, one that was not needed is given back, and a refusal may begin a pause.
func (r *Registry) learn(ctx context.Context, l leave, how ending) error {
	code, now := wechat.Refused(how.err), time.Now()
	switch {
	case !how.asked:
		return r.giveBack(ctx, l, now)
	case errors.Is(how.err, errForAll) && ours(code):
		r.pauses.pauseOwn(code, now)
	case how.err == nil, errors.Is(how.err, ErrAlone), code != 0 && !code.IsQuota() && !ours(code) && ours(l.probe.Code):
		return r.endPause(ctx, l)
	case code.IsQuota() && r.pauses.hit(code, now):
		return r.pauseAll(ctx, code)
	}
	return nil
}

func (r *Registry) giveBack(ctx context.Context, l leave, now time.Time) error {
	switch {
	case !l.isProbe():
		return nil
	case ours(l.probe.Code):
		r.pauses.mu.Lock()
		defer r.pauses.mu.Unlock()
		r.pauses.own.probe = now
		return nil
	}
	return r.returnProbe(ctx, l.probe)
}

func (r *Registry) endPause(ctx context.Context, l leave) error {
	switch {
	case !l.isProbe():
		return nil
	case ours(l.probe.Code):
		r.pauses.endOwn()
		return nil
	}
	if err := r.deletePause(ctx, l.probe); err != nil {
		return fmt.Errorf("end the pause: %w", err)
	}
	r.pauses.setShared(Pause{})
	return nil
}

func (r *Registry) pauseAll(ctx context.Context, code wechat.Code) error {
	now, err := db.Now(ctx, r.db)
	if err != nil {
		return fmt.Errorf("begin a pause: %w", err)
	}
	p := forAll(code, now)
	if err := r.savePause(ctx, p); err != nil {
		return fmt.Errorf("begin a pause: %w", err)
	}
	r.pauses.setShared(p)
	return nil
}
