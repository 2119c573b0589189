package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"wxplatform/authorizer"
	"wxplatform/component"
	"wxplatform/internal/db"
	"wxplatform/replica"
	"wxplatform/wechat"
)

const (
	probeEvery      = replica.BeatEvery
	greetFirst      = 10 * time.Second // after the start, so that a setting that WeChat refuses shows during a rollout
	greetEvery      = 5 * time.Minute
	sealsEvery      = 30 * time.Second
	refusalExpires  = 15 * time.Minute // without a repetition for this long, a refusal is over
	unsentThreshold = 3                // unsent calls in a row after which WeChat counts as unreachable
	probeTimeout    = 2 * time.Second
	ticketOverdue   = component.TicketMissing
)

// health records what this process depends on and what is wrong with it, and since when.
type health struct {
	sql, writes outage // writes: SQL answers, but takes no writes
	redis       outage
	wechat      outage
	unsent      atomic.Int64 // calls of WeChat in a row that could not be sent
	refusing    atomic.Bool  // refusals is not empty. Each successful call reads it, without the lock

	mu       sync.Mutex
	refusals map[string]refusal   // by API
	keys     error                // sealing keys that other replicas use and this one lacks
	self     replica.Replica      // as last written
	others   []replica.Replica    // the others that run
	noticed  map[string]time.Time // since when there is a reason to be degraded, by code
}

// refusal is a refusal of WeChat that only the operator can fix.
type refusal struct {
	code        wechat.Code
	msg         string
	since, last time.Time
}

// outage says since when a dependency has been lost, and why. It is zero while the dependency
// works.
type outage struct{ lost atomic.Pointer[loss] }

type loss struct {
	since time.Time
	why   error
}

// record records the result of an attempt to use the dependency.
func (o *outage) record(err error) {
	if err == nil {
		o.lost.Store(nil)
		return
	}
	since := time.Now()
	if was := o.lost.Load(); was != nil {
		since = was.since
	}
	o.lost.Store(&loss{since, err})
}

// begun returns since when the dependency has been lost, or the zero time.
func (o *outage) begun() time.Time {
	if lost := o.lost.Load(); lost != nil {
		return lost.since
	}
	return time.Time{}
}

// up is 1 while the dependency works, else 0.
func (o *outage) up() float64 { return boolToFloat(o.lost.Load() == nil) }

// sqlUp is 1 while SQL answers and takes writes, else 0.
func (h *health) sqlUp() float64 { return h.sql.up() * h.writes.up() }

// watched returns an observer of the calls of WeChat that passes each to next, and records whether
// WeChat is reachable and which refusals only the operator can fix.
func (h *health) watched(next func(string, wechat.Code, time.Duration, error)) func(string, wechat.Code, time.Duration, error) {
	return func(path string, code wechat.Code, took time.Duration, err error) {
		next(path, code, took, err)
		h.reached(err)
		switch {
		case isMisconfigured(err) && path != authorizer.RefreshPath: // may concern one account only; the call that decides follows
			h.refused(path, wechat.Refusal(err), time.Now())
		case err == nil && h.refusing.Load():
			h.answered(path)
		}
	}
}

// reached records whether a call of WeChat could be sent. It is on the path of every call, so it
// writes nothing while calls succeed.
func (h *health) reached(err error) {
	switch {
	case wechat.NotSent(err):
		h.unsent.Add(1)
		h.wechat.record(err)
	case h.unsent.Load() > 0:
		h.unsent.Store(0)
		h.wechat.record(nil)
	}
}

// refused records a refusal of the API at path.
func (h *health) refused(path string, why *wechat.Error, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, known := h.refusals[path]
	if !known || r.over(now) {
		r.since = now
	}
	r.code, r.msg, r.last = why.Code, why.Msg, now
	if h.refusals == nil {
		h.refusals = map[string]refusal{}
	}
	h.refusals[path] = r
	h.refusing.Store(true)
}

// answered ends the refusal of the API at path.
func (h *health) answered(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.refusals, path)
	if path == authorizer.RefreshPath { // so do the refusals of the calls that decided whose fault it was
		delete(h.refusals, authorizer.QuotaPath)
		delete(h.refusals, component.GreetPath)
	}
	h.refusing.Store(len(h.refusals) > 0)
}

func (r refusal) over(now time.Time) bool { return now.Sub(r.last) > refusalExpires }

// misconfigured is the current refusal that has lasted longest, if there is one.
func (h *health) misconfigured(now time.Time) (refusal, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var oldest refusal
	for _, r := range h.refusals {
		if !r.over(now) && (oldest.code == 0 || r.since.Before(oldest.since)) {
			oldest = r
		}
	}
	return oldest, oldest.code != 0
}

// missingKeys returns a db.ErrMissingKey while this replica lacks a sealing key, or nil.
func (h *health) missingKeys() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.keys
}

// checkedKeys records the result of a check for missing sealing keys. A check that failed for
// another reason changes nothing.
func (h *health) checkedKeys(err error) {
	if err != nil && !errors.Is(err, db.ErrMissingKey) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keys = err
}

// watch probes what the platform depends on, until ctx ends.
func (p *platform) watch(ctx context.Context) error {
	probes, seals, greets := time.NewTicker(probeEvery), time.NewTicker(sealsEvery), time.NewTicker(p.greetFirst)
	defer probes.Stop()
	defer seals.Stop()
	defer greets.Stop()
	p.beat(ctx)
	defer p.leave(context.WithoutCancel(ctx))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-probes.C:
			p.look(ctx)
		case <-seals.C:
			p.health.checkedKeys(p.db.StillSeals(ctx, p.ring))
		case <-greets.C:
			p.greet(ctx)
			greets.Reset(greetEvery)
		}
	}
}

// look probes SQL and Redis, writes this replica's row, and logs what has become wrong or right.
func (p *platform) look(ctx context.Context) {
	p.probe(ctx)
	if p.health.sql.begun().IsZero() {
		p.beat(ctx)
	}
	p.health.notice(p.log, p.reasons(time.Now()), time.Now())
}

// greet makes a call of WeChat that costs no quota, so that a secret that was reset, or an address
// that is no longer allowed, shows before the next renewal. The client's observer records what
// WeChat answers.
func (p *platform) greet(ctx context.Context) { _, _ = p.component.Greet(ctx) }

// notice logs each reason that is new, and each that is gone.
func (h *health) notice(log *slog.Logger, reasons []replica.Reason, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	current := map[string]time.Time{}
	for _, r := range reasons {
		since, known := h.noticed[r.Code]
		if !known {
			since = now
			log.Warn("degraded", "reason", r.Code, "text", r.Text)
		}
		current[r.Code] = since
	}
	for code, since := range h.noticed {
		if _, still := current[code]; !still {
			log.Info("no longer degraded", "reason", code, "lasted", now.Sub(since).Round(time.Second).String())
		}
	}
	h.noticed = current
}

// has reports whether there was that reason to be degraded when notice was last called.
func (h *health) has(code string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, is := h.noticed[code]
	return is
}

// probe pings SQL and Redis at the same time and records the results. Each has probeTimeout of its
// own, so that one that hangs does not make the other look lost.
func (p *platform) probe(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { p.health.sql.probe(ctx, p.db.Ping) })
	both.Go(func() { p.health.redis.probe(ctx, p.mirror.Ping) })
	both.Wait()
}

// probe pings the dependency and records the result. If the caller's ctx has ended, a ping that
// failed says nothing about the dependency.
func (o *outage) probe(ctx context.Context, ping func(context.Context) error) {
	limited, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := ping(limited); err == nil || ctx.Err() == nil {
		o.record(err)
	}
}
