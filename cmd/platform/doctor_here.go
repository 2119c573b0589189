package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"wxplatform/authorizer"
	"wxplatform/internal/db"
	"wxplatform/migrations"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// What doctor asks of this side: settings, the running platform, the database, Redis, and what is to be done.

const (
	clockComfort = 5 * time.Second
	clockMost    = 30 * time.Second // beyond, JWTs are refused
	dueComfort   = 5 * time.Minute
	dueMost      = 30 * time.Minute
	suspectMost  = 15 * time.Minute
	eventsMost   = 15 * time.Minute
)

// peculiar is what is set as it need not be wrong, but seldom is right where merchants are served.
func peculiar(c config) (all []finding) {
	if !strings.HasPrefix(c.publicURL, "https://") {
		all = append(all, warn("public-url", sayf("PLATFORM_PUBLIC_URL is %s, not https", "PLATFORM_PUBLIC_URL 不是 https：%s", c.publicURL),
			say("JWTs and client secrets travel there: put TLS in front of it", "JWT 与凭证经此传输：请在前面加 TLS")))
	}
	if tenant.JWTLength(c.publicURL, tenant.Every) > tenant.LongestComfortable {
		all = append(all, warn("public-url", say("PLATFORM_PUBLIC_URL is so long that JWTs exceed 512 characters", "PLATFORM_PUBLIC_URL 过长，JWT 超过 512 个字符"),
			say("use a shorter host name", "请使用较短的域名")))
	}
	if c.wechatURL != wechat.DefaultBase {
		all = append(all, warn("wechat-url", sayf("PLATFORM_WECHAT_URL is %s: not WeChat itself", "PLATFORM_WECHAT_URL 不是微信：%s", c.wechatURL),
			say("leave it unset, except to try things out with the simulator", "除模拟测试外请不要设置")))
	}
	return all
}

// servingHere asks the platform that runs with the same settings, if one does.
func servingHere(ctx context.Context, c config) finding {
	r, err := askReady(ctx, c.privateListen)
	switch {
	case err != nil:
		return warn("serve", sayf("no platform answers on %s", "%s 上没有平台在运行", c.privateListen), say("nothing, if it runs elsewhere; else start `platform serve`", "若运行在别处可忽略；否则请启动 platform serve"))
	case r.Status != "ready":
		return warn("serve", sayf("the platform here is %s: %s", "本机平台状态 %s：%s", r.Status, strings.Join(r.Reasons, "; ")), say("see the checks below", "见下列各项"))
	}
	return ok("serve", sayf("a platform answers on %s and is ready", "%s 上的平台已就绪", c.privateListen))
}

// database looks without changing anything. What needs its tables is asked only where they are there, and ours.
func database(ctx context.Context, c config) (all []finding, usable bool) {
	began := time.Now()
	d, err := db.Open(ctx, c.databaseURL)
	if err != nil {
		return []finding{bad("database", sayf("not to be reached: %v", "无法连接：%v", err), say("check PLATFORM_DATABASE_URL, that the server runs, and its firewall", "检查 PLATFORM_DATABASE_URL、数据库进程与防火墙"))}, false
	}
	defer d.Close()
	took := time.Since(began).Round(time.Millisecond)
	pending, err := d.Pending(ctx, migrations.Files)
	switch {
	case err != nil:
		return []finding{bad("database", sayf("does not answer: %v", "没有应答：%v", err), say("check the rights of its user", "检查数据库用户权限"))}, false
	case len(pending) > 0:
		return []finding{warn("database", sayf("%s answers; %d migrations are to come (%s)", "%s 可用；有 %d 个迁移未执行（%s）", d.Engine(), len(pending), strings.Join(pending, ", ")),
			say("`platform migrate`, or `platform serve`, which does it too. If there were tables before, check that this is the right database", "执行 platform migrate 或启动 serve；若本应已有数据，请确认数据库地址"))}, false
	}
	if err := d.Claim(ctx, string(c.component)); err != nil {
		return []finding{bad("database", sayf("%v", "%v（数据库属于另一个第三方平台）", err), say("each component has a database of its own: check PLATFORM_COMPONENT_APPID and PLATFORM_DATABASE_URL", "每个第三方平台用自己的数据库：检查 PLATFORM_COMPONENT_APPID 与 PLATFORM_DATABASE_URL"))}, false
	}
	all = append(all, ok("database", sayf("%s answers in %s, is up to date and belongs to %s", "%s 可用（%s），表结构最新，属于 %s", d.Engine(), took, c.component)), databaseClock(ctx, d))
	keys, fine := sealingKeys(ctx, d, c)
	return append(all, keys), fine
}

func databaseClock(ctx context.Context, d *db.DB) finding {
	began := time.Now()
	at, err := db.Now(ctx, d)
	if err != nil {
		return bad("clock", sayf("the database does not tell its time: %v", "无法读取数据库时间：%v", err), say("see above", "见上"))
	}
	return compareClocks("the database's", "数据库", at, began, time.Now())
}

// compareClocks compares another clock, read between began and ended, with ours.
func compareClocks(whose, whoseZH string, at, began, ended time.Time) finding {
	off := at.Sub(began)
	if at.After(began) {
		off = max(0, at.Sub(ended))
	}
	en := fmt.Sprintf("ours and %s clock differ by %s", whose, off.Abs().Round(time.Second))
	zh := fmt.Sprintf("本机与%s的时钟相差 %s", whoseZH, off.Abs().Round(time.Second))
	do := say("have both follow NTP: WeChat's pushes are refused when they seem to be 10 minutes off, JWTs at 30 seconds", "请启用 NTP 对时：相差 10 分钟会拒绝微信推送，30 秒会拒绝 JWT")
	switch {
	case off.Abs() > clockMost:
		return bad("clock", say(en, zh), do)
	case off.Abs() > clockComfort:
		return warn("clock", say(en, zh), do)
	}
	return ok("clock", say(en, zh))
}

func sealingKeys(ctx context.Context, d *db.DB, c config) (f finding, fine bool) {
	err := d.CheckKeys(ctx, c.ring)
	if errors.Is(err, db.ErrMissingKey) {
		return bad("sealing-keys", sayf("%v", "%v（缺少封存密钥）", err), say("put it back into PLATFORM_SEALING_KEYS, behind the newest: serve does not start without it", "请放回 PLATFORM_SEALING_KEYS（排在最新密钥之后），否则 serve 不会启动")), false
	}
	written, err2 := d.SealingKeys(ctx)
	if err := errors.Join(err, err2); err != nil {
		return bad("sealing-keys", sayf("could not be read: %v", "无法读取：%v", err), say("see above", "见上")), false
	}
	for _, k := range written {
		if k.ID != c.ring.Keys()[0] {
			return warn("sealing-keys", sayf("%d configured, %s is the newest; %s may still seal something", "已配置 %d 个，最新 %s；%s 可能仍在使用", len(c.ring.Keys()), c.ring.Keys()[0], k.ID),
				say("`platform reseal` when every replica has the newest key in front", "所有副本都以最新密钥为首之后，执行 platform reseal")), true
		}
	}
	return ok("sealing-keys", sayf("%d configured, and nothing is sealed under another than the newest, %s", "已配置 %d 个；全部密文都用最新密钥 %s", len(c.ring.Keys()), c.ring.Keys()[0])), true
}

func redisAnswers(ctx context.Context, p *platform, c config) finding {
	if c.redisURL.IsZero() {
		return ok("redis", say("the one in the process: for one replica", "使用进程内 Redis：仅适合单副本"))
	}
	began := time.Now()
	if err := p.mirror.Ping(ctx); err != nil {
		return bad("redis", say("does not answer within 250 ms", "250 毫秒内没有应答"), say("check PLATFORM_REDIS_URL and the server. Nothing is lost: tokens come from the database meanwhile", "检查 PLATFORM_REDIS_URL 与 Redis；期间令牌由数据库提供，不会丢失"))
	}
	return ok("redis", sayf("answers in %s", "可用（%s）", time.Since(began).Round(time.Millisecond)))
}

// backlog is whether the keepers keep up.
func backlog(ctx context.Context, p *platform) []finding {
	b, err := p.tokens.authorizer.Backlog(ctx)
	waiting, err2 := p.inbox.Waiting(ctx)
	oldest, err3 := p.inbox.Oldest(ctx)
	if err := errors.Join(err, err2, err3); err != nil {
		return []finding{bad("refreshes", sayf("the backlog could not be read: %v", "无法读取积压：%v", err), say("see above", "见上"))}
	}
	what := sayf("%d tokens due, the oldest for %s", "待续期令牌 %d 个，最久已等 %s", b.Due, b.DueFor.Round(time.Second))
	do := say("see that a `platform serve` runs, and in its log why refreshes fail", "确认有 platform serve 在运行，并查看其日志中续期失败的原因")
	refreshes := ok("refreshes", what)
	switch {
	case b.DueFor > dueMost:
		refreshes = bad("refreshes", what, do)
	case b.DueFor > dueComfort:
		refreshes = warn("refreshes", what, do)
	}
	suspects := ok("suspects", sayf("%d tokens wait for one more refresh", "%d 个令牌待再次确认", b.Suspects))
	if b.SuspectsPast > suspectMost {
		suspects = warn("suspects", sayf("%d tokens may not be the newest, the oldest for %s", "%d 个令牌可能不是最新，最久 %s", b.Suspects, b.SuspectsPast.Round(time.Second)), do)
	}
	events := ok("events", sayf("%d events of WeChat's to be worked off", "待处理的微信事件 %d 个", waiting))
	if oldest > eventsMost {
		events = warn("events", sayf("%d events of WeChat's to be worked off, the oldest for %s", "待处理的微信事件 %d 个，最久 %s", waiting, oldest.Round(time.Second)), do)
	}
	return []finding{refreshes, suspects, events}
}

// states is how the authorizers are, and whether asking for tokens pauses.
func states(ctx context.Context, p *platform) []finding {
	counts, err := p.authorizers.Count(ctx)
	if err != nil {
		return []finding{bad("authorizers", sayf("%v", "%v", err), say("see above", "见上"))}
	}
	n := func(s authorizer.State) int64 { return counts[s] }
	what := sayf("%d healthy, %d degraded, %d out of quota, %d to authorize again, %d revoked", "正常 %d，降级 %d，额度用尽 %d，需重新授权 %d，已取消 %d",
		n(authorizer.Healthy), n(authorizer.Degraded), n(authorizer.Quota), n(authorizer.Reauthorize), n(authorizer.Revoked))
	found := []finding{ok("authorizers", what)}
	if n(authorizer.Degraded)+n(authorizer.Quota)+n(authorizer.Reauthorize) > 0 {
		found[0] = warn("authorizers", what, say("`platform authorizer list` says who and why; those to authorize again need a new invitation, the others mend by themselves", "用 platform authorizer list 查看原因；需重新授权的请发送新邀请，其余会自行恢复"))
	}
	found = append(found, unverified(ctx, p)...)
	found = append(found, budget(ctx, p)...)
	if pause, is := p.quota.Paused(ctx); is {
		found = append(found, warn("pause", sayf("no access tokens are asked for until %s, for WeChat answered %d", "在 %s 之前不再获取令牌：微信返回 %d", stamp(pause.Until), pause.Code), remedy(pause.Code, "")))
	}
	return found
}

// unverified is how many accounts WeChat calls unverified. Calls go out for them all the same, for
// WeChat says so of some that are verified.
func unverified(ctx context.Context, p *platform) []finding {
	n, err := p.authorizers.Unverified(ctx)
	switch {
	case err != nil:
		return []finding{bad("verified", sayf("%v", "%v", err), say("see above", "见上"))}
	case n == 0:
		return nil
	}
	return []finding{warn("verified", sayf("%d accounts are not verified, by WeChat's profile of them: it may refuse the customer-service APIs for those (48001)", "%d 个账号在微信资料中显示未认证：微信可能拒绝其客服接口（48001）", n),
		say("`platform authorizer list` shows which (VERIFIED false); the merchant has the account verified by WeChat", "用 platform authorizer list 查看（VERIFIED 为 false），请商家完成微信认证"))}
}

// budget is how much of the day's access tokens is asked for already. Beyond four fifths only callers get new ones.
func budget(ctx context.Context, p *platform) []finding {
	spent, err := p.quota.Usage(ctx)
	switch {
	case err != nil:
		return []finding{bad("budget", sayf("%v", "%v", err), say("see above", "见上"))}
	case spent.Limit == 0:
		return []finding{ok("budget", sayf("%d access tokens asked for today; no budget is known", "今日已获取令牌 %d 次；没有已知的限额", spent.Used))}
	}
	what := sayf("%d of %d access tokens asked for today, %d left", "今日已获取令牌 %d / %d 次，剩余 %d", spent.Used, spent.Limit, max(0, spent.Limit-spent.Used))
	if spent.Renews() {
		return []finding{ok("budget", what)}
	}
	return []finding{warn("budget", what, say("nothing is renewed ahead of time until 00:00 Beijing; callers still get tokens. Raise PLATFORM_REFRESH_BUDGET, or ask WeChat for more", "北京时间 0 点前不再提前续期，调用时仍会获取；请调高 PLATFORM_REFRESH_BUDGET 或向微信申请提额"))}
}
