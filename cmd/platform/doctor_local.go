package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"wxplatform/authorizer"
	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
	"wxplatform/internal/seal"
	"wxplatform/migrations"
	"wxplatform/replica"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// Checks of our own side: settings, the running platform, database, Redis and backlogs.

const (
	clockWarning   = 5 * time.Second
	clockFailure   = 30 * time.Second // beyond it JWTs are refused
	dueWarning     = 5 * time.Minute
	dueFailure     = 30 * time.Minute
	suspectWarning = 15 * time.Minute
	eventsWarning  = 15 * time.Minute
)

// unusual warns of settings that are valid but seldom right in production.
func unusual(c config) (all []finding) {
	switch host := hostOf(c.publicURL); {
	case !strings.HasPrefix(c.publicURL, "https://"):
		all = append(all, warn("public-url", sayf("PLATFORM_PUBLIC_URL is %s, not https", "PLATFORM_PUBLIC_URL 不是 https：%s", c.publicURL),
			say("JWTs and client secrets are sent there: put TLS in front of it", "JWT 与客户端密钥经此传输：请在前面加 TLS")))
	case local(host):
		all = append(all, warn("public-url", sayf("PLATFORM_PUBLIC_URL is on %s, where neither WeChat nor merchants reach it", "PLATFORM_PUBLIC_URL 在 %s 上，微信和商家都无法访问", host),
			say("use a host name that leads here from the internet", "请使用可从公网访问的域名")))
	}
	if n := tenant.JWTLength(c.publicURL); n > tenant.LongestComfortable {
		all = append(all, warn("public-url", sayf("PLATFORM_PUBLIC_URL is so long that a JWT for one account has %d characters", "PLATFORM_PUBLIC_URL 过长：单个账号的 JWT 有 %d 个字符", n),
			sayf("use a shorter host name: merchants keep the JWT where WeChat's tokens go, which often has room for %d characters", "请使用较短的域名：商家把 JWT 存放在原来存微信令牌的地方，那里通常只能容纳 %d 个字符", tenant.LongestComfortable)))
	}
	all = append(all, files(openFiles()))
	if c.wechatURL != wechat.DefaultBase {
		all = append(all, warn("wechat-url", sayf("PLATFORM_WECHAT_URL is %s, not WeChat itself", "PLATFORM_WECHAT_URL 不是微信：%s", c.wechatURL),
			say("leave it unset, except for tests with the simulator", "除模拟测试外请不要设置")))
	}
	return all
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// local reports whether host is of this machine or of a private network.
func local(host string) bool {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host == "localhost" || strings.HasSuffix(host, ".localhost") || strings.HasSuffix(host, ".local") || strings.HasSuffix(host, ".internal")
	}
	return ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsUnspecified()
}

// files says how many public connections a process with so many files can have.
func files(limit uint64) finding {
	most := publicConnections(limit)
	if most < enoughConnections {
		return warn("open-files", sayf("the limit of %d open files leaves %d connections for callers", "打开文件数上限 %d，只够 %d 个调用方连接", limit, most),
			sayf("raise it for the platform's process to %d or more (ulimit -n, LimitNOFILE= of systemd, ulimits: nofile of docker compose)", "请把平台进程的上限提高到 %d 以上（ulimit -n、systemd 的 LimitNOFILE=、docker compose 的 ulimits: nofile）", enoughConnections+filesForOthers))
	}
	return ok("open-files", sayf("at most %d connections of callers, by this process's limit of open files", "按本进程的打开文件数上限，最多 %d 个调用方连接", most))
}

// servingHere asks the platform that runs with the same settings, if any, whether it is ready.
func servingHere(ctx context.Context, c config) finding {
	r, err := askReady(ctx, c.privateListen)
	switch {
	case err != nil:
		return warn("serve", sayf("no platform answers on %s", "%s 上没有平台在运行", c.privateListen), say("ignore this if it runs elsewhere; otherwise start `platform serve`", "若运行在别处可忽略；否则请启动 platform serve"))
	case r.Status != "ready":
		what := say(fmt.Sprintf("the platform here is %s: %s", r.Status, strings.Join(r.Reasons, "; ")), fmt.Sprintf("本机平台状态 %s：%s", r.Status, strings.Join(r.ReasonsZH, "；")))
		return warn("serve", what, say("see the checks below", "见下列各项"))
	}
	return ok("serve", sayf("a platform answers on %s and is ready", "%s 上的平台已就绪", c.privateListen))
}

// database checks the database without changing it. usable reports whether its tables are up to
// date and belong to this component, so that the later checks can read them.
func database(ctx context.Context, c config) (all []finding, usable bool) {
	began := time.Now()
	d, err := db.Open(ctx, c.databaseURL)
	if err != nil {
		return []finding{bad("database", sayf("unreachable: %v", "无法连接：%v", err), say("check PLATFORM_DATABASE_URL, whether the server runs, and its firewall", "检查 PLATFORM_DATABASE_URL、数据库进程与防火墙"))}, false
	}
	defer d.Close()
	took := time.Since(began).Round(time.Millisecond)
	newer, err := d.Newer(ctx, migrations.Files)
	if err != nil {
		return []finding{unreadable(d.Engine(), err)}, false
	}
	pending, err := d.Pending(ctx, migrations.Files)
	switch {
	case err != nil:
		return []finding{unreadable(d.Engine(), err)}, false
	case len(pending) > 0:
		return []finding{warn("database", sayf("%s answers; %d migrations are pending (%s)", "%s 可用；有 %d 个迁移未执行（%s）", d.Engine(), len(pending), strings.Join(pending, ", ")),
			say("run `platform migrate`, or start `platform serve`, which migrates too. If it had data before, check that this is the right database", "执行 platform migrate 或启动 serve；若本应已有数据，请确认数据库地址"))}, false
	}
	if err := d.Claim(ctx, string(c.component)); err != nil {
		return []finding{claimFailed(d.Engine(), err)}, false
	}
	if err := replica.NewRegistry(d).Prove(ctx); err != nil {
		all = append(all, takesNoWrites(d.Engine(), err))
	} else {
		all = append(all, ok("database", sayf("%s answers in %s, takes writes, is up to date and belongs to %s", "%s 可用（%s），可写，表结构最新，属于 %s", d.Engine(), took, c.component)))
	}
	if len(newer) > 0 {
		all = append(all, warn("database", sayf("a newer version of the platform has migrated it (%s); this version can work with it", "更新版本的平台已升级表结构（%s）；本版本仍可使用", listed(newer)),
			say("upgrade this program, too", "请升级本程序")))
	}
	all = append(all, databaseClock(ctx, d))
	all = append(all, diskSpace(c.databaseURL)...)
	keys, fine := sealingKeys(ctx, d, c)
	return append(all, keys), fine
}

// listed names migrations, each with the version that ran it.
func listed(all []db.Migration) string {
	var names []string
	for _, m := range all {
		names = append(names, m.String())
	}
	return strings.Join(names, ", ")
}

// unreadable says why the migrations cannot be read.
func unreadable(engine string, err error) finding {
	switch {
	case errors.Is(err, db.ErrTooNew):
		return bad("database", sayf("%v", "%v（数据库表结构比本程序新）", err), say("run that version of the platform or a newer one; to go back further, restore a backup from before the upgrade", "请运行该版本或更新的平台；若要退回更早版本，请恢复升级前的备份"))
	case errors.Is(err, db.ErrRights):
		return bad("database", sayf("%s answers, but its user lacks a right: %v", "%s 有应答，但数据库用户缺少权限：%v", engine, err), grantRights)
	}
	return bad("database", sayf("does not answer: %v", "没有应答：%v", err), say("check PLATFORM_DATABASE_URL, and read the database's log", "请检查 PLATFORM_DATABASE_URL，并查看数据库日志"))
}

// grantRights is what to do about a missing right.
var grantRights = say("grant the user of PLATFORM_DATABASE_URL SELECT, INSERT, UPDATE and DELETE on all tables", "请授予 PLATFORM_DATABASE_URL 的用户所有表的 SELECT、INSERT、UPDATE、DELETE 权限")

// claimFailed says why the database cannot be used for this component.
func claimFailed(engine string, err error) finding {
	switch {
	case errors.Is(err, db.ErrOtherComponent):
		return bad("database", sayf("%v", "%v（数据库属于另一个第三方平台）", err), say("each component needs its own database: check PLATFORM_COMPONENT_APPID and PLATFORM_DATABASE_URL", "每个第三方平台用自己的数据库：检查 PLATFORM_COMPONENT_APPID 与 PLATFORM_DATABASE_URL"))
	case errors.Is(err, db.ErrMoved), errors.Is(err, db.ErrMoving):
		return bad("database", sayf("%v", "%v（数据库已迁走，或迁移中断）", err), say("check PLATFORM_DATABASE_URL: the other database of `platform migrate --from` may be the one that serves", "检查 PLATFORM_DATABASE_URL：正在使用的可能是 platform migrate --from 的另一个数据库"))
	}
	return takesNoWrites(engine, err)
}

// takesNoWrites says why the database takes no writes, and what to do.
func takesNoWrites(engine string, err error) finding {
	why := noWrites(err)
	what := sayf("%s answers, but takes no writes: %s", "%s 有应答，但不能写入：%s", engine, why.en)
	what.zh = fmt.Sprintf("%s 有应答，但不能写入：%s", engine, why.zh)
	switch do := writesRemedy(err); {
	case do != (text{}):
		return bad("database", what, do)
	case errors.Is(err, db.ErrRights):
		return bad("database", what, grantRights)
	}
	return bad("database", what, say("read the database's log", "请查看数据库日志"))
}

// writesRemedy is what to do about a database that is read-only or full, or nothing.
func writesRemedy(err error) text {
	switch {
	case errors.Is(err, db.ErrReadOnly):
		return say("use the primary and not a standby in PLATFORM_DATABASE_URL, and end default_transaction_read_only (PostgreSQL sets it nowhere by itself; hosting services do when the disk quota is used up)", "PLATFORM_DATABASE_URL 应指向主库而非备库，并取消 default_transaction_read_only（云数据库在磁盘配额用尽时会设置它）")
	case errors.Is(err, db.ErrFull):
		return say("free space or enlarge the disk; a platform that serves goes on by itself then", "清理或扩大磁盘；之后运行中的平台会自行恢复")
	}
	return text{}
}

const (
	spaceWarning = 1 << 30 // bytes
	spaceFailure = 64 << 20
)

// diskSpace says how much is free where the file of a SQLite database is, if that can be known.
func diskSpace(url seal.Secret) []finding {
	file, is := strings.CutPrefix(url.Reveal(), "sqlite:")
	free, known := freeSpace(filepath.Dir(file))
	if !is || !known {
		return nil
	}
	what := sayf("%d MiB are free where the database file is", "数据库文件所在磁盘剩余 %d MiB", free>>20)
	do := say("free space or enlarge the disk: when it is full, nothing is renewed and no merchant can authorize", "请清理或扩大磁盘：磁盘满后不能续期，商家也不能授权")
	switch {
	case free < spaceFailure:
		return []finding{bad("disk", what, do)}
	case free < spaceWarning:
		return []finding{warn("disk", what, do)}
	}
	return []finding{ok("disk", what)}
}

func databaseClock(ctx context.Context, d *db.DB) finding {
	began := time.Now()
	at, err := db.Now(ctx, d)
	if err != nil {
		return bad("clock", sayf("could not read the database's time: %v", "无法读取数据库时间：%v", err), say("see above", "见上"))
	}
	return compareClocks("the database's", "数据库", at, began, time.Now())
}

// compareClocks compares our clock with another one, which was read between began and ended.
func compareClocks(whose, whoseZH string, at, began, ended time.Time) finding {
	off := at.Sub(began)
	if at.After(began) {
		off = max(0, at.Sub(ended))
	}
	en := fmt.Sprintf("ours and %s clock differ by %s", whose, off.Abs().Round(time.Second))
	zh := fmt.Sprintf("本机与%s的时钟相差 %s", whoseZH, off.Abs().Round(time.Second))
	do := say("synchronize both with NTP: pushes are refused when the clocks differ by 10 minutes, JWTs at 30 seconds", "请启用 NTP 对时：相差 10 分钟会拒绝微信推送，30 秒会拒绝 JWT")
	switch {
	case off.Abs() > clockFailure:
		return bad("clock", say(en, zh), do)
	case off.Abs() > clockWarning:
		return warn("clock", say(en, zh), do)
	}
	return ok("clock", say(en, zh))
}

func sealingKeys(ctx context.Context, d *db.DB, c config) (f finding, fine bool) {
	err := d.CheckKeys(ctx, c.ring)
	if errors.Is(err, db.ErrMissingKey) {
		return bad("sealing-keys", sayf("%v", "%v（缺少加密主密钥）", err), say("put it back into PLATFORM_SEALING_KEYS, after the newest: serve does not start without it. "+lostForGood.en, "请放回 PLATFORM_SEALING_KEYS（排在最新密钥之后），否则 serve 不会启动。"+lostForGood.zh)), false
	}
	written, err2 := d.SealingKeys(ctx)
	if err := errors.Join(err, err2); err != nil {
		return bad("sealing-keys", sayf("could not be read: %v", "无法读取：%v", err), say("see above", "见上")), false
	}
	for _, k := range written {
		if k.ID != c.ring.Keys()[0] {
			return warn("sealing-keys", sayf("%d configured, the newest is %s; something may still be sealed under %s", "已配置 %d 个，最新 %s；%s 可能仍在使用", len(c.ring.Keys()), c.ring.Keys()[0], k.ID),
				say("run `platform reseal` once every replica has the newest key first", "所有副本都以最新密钥为首之后，执行 platform reseal")), true
		}
	}
	return ok("sealing-keys", sayf("%d configured; everything is sealed under the newest, %s; new values are sealed in form %d", "已配置 %d 个；全部密文都用最新密钥 %s；新密文采用格式 %d", len(c.ring.Keys()), c.ring.Keys()[0], c.ring.Form)), true
}

func redisAnswers(ctx context.Context, p *platform, c config) finding {
	if c.redisURL.IsZero() {
		return ok("redis", say("in-process: for a single replica only", "使用进程内 Redis：仅适合单副本"))
	}
	began := time.Now()
	err := p.mirror.Ping(ctx)
	do := say("check PLATFORM_REDIS_URL and the server. Nothing is lost: until then tokens come from the database", "检查 PLATFORM_REDIS_URL 与 Redis；期间令牌由数据库提供，不会丢失")
	switch {
	case errors.Is(err, mirror.ErrRefused):
		return bad("redis", sayf("answers, but refuses: %s", "有应答，但拒绝：%s", mirror.Said(err)), redisRemedy(mirror.Said(err), do))
	case err != nil:
		return bad("redis", sayf("cannot be used: %v", "无法使用：%v", err), do)
	}
	return ok("redis", sayf("answers and takes writes, in %s", "可读可写（%s）", time.Since(began).Round(time.Millisecond)))
}

// redisRemedy is what to do about an answer of Redis, or otherwise.
func redisRemedy(said string, otherwise text) text {
	switch word, _, _ := strings.Cut(said, " "); word {
	case "READONLY":
		return say("PLATFORM_REDIS_URL leads to a replica: use the primary, or redis+sentinel://, which follows a failover", "PLATFORM_REDIS_URL 指向只读副本：请指向主节点，或用 redis+sentinel:// 自动跟随切换")
	case "NOAUTH":
		return say("Redis wants a password: put it into PLATFORM_REDIS_URL, as in redis://:PASSWORD@HOST:6379", "Redis 需要密码：请写入 PLATFORM_REDIS_URL，如 redis://:密码@主机:6379")
	case "WRONGPASS":
		return say("the password or user in PLATFORM_REDIS_URL is wrong", "PLATFORM_REDIS_URL 中的用户或密码不正确")
	case "NOPERM":
		return say("the user in PLATFORM_REDIS_URL lacks a right: docs/operate/configure.md, \"Redis\", lists those that are needed", "PLATFORM_REDIS_URL 中的用户缺少权限：所需权限见 docs/zh/operate/configure.md 的“Redis”一节")
	}
	return otherwise
}

// backlog checks that renewals and events do not lag behind.
func backlog(ctx context.Context, p *platform) []finding {
	b, err := p.tokens.authorizer.Backlog(ctx)
	waiting, err2 := p.inbox.Waiting(ctx)
	oldest, err3 := p.inbox.Oldest(ctx)
	if err := errors.Join(err, err2, err3); err != nil {
		return []finding{bad("refreshes", sayf("the backlog could not be read: %v", "无法读取积压：%v", err), say("see above", "见上"))}
	}
	what := sayf("%d tokens due, the oldest for %s", "待续期令牌 %d 个，最久已等 %s", b.Due, b.DueFor.Round(time.Second))
	do := say("check that a `platform serve` runs, and its log for why refreshes fail", "确认有 platform serve 在运行，并查看其日志中续期失败的原因")
	refreshes := ok("refreshes", what)
	switch {
	case b.DueFor > dueFailure:
		refreshes = bad("refreshes", what, do)
	case b.DueFor > dueWarning:
		refreshes = warn("refreshes", what, do)
	}
	suspects := ok("suspects", sayf("%d tokens wait for one more refresh", "%d 个令牌待再次确认", b.Suspects))
	if b.SuspectsPast > suspectWarning {
		suspects = warn("suspects", sayf("%d tokens may be stale, the oldest for %s", "%d 个令牌可能不是最新，最久 %s", b.Suspects, b.SuspectsPast.Round(time.Second)), do)
	}
	events := ok("events", sayf("%d events from WeChat waiting", "待处理的微信事件 %d 个", waiting))
	if oldest > eventsWarning {
		events = warn("events", sayf("%d events from WeChat waiting, the oldest for %s", "待处理的微信事件 %d 个，最久 %s", waiting, oldest.Round(time.Second)), do)
	}
	return []finding{refreshes, suspects, events}
}

// authorizerStates counts authorizers by state, and checks verification, budget and pauses.
func authorizerStates(ctx context.Context, p *platform) []finding {
	counts, err := p.authorizers.Count(ctx)
	if err != nil {
		return []finding{bad("authorizers", sayf("%v", "%v", err), say("see above", "见上"))}
	}
	n := func(s authorizer.State) int64 { return counts[s] }
	what := sayf("%d healthy, %d degraded, %d out of quota, %d must authorize again, %d revoked", "正常 %d，降级 %d，额度用尽 %d，需重新授权 %d，已取消 %d",
		n(authorizer.Healthy), n(authorizer.Degraded), n(authorizer.Quota), n(authorizer.Reauthorize), n(authorizer.Revoked))
	found := []finding{ok("authorizers", what)}
	if n(authorizer.Degraded)+n(authorizer.Quota)+n(authorizer.Reauthorize) > 0 {
		found[0] = warn("authorizers", what, say("`platform authorizer list` says which and why; those that must authorize again need a new invitation, the others recover automatically, those with 40001 once no other program uses this component", "用 platform authorizer list 查看原因；需重新授权的请发送新邀请，其余会自行恢复（原因为 40001 的，须先停止使用同一第三方平台的其他程序）"))
	}
	found = append(found, unverified(ctx, p)...)
	found = append(found, budget(ctx, p)...)
	if pause, is := p.quota.Paused(ctx); is {
		found = append(found, warn("pause", sayf("no access tokens are requested until %s, because WeChat answered %d", "在 %s 之前不再获取令牌：微信返回 %d", timestamp(pause.Until), pause.Code), remedy(pause.Code, "")))
	}
	return found
}

// unverified warns of accounts whose profile says that they are not verified. Calls are still sent
// for them: WeChat reports some verified accounts as unverified.
func unverified(ctx context.Context, p *platform) []finding {
	n, err := p.authorizers.Unverified(ctx)
	switch {
	case err != nil:
		return []finding{bad("verified", sayf("%v", "%v", err), say("see above", "见上"))}
	case n == 0:
		return nil
	}
	return []finding{warn("verified", sayf("%d accounts are not verified, according to their WeChat profile: WeChat may refuse the customer-service APIs for them (48001)", "%d 个账号在微信资料中显示未认证：微信可能拒绝其客服接口（48001）", n),
		say("`platform authorizer list` shows which (VERIFIED false); ask the merchant to get the account verified by WeChat", "用 platform authorizer list 查看（VERIFIED 为 false），请商家完成微信认证"))}
}

// budget checks how many of the day's access tokens are used. Once four fifths are, tokens are no
// longer renewed ahead of time.
func budget(ctx context.Context, p *platform) []finding {
	spent, err := p.quota.Usage(ctx)
	switch {
	case err != nil:
		return []finding{bad("budget", sayf("%v", "%v", err), say("see above", "见上"))}
	case spent.Limit == 0:
		return []finding{ok("budget", sayf("%d access tokens requested today; no budget is known", "今日已获取令牌 %d 次；没有已知的限额", spent.Used))}
	}
	what := sayf("%d of %d access tokens requested today, %d left", "今日已获取令牌 %d / %d 次，剩余 %d", spent.Used, spent.Limit, max(0, spent.Limit-spent.Used))
	if spent.Renews() {
		return []finding{ok("budget", what)}
	}
	return []finding{warn("budget", what, say("nothing is renewed ahead of time until 00:00 Beijing time; callers still get tokens. Raise PLATFORM_REFRESH_BUDGET, or ask WeChat for a higher quota", "北京时间 0 点前不再提前续期，调用时仍会获取；请调高 PLATFORM_REFRESH_BUDGET 或向微信申请提额"))}
}
