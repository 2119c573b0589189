package quota

import (
	"context"
	"fmt"
	"sync"
	"time"

	"wxplatform/internal/db"
	"wxplatform/wechat"
)

const (
	refusalsForAll     = 5 // quota refusals within refusalsWithin mean that the quota is the component's
	refusalsWithin     = time.Minute
	quotaProbeEvery    = 10 * time.Minute
	platformProbeEvery = 5 * time.Second
	platformPause      = 24 * time.Hour // or until a probe succeeds
	pauseReadEvery     = time.Second
)

// PauseError says that WeChat is not asked for access tokens, or that one API is not called, until
// a given time: a quota is used up, or there is a fault that the operator has to fix.
type PauseError struct {
	Code  wechat.Code // WeChat's last refusal
	Until time.Time
	API   string // the path of the API that is not called; "" if no access tokens are requested
}

// Error names the time, the code and the API.
func (e *PauseError) Error() string {
	what := "no access tokens are requested"
	if e.API != "" {
		what = e.API + " is not called"
	}
	return fmt.Sprintf("%s until %s because WeChat answered %d", what, e.Until.UTC().Format(time.RFC3339), e.Code)
}

// Pause says why no access tokens are requested for any account. The zero Pause means no pause.
type Pause struct {
	Code  wechat.Code
	Since time.Time
	Until time.Time
	probe time.Time // when one request is let through, to see whether the pause can end
}

func (p Pause) holds(now time.Time) bool { return now.Before(p.Until) }

// quotaPause returns the pause that follows when a quota is used up for all accounts. The quota of
// a minute is not worth a probe.
func quotaPause(code wechat.Code, now time.Time) Pause {
	until := code.Resets(now)
	if code != wechat.DayQuota {
		return Pause{Code: code, Since: now, Until: until, probe: until}
	}
	return Pause{Code: code, Since: now, Until: until, probe: now.Add(quotaProbeEvery)}
}

// pauses are the pauses that this replica knows. The shared one is for a quota: it is stored in SQL
// and holds for all replicas. The local one is for a fault of the platform: it may be caused by
// this replica's address, which the others do not share, while a wrong secret or ticket already
// stops the component token, whose row all replicas share. Refusals are counted per replica, so n
// replicas send at most five useless requests each.
type pauses struct {
	mu       sync.Mutex
	local    Pause
	shared   Pause
	read     time.Time // when shared was read
	refusals map[wechat.Code][]time.Time
}

// refused counts a quota refusal and reports whether it is the fifth within a minute.
func (p *pauses) refused(code wechat.Code, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refusals == nil {
		p.refusals = map[wechat.Code][]time.Time{}
	}
	recent := []time.Time{now}
	for _, at := range p.refusals[code] {
		if now.Sub(at) < refusalsWithin && len(recent) < refusalsForAll {
			recent = append(recent, at)
		}
	}
	p.refusals[code] = recent
	return len(recent) == refusalsForAll
}

// current returns the pause that holds now, or the zero Pause.
func (p *pauses) current(now time.Time) Pause {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range []Pause{p.local, p.shared} {
		if one.holds(now) {
			return one
		}
	}
	return Pause{}
}

// stale reports whether it is time to read the shared pause again, and takes that reading.
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

// pauseLocal begins or extends this replica's own pause.
func (p *pauses) pauseLocal(code wechat.Code, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.local.holds(now) {
		p.local.Since = now
	}
	p.local.Code, p.local.Until, p.local.probe = code, now.Add(platformPause), now.Add(platformProbeEvery)
}

func (p *pauses) endLocal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.local = Pause{}
}

// takeLocal takes the probe of the local pause if it is time for one.
func (p *pauses) takeLocal(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Before(p.local.probe) {
		return false
	}
	p.local.probe = now.Add(platformProbeEvery)
	return true
}

func (p *pauses) returnLocal(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.local.probe = now
}

// Paused returns the pause that holds now, if there is one.
func (l *Limiter) Paused(ctx context.Context) (Pause, bool) {
	p := l.pause(ctx, time.Now())
	return p, p != Pause{}
}

// pause reads what other replicas wrote, at most once a second. While SQL is unavailable the last
// reading holds.
func (l *Limiter) pause(ctx context.Context, now time.Time) Pause {
	if l.pauses.stale(now) {
		if shared, err := l.loadPause(ctx); err == nil {
			l.pauses.setShared(shared)
		}
	}
	return l.pauses.current(now)
}

// Permit is the right to send one request for an access token. During a pause it is a probe: the
// one request that is let through now and then. Each Permit is handed to Done once.
type Permit struct{ probe Pause }

// IsProbe reports whether the permit was given during a pause.
func (p Permit) IsProbe() bool { return p.probe != Pause{} }

// Permit returns the right to send one request. It fails with *PauseError during a pause, unless a
// probe is due that no other replica has taken.
func (l *Limiter) Permit(ctx context.Context) (Permit, error) {
	now := time.Now()
	p := l.pause(ctx, now)
	if p == (Pause{}) {
		return Permit{}, nil
	}
	if now.Before(p.probe) || !l.takeProbe(ctx, p, now) {
		return Permit{}, &PauseError{Code: p.Code, Until: p.Until}
	}
	return Permit{p}, nil
}

func (l *Limiter) takeProbe(ctx context.Context, p Pause, now time.Time) bool {
	if IsPlatformFault(p.Code) {
		return l.pauses.takeLocal(now)
	}
	taken, err := l.moveProbe(ctx, p, now.Add(quotaProbeEvery))
	return err == nil && taken
}

// Result is how the request that a Permit allowed ended.
type Result struct {
	Sent     bool
	Served   bool        // WeChat gave a token, or refused this one account and serves the component
	Platform bool        // WeChat refuses the component itself, as a call of its own has shown
	Code     wechat.Code // WeChat's refusal, 0 if there is none
}

// Done takes the result of a request. An answer to a probe ends the pause, a probe that was not
// sent is given back, and a refusal may begin a pause. It fails if SQL cannot store that.
func (l *Limiter) Done(ctx context.Context, p Permit, r Result) error {
	now := time.Now()
	switch {
	case !r.Sent:
		return l.release(ctx, p, now)
	case r.Platform:
		l.pauses.pauseLocal(r.Code, now)
	case r.Served, r.answersProbe(p):
		return l.resume(ctx, p)
	case r.Code.IsQuota() && l.pauses.refused(r.Code, now):
		return l.pauseAll(ctx, r.Code)
	}
	return nil
}

// answersProbe reports whether a refusal shows that WeChat no longer refuses the platform.
func (r Result) answersProbe(p Permit) bool {
	return r.Code != 0 && !r.Code.IsQuota() && !IsPlatformFault(r.Code) && IsPlatformFault(p.probe.Code)
}

func (l *Limiter) release(ctx context.Context, p Permit, now time.Time) error {
	switch {
	case !p.IsProbe():
		return nil
	case IsPlatformFault(p.probe.Code):
		l.pauses.returnLocal(now)
		return nil
	}
	return l.returnProbe(ctx, p.probe)
}

func (l *Limiter) resume(ctx context.Context, p Permit) error {
	switch {
	case !p.IsProbe():
		return nil
	case IsPlatformFault(p.probe.Code):
		l.pauses.endLocal()
		return nil
	}
	if err := l.deletePause(ctx, p.probe); err != nil {
		return fmt.Errorf("end the pause: %w", err)
	}
	l.pauses.setShared(Pause{})
	return nil
}

func (l *Limiter) pauseAll(ctx context.Context, code wechat.Code) error {
	now, err := db.Now(ctx, l.db)
	if err != nil {
		return fmt.Errorf("begin a pause: %w", err)
	}
	p := quotaPause(code, now)
	if err := l.savePause(ctx, p); err != nil {
		return fmt.Errorf("begin a pause: %w", err)
	}
	l.pauses.setShared(p)
	return nil
}
