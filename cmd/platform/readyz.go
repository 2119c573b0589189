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
		_ = json.NewEncoder(w).Encode(readiness{Status: "stopping", Reasons: []string{"shutting down: requests in flight are finished"}, ReasonsZH: []string{"正在停止：处理完在途请求后退出"}})
		return
	}
	_ = json.NewEncoder(w).Encode(p.ready(r.Context()))
}

// readiness is the body of /readyz. A degraded platform serves, but something it depends on is
// wrong.
type readiness struct {
	Status    string   `json:"status"` // "ready", "degraded", "stopping"
	Reasons   []string `json:"reasons,omitempty"`
	ReasonsZH []string `json:"reasons_zh,omitempty"` // the same in Chinese
	Codes     []string `json:"codes,omitempty"`      // of the reasons, in their order
	// SealForm is the form in which this replica seals new values; 0 while it is stopping.
	SealForm seal.Form     `json:"seal_form,omitempty"`
	Version  string        `json:"version,omitempty"`
	Replicas []replicaView `json:"replicas,omitempty"` // all that run; of the others, the row that each last wrote
}

// ready checks what the platform depends on.
func (p *platform) ready(ctx context.Context) readiness {
	p.probe(ctx)
	self, others := p.health.replicas()
	self.Reasons = p.reasons(time.Now()) // the row may be 5 s old, or older if it cannot be written
	r := readiness{Status: "ready", SealForm: p.ring.Form, Version: self.Version, Replicas: viewsOf(append([]replica.Replica{self}, others...), viewReplica)}
	for _, why := range self.Reasons {
		r.Status = "degraded"
		r.Reasons, r.ReasonsZH, r.Codes = append(r.Reasons, why.Text), append(r.ReasonsZH, why.TextZH), append(r.Codes, why.Code)
	}
	return r
}

// check looks for one reason to be degraded.
type check struct {
	code string
	says func(now time.Time) text // what is wrong; zero if nothing is
}

// The codes that are named in more than one place.
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

// reasons returns why the platform is degraded, by the latest results of its probes and calls.
func (p *platform) reasons(now time.Time) (all []replica.Reason) {
	for _, c := range p.checks() {
		if why := c.says(now); why != (text{}) {
			all = append(all, replica.Reason{Code: c.code, Text: why.en, TextZH: why.zh})
		}
	}
	return all
}

func (p *platform) databaseAway(time.Time) text {
	if lost := p.health.sql.lost.Load(); lost != nil {
		return sayf("the database has been unreachable since %s: known merchants are served from memory", "自 %s 起无法连接数据库：已知商家由内存数据继续服务", timeOfDay(lost.since))
	}
	return text{}
}

// databaseTakesNoWrites says that the database refuses writes, if it answers at all.
func (p *platform) databaseTakesNoWrites(time.Time) text {
	lost := p.health.writes.lost.Load()
	if lost == nil || !p.health.sql.begun().IsZero() {
		return text{}
	}
	since, why := timeOfDay(lost.since), noWrites(lost.why)
	return say(
		fmt.Sprintf("the database has refused writes since %s: %s. Known merchants are served while their tokens last; nothing is renewed, and no merchant can authorize", since, why.en),
		fmt.Sprintf("自 %s 起数据库拒绝写入：%s。已知商家在令牌到期前照常服务；令牌不再续期，商家无法授权", since, why.zh))
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

func (p *platform) redisAway(time.Time) text {
	lost := p.health.redis.lost.Load()
	switch {
	case lost == nil:
		return text{}
	case errors.Is(lost.why, mirror.ErrRefused):
		return sayf("Redis has refused since %s, saying %q: tokens come from the database", "自 %s 起 Redis 拒绝请求（%q）：令牌改从数据库读取", timeOfDay(lost.since), mirror.Said(lost.why))
	}
	return sayf("Redis has been unreachable since %s (%s): tokens come from the database", "自 %s 起无法连接 Redis（%s）：令牌改从数据库读取", timeOfDay(lost.since), lost.why)
}

// redisNotShared says so if replicas run that do not share a Redis.
func (p *platform) redisNotShared(time.Time) text {
	self, others := p.health.replicas()
	for _, other := range others {
		if self.Redis == replica.InProcess || other.Redis == replica.InProcess {
			return sayf("%d replicas use this database, but they do not share a Redis: each hears late of what the others change, and more tokens are refreshed than needed. Set PLATFORM_REDIS_URL to the same Redis for all, or run one replica. The other is on %s",
				"%d 个副本使用同一个数据库，却没有共用 Redis：彼此的变更得知较晚，令牌刷新次数偏多。请为所有副本设置同一个 PLATFORM_REDIS_URL，或只运行一个副本。另一个副本在 %s", len(others)+1, other.Host)
		}
	}
	return text{}
}

func (p *platform) wechatAway(time.Time) text {
	if p.health.unsent.Load() < unsentThreshold {
		return text{}
	}
	return sayf("WeChat has been unreachable since %s: check DNS, the firewall and outbound network access", "自 %s 起无法连接微信：请检查 DNS、防火墙和出网权限", timeOfDay(p.health.wechat.begun()))
}

func (p *platform) ticketMissing(now time.Time) text {
	newest := p.component.Newest()
	if newest.Value.IsZero() {
		return say("no component_verify_ticket yet: WeChat pushes one every 10 minutes to /wechat/events", "尚未收到 component_verify_ticket：微信每 10 分钟推送一次到 /wechat/events")
	}
	if age := now.Sub(newest.Received); age > ticketOverdue {
		return sayf("no component_verify_ticket for %d minutes: WeChat pushes one every 10 minutes to /wechat/events", "已有 %d 分钟没有收到 component_verify_ticket：微信每 10 分钟推送一次到 /wechat/events", int(age.Minutes()))
	}
	return text{}
}

const (
	pushesRemembered = 15 * time.Minute // WeChat pushes a ticket every ten
	ticketLate       = 11 * time.Minute
)

// refusedPushes are the reasons for which WeChat's own pushes may be refused, and what each means.
var refusedPushes = []struct {
	inbox.Reason
	means text
}{
	{inbox.BadEnvelope, say("signed with our Token, but not opened by our AES key: compare 消息加解密Key in WeChat's console with PLATFORM_COMPONENT_AES_KEY",
		"签名与我方 Token 相符，但用我方 AES key 解不开：请核对微信后台的消息加解密Key 与 PLATFORM_COMPONENT_AES_KEY")},
	{inbox.OtherComponent, say("signed with our Token, but for another component: compare the appid in WeChat's console with PLATFORM_COMPONENT_APPID",
		"签名与我方 Token 相符，但属于另一个第三方平台：请核对微信后台的 appid 与 PLATFORM_COMPONENT_APPID")},
	{inbox.BadClock, say("whose time is more than 10 minutes from ours: synchronize this machine's clock (NTP); `platform doctor` compares it with WeChat's",
		"其时间与本机相差 10 分钟以上：请校准本机时钟（NTP）；platform doctor 会与微信的时钟比较")},
	{inbox.BadSignature, say("not signed with our Token: compare 消息校验Token in WeChat's console with PLATFORM_COMPONENT_TOKEN",
		"签名与我方 Token 不符：请核对微信后台的消息校验Token 与 PLATFORM_COMPONENT_TOKEN")},
}

// pushesRefused says why pushes were refused since the last authentic one. Anybody can send one
// that is not signed, so those count only while WeChat's own are late.
func (p *platform) pushesRefused(now time.Time) text {
	late := now.Sub(p.component.Newest().Received) > ticketLate
	for _, r := range refusedPushes {
		last := p.inbox.Counts.LastRefused(r.Reason)
		recent := now.Sub(last) < pushesRemembered && last.After(p.inbox.Counts.LastAuthentic())
		if recent && (late || r.Reason != inbox.BadSignature) {
			ago := now.Sub(last).Round(time.Second)
			return say(fmt.Sprintf("a push came %s ago, %s", ago, r.means.en), fmt.Sprintf("%s 前收到一次推送，%s", ago, r.means.zh))
		}
	}
	return text{}
}

func (p *platform) misconfigured(now time.Time) text {
	r, is := p.health.misconfigured(now)
	if !is {
		return text{}
	}
	code, msg, since, do := r.code, strings.TrimSpace(r.msg), timeOfDay(r.since), remedy(r.code, r.msg)
	return say(fmt.Sprintf("WeChat refuses with %d %s since %s: %s", code, msg, since, do.en), fmt.Sprintf("微信自 %s 起拒绝，%d %s：%s", since, code, msg, do.zh))
}

func (p *platform) keysMissing(time.Time) text {
	if err := p.health.missingKeys(); err != nil {
		return sayf("%v: other replicas seal with it, so some rows cannot be opened here", "缺少加密主密钥（%v）：其他副本用它加密，部分数据在本副本无法解密", err)
	}
	return text{}
}

// mostOff is how far our clock may be from the database's. Replicas whose clocks differ by more
// than 30 s refuse each other's JWTs.
const mostOff = 10 * time.Second

func (p *platform) clockOff(time.Time) text {
	self, _ := p.health.replicas()
	if self.Ahead.Abs() <= mostOff {
		return text{}
	}
	by := offset(self.Ahead)
	return say(
		fmt.Sprintf("this machine's clock is %s the database's: synchronize both (NTP). From 30 s on, replicas refuse each other's JWTs", by.en),
		fmt.Sprintf("本机时钟比数据库%s：请校准两者（NTP）。相差 30 秒以上时，副本会互相拒绝对方签发的 JWT", by.zh))
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
