package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"wxplatform/internal/seal"
)

// answerReady answers /readyz: 503 while stopping, else 200.
func (p *platform) answerReady(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if p.stopping.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		_ = json.NewEncoder(w).Encode(readiness{Status: "stopping", Reasons: []string{"shutting down: requests in flight are finished"}})
		return
	}
	_ = json.NewEncoder(w).Encode(p.ready(r.Context()))
}

// readiness is the body of /readyz. A degraded platform serves, but something it depends on is
// wrong.
type readiness struct {
	Status  string   `json:"status"` // "ready", "degraded", "stopping"
	Reasons []string `json:"reasons,omitempty"`
	// SealForm is the form in which this replica seals new values; 0 while it is stopping.
	SealForm seal.Form `json:"seal_form,omitempty"`
}

// ready checks what the platform depends on.
func (p *platform) ready(ctx context.Context) readiness {
	now := time.Now()
	sql, redis := p.probe(ctx)
	reasons := slices.Concat(
		reasonIf(!sql.IsZero(), "the database has been unreachable since %s: known merchants are served from memory", timeOfDay(sql)),
		reasonIf(!redis.IsZero(), "Redis has been unreachable since %s: tokens come from the database", timeOfDay(redis)),
		p.wechatReason(),
		p.surplus.reason(now),
		p.ticketReason(now),
		p.misconfiguredReason(now),
		p.keysReason(),
	)
	if len(reasons) == 0 {
		return readiness{Status: "ready", SealForm: p.ring.Form}
	}
	return readiness{"degraded", reasons, p.ring.Form}
}

// reasonIf is a list of one reason, or empty.
func reasonIf(is bool, text string, args ...any) []string {
	if !is {
		return nil
	}
	return []string{fmt.Sprintf(text, args...)}
}

func (p *platform) wechatReason() []string {
	return reasonIf(p.health.unsent.Load() >= unsentThreshold, "WeChat has been unreachable since %s: check DNS, the firewall and outbound network access", timeOfDay(p.health.wechat.begun()))
}

func (p *platform) ticketReason(now time.Time) []string {
	newest := p.component.Newest()
	if newest.Value.IsZero() {
		return []string{"no component_verify_ticket yet: WeChat pushes one every 10 minutes to /wechat/events"}
	}
	age := now.Sub(newest.Received)
	return reasonIf(age > ticketOverdue, "no component_verify_ticket for %d minutes: WeChat pushes one every 10 minutes to /wechat/events", int(age.Minutes()))
}

func (p *platform) misconfiguredReason(now time.Time) []string {
	r, is := p.health.misconfigured(now)
	return reasonIf(is, "WeChat refuses with %d %s since %s: %s", r.code, strings.TrimSpace(r.msg), timeOfDay(r.since), remedy(r.code, r.msg).en)
}

func (p *platform) keysReason() []string {
	err := p.health.missingKeys()
	return reasonIf(err != nil, "%v: other replicas seal with it, so some rows cannot be opened here", err)
}

func timeOfDay(t time.Time) string { return t.UTC().Format("15:04:05Z") }
