package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"wxplatform/authorizer"
	"wxplatform/component"
	"wxplatform/internal/db"
	"wxplatform/wechat"
)

const (
	lookEvery      = 5 * time.Second
	sealsEvery     = 30 * time.Second
	fellSilent     = 15 * time.Minute // a refusal that was not repeated for this long is over
	unsentMost     = 3                // calls of WeChat in a row that could not be sent say that it is not to be reached
	readyPatience  = 2 * time.Second
	ticketPatience = component.TicketMissing
)

// health is what is wrong around this process, and since when.
type health struct {
	sql, redis outage
	wechat     outage
	unsent     atomic.Int64 // calls of WeChat, one after the other
	refusing   atomic.Bool  // some refusal is kept: looked at before the lock, for every good answer comes by

	mu       sync.Mutex
	refusals map[string]refusal // by API
	keys     error              // sealing keys that others have and we have not
}

// refusal is WeChat saying that only the operator can put it right.
type refusal struct {
	code        wechat.Code
	msg         string
	since, last time.Time
}

// outage is since when something has been away; zero while it answers.
type outage struct{ since atomic.Int64 }

// note takes how an attempt to reach it ended, and returns since when it is away.
func (o *outage) note(err error) time.Time {
	if err == nil {
		o.since.Store(0)
		return time.Time{}
	}
	o.since.CompareAndSwap(0, time.Now().UnixMilli())
	return db.Time(o.since.Load())
}

func (o *outage) up() float64 {
	if o.since.Load() == 0 {
		return 1
	}
	return 0
}

// watched has next see the calls of WeChat, and notes those that it refuses because of us.
func (h *health) watched(next func(string, wechat.Code, time.Duration, error)) func(string, wechat.Code, time.Duration, error) {
	return func(path string, code wechat.Code, took time.Duration, err error) {
		next(path, code, took, err)
		h.reached(err)
		switch {
		case isMisconfigured(err) && path != authorizer.RefreshPath: // there it may be one account's; the call that decides follows
			h.refused(path, wechat.Refusal(err), time.Now())
		case err == nil && h.refusing.Load():
			h.answered(path)
		}
	}
}

// reached takes how a call of WeChat ended. Every call comes by here, so where all is well nothing is written.
func (h *health) reached(err error) {
	switch {
	case wechat.NotSent(err):
		h.unsent.Add(1)
		h.wechat.note(err)
	case h.unsent.Load() > 0:
		h.unsent.Store(0)
		h.wechat.note(nil)
	}
}

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

func (h *health) answered(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.refusals, path)
	if path == authorizer.RefreshPath { // what the calls that decided whose fault it was said is over too
		delete(h.refusals, authorizer.QuotaPath)
		delete(h.refusals, component.GreetPath)
	}
	h.refusing.Store(len(h.refusals) > 0)
}

func (r refusal) over(now time.Time) bool { return now.Sub(r.last) > fellSilent }

// misconfigured is the refusal that lasts longest, if there is one now.
func (h *health) misconfigured(now time.Time) (refusal, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var worst refusal
	for _, r := range h.refusals {
		if !r.over(now) && (worst.code == 0 || r.since.Before(worst.since)) {
			worst = r
		}
	}
	return worst, worst.code != 0
}

func (h *health) missingKeys() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.keys
}

// checkedKeys takes how looking for missing sealing keys ended. What could not be looked at says nothing.
func (h *health) checkedKeys(err error) {
	if err != nil && !errors.Is(err, db.ErrMissingKey) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keys = err
}

// watch looks at SQL and Redis, and has SQL know that this process seals, until ctx ends.
func (p *platform) watch(ctx context.Context) error {
	look, seals := time.NewTicker(lookEvery), time.NewTicker(sealsEvery)
	defer look.Stop()
	defer seals.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			p.look(ctx)
		case <-seals.C:
			p.health.checkedKeys(p.db.StillSeals(ctx, p.ring))
		}
	}
}

// look pings SQL and Redis at the same time and returns since when each is unavailable. Each has
// readyPatience of its own, so that one that hangs does not make the other look unavailable.
func (p *platform) look(ctx context.Context) (sql, redis time.Time) {
	var both sync.WaitGroup
	both.Go(func() { sql = p.health.sql.pinged(ctx, p.db.Ping) })
	both.Go(func() { redis = p.health.redis.pinged(ctx, p.mirror.Ping) })
	both.Wait()
	return sql, redis
}

func (o *outage) pinged(ctx context.Context, ping func(context.Context) error) time.Time {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	return o.note(ping(ctx))
}

// readiness is what /readyz says. Degraded is ready: it serves, but something is away.
type readiness struct {
	Status  string   `json:"status"` // "ready", "degraded", "stopping"
	Reasons []string `json:"reasons,omitempty"`
}

func (p *platform) ready(ctx context.Context) readiness {
	now := time.Now()
	sql, redis := p.look(ctx)
	reasons := slices.Concat(
		reasonIf(!sql.IsZero(), "the database is away since %s: known merchants are served from what is known", clock(sql)),
		reasonIf(!redis.IsZero(), "Redis is away since %s: tokens come from the database", clock(redis)),
		p.wechatReason(),
		p.surplus.reason(now),
		p.ticketReason(now),
		p.misconfiguredReason(now),
		p.keysReason(),
	)
	if len(reasons) == 0 {
		return readiness{Status: "ready"}
	}
	return readiness{"degraded", reasons}
}

func reasonIf(is bool, text string, args ...any) []string {
	if !is {
		return nil
	}
	return []string{fmt.Sprintf(text, args...)}
}

func (p *platform) wechatReason() []string {
	return reasonIf(p.health.unsent.Load() >= unsentMost, "WeChat is not to be reached since %s: look at DNS, the firewall and the way out", clock(db.Time(p.health.wechat.since.Load())))
}

func (p *platform) ticketReason(now time.Time) []string {
	newest := p.component.Newest()
	if newest.Value.IsZero() {
		return []string{"no component_verify_ticket yet: WeChat pushes one every 10 minutes to /wechat/events"}
	}
	age := now.Sub(newest.Received)
	return reasonIf(age > ticketPatience, "no component_verify_ticket for %d minutes: WeChat pushes one every 10 minutes to /wechat/events", int(age.Minutes()))
}

func (p *platform) misconfiguredReason(now time.Time) []string {
	r, is := p.health.misconfigured(now)
	return reasonIf(is, "WeChat refuses with %d %s since %s: %s", r.code, strings.TrimSpace(r.msg), clock(r.since), remedy(r.code, r.msg).en)
}

func (p *platform) keysReason() []string {
	err := p.health.missingKeys()
	return reasonIf(err != nil, "%v: other replicas seal with it, so some rows do not open here", err)
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05Z") }
