package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"wxplatform/inbox"
	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
	"wxplatform/internal/seal"
	"wxplatform/replica"
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
	Codes   []string `json:"codes,omitempty"` // of the reasons, in their order
	// SealForm is the form in which this replica seals new values; 0 while it is stopping.
	SealForm seal.Form     `json:"seal_form,omitempty"`
	Version  string        `json:"version,omitempty"`
	Replicas []replicaView `json:"replicas,omitempty"` // all that run; the others as each last wrote
}

// ready checks what the platform depends on.
func (p *platform) ready(ctx context.Context) readiness {
	p.probe(ctx)
	self, others := p.health.company()
	self.Reasons = p.reasons(time.Now()) // the row may be 5 s old, or older if it cannot be written
	r := readiness{Status: "ready", SealForm: p.ring.Form, Version: self.Version, Replicas: viewsOf(append([]replica.Replica{self}, others...), viewReplica)}
	for _, why := range self.Reasons {
		r.Status = "degraded"
		r.Reasons, r.Codes = append(r.Reasons, why.Text), append(r.Codes, why.Code)
	}
	return r
}

// check looks for one reason to be degraded.
type check struct {
	code string
	says func(now time.Time) string // what is wrong, or ""
}

// The codes that other code looks for.
const (
	databaseAway     = "database-away"
	databaseNoWrites = "database-no-writes"
	pushesRefused    = "pushes-refused"
)

// checks are all checks, in the order in which reasons are reported.
func (p *platform) checks() []check {
	return []check{
		{databaseAway, p.databaseAway},
		{databaseNoWrites, p.databaseTakesNoWrites},
		{"redis-away", p.redisAway},
		{"redis-not-shared", p.redisNotShared},
		{"wechat-away", p.wechatAway},
		{"surplus-answers", p.surplus.reason},
		{pushesRefused, p.pushesRefused},
		{"no-ticket", p.ticketMissing},
		{"misconfigured", p.misconfigured},
		{"sealing-key-missing", p.keysMissing},
		{"clock-off", p.clockOff},
	}
}

// reasons are why the platform is degraded, by what was last seen of what it depends on.
func (p *platform) reasons(now time.Time) (all []replica.Reason) {
	for _, c := range p.checks() {
		if text := c.says(now); text != "" {
			all = append(all, replica.Reason{Code: c.code, Text: text})
		}
	}
	return all
}

func (p *platform) databaseAway(time.Time) string {
	if lost := p.health.sql.lost.Load(); lost != nil {
		return fmt.Sprintf("the database has been unreachable since %s: known merchants are served from memory", timeOfDay(lost.since))
	}
	return ""
}

// databaseTakesNoWrites says so if the database answers.
func (p *platform) databaseTakesNoWrites(time.Time) string {
	lost := p.health.writes.lost.Load()
	if lost == nil || !p.health.sql.begun().IsZero() {
		return ""
	}
	return fmt.Sprintf("the database has refused writes since %s: %s. Known merchants are served while their tokens last; nothing is renewed, and no merchant can authorize", timeOfDay(lost.since), noWrites(lost.why).en)
}

// noWrites says why the database takes no writes.
func noWrites(err error) text {
	switch {
	case errors.Is(err, db.ErrReadOnly):
		return say("it is read-only", "数据库只读")
	case errors.Is(err, db.ErrFull):
		return say("its disk is full", "数据库磁盘已满")
	case errors.Is(err, db.ErrRights):
		return sayf("its user lacks a right (%v)", "数据库用户缺少权限（%v）", err)
	}
	return sayf("%v", "%v", err)
}

func (p *platform) redisAway(time.Time) string {
	lost := p.health.redis.lost.Load()
	switch {
	case lost == nil:
		return ""
	case errors.Is(lost.why, mirror.ErrRefused):
		return fmt.Sprintf("Redis has refused since %s, saying %q: tokens come from the database", timeOfDay(lost.since), mirror.Said(lost.why))
	}
	return fmt.Sprintf("Redis has been unreachable since %s (%s): tokens come from the database", timeOfDay(lost.since), lost.why)
}

// redisNotShared says so if replicas run that do not share a Redis.
func (p *platform) redisNotShared(time.Time) string {
	self, others := p.health.company()
	for _, other := range others {
		if self.Redis == replica.InProcess || other.Redis == replica.InProcess {
			return fmt.Sprintf("%d replicas use this database, but they do not share a Redis: each hears late of what the others change, and more tokens are refreshed than needed. Set PLATFORM_REDIS_URL to the same Redis for all, or run one replica. The other is on %s", len(others)+1, other.Host)
		}
	}
	return ""
}

func (p *platform) wechatAway(time.Time) string {
	if p.health.unsent.Load() < unsentThreshold {
		return ""
	}
	return fmt.Sprintf("WeChat has been unreachable since %s: check DNS, the firewall and outbound network access", timeOfDay(p.health.wechat.begun()))
}

func (p *platform) ticketMissing(now time.Time) string {
	newest := p.component.Newest()
	if newest.Value.IsZero() {
		return "no component_verify_ticket yet: WeChat pushes one every 10 minutes to /wechat/events"
	}
	if age := now.Sub(newest.Received); age > ticketOverdue {
		return fmt.Sprintf("no component_verify_ticket for %d minutes: WeChat pushes one every 10 minutes to /wechat/events", int(age.Minutes()))
	}
	return ""
}

const (
	pushesRemembered = 15 * time.Minute // WeChat pushes a ticket every ten
	ticketLate       = 11 * time.Minute
)

// refusedPushes are the reasons for which WeChat's own pushes may be refused, and what each means.
var refusedPushes = []struct {
	inbox.Reason
	means string
}{
	{inbox.BadEnvelope, "signed with our Token, but not opened by our AES key: compare 消息加解密Key in WeChat's console with PLATFORM_COMPONENT_AES_KEY"},
	{inbox.OtherComponent, "signed with our Token, but for another component: compare the appid in WeChat's console with PLATFORM_COMPONENT_APPID"},
	{inbox.BadClock, "whose time is more than 10 minutes from ours: synchronize this machine's clock (NTP); `platform doctor` compares it with WeChat's"},
	{inbox.BadSignature, "not signed with our Token: compare 消息校验Token in WeChat's console with PLATFORM_COMPONENT_TOKEN"},
}

// pushesRefused says why pushes were refused since the last authentic one. Anybody can send one
// that is not signed, so those count only while WeChat's own are late.
func (p *platform) pushesRefused(now time.Time) string {
	late := now.Sub(p.component.Newest().Received) > ticketLate
	for _, r := range refusedPushes {
		last := p.inbox.Counts.LastRefused(r.Reason)
		recent := now.Sub(last) < pushesRemembered && last.After(p.inbox.Counts.LastAuthentic())
		if recent && (late || r.Reason != inbox.BadSignature) {
			return fmt.Sprintf("a push came %s ago, %s", now.Sub(last).Round(time.Second), r.means)
		}
	}
	return ""
}

func (p *platform) misconfigured(now time.Time) string {
	r, is := p.health.misconfigured(now)
	if !is {
		return ""
	}
	return fmt.Sprintf("WeChat refuses with %d %s since %s: %s", r.code, strings.TrimSpace(r.msg), timeOfDay(r.since), remedy(r.code, r.msg).en)
}

func (p *platform) keysMissing(time.Time) string {
	if err := p.health.missingKeys(); err != nil {
		return fmt.Sprintf("%v: other replicas seal with it, so some rows cannot be opened here", err)
	}
	return ""
}

// mostOff is how far our clock may be from the database's. Replicas whose clocks differ by more
// than 30 s refuse each other's JWTs.
const mostOff = 10 * time.Second

func (p *platform) clockOff(time.Time) string {
	self, _ := p.health.company()
	if self.Ahead.Abs() <= mostOff {
		return ""
	}
	return fmt.Sprintf("this machine's clock is %s the database's: synchronize both (NTP). From 30 s on, replicas refuse each other's JWTs", offset(self.Ahead).en)
}

// offset says how far one clock is from another, such as "12s ahead of".
func offset(ahead time.Duration) text {
	by := ahead.Abs().Round(time.Second)
	if ahead < 0 {
		return sayf("%s behind", "慢 %s", by)
	}
	return sayf("%s ahead of", "快 %s", by)
}

func timeOfDay(t time.Time) string { return t.UTC().Format("15:04:05Z") }
