package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"wxplatform/component"
	"wxplatform/replica"
	"wxplatform/wechat"
)

// Checks of WeChat, and of the callback URL that WeChat pushes to.

const callbackTimeout = 5 * time.Second // as long as WeChat waits

// wechatAnswers makes a harmless call of WeChat, which shows that it is reachable, accepts the
// secret and this address, and what its time is. It returns that call's error, too.
func wechatAnswers(ctx context.Context, c config) ([]finding, error) {
	client := wechat.NewClient(c.wechatURL, wechat.Observer{})
	defer client.CloseIdle()
	began := time.Now()
	at, err := component.New(c.component, c.secret, nil, c.ring, nil, nil, client).Greet(ctx)
	if err != nil {
		return []finding{wechatFailure("wechat", err)}, err
	}
	ended := time.Now()
	found := []finding{ok("wechat", sayf("answers in %s and accepts the secret and this address", "可用（%s），密钥正确，本机地址已获许可", ended.Sub(began).Round(time.Millisecond)))}
	if !at.IsZero() {
		found = append(found, compareClocks("WeChat's", "微信", at.Add(time.Second/2), began.Add(-time.Second), ended.Add(time.Second))) // Date has whole seconds
	}
	return found, nil
}

// wechatFailure is a failed call, with what the operator can do about it.
func wechatFailure(check string, err error) finding {
	refusal := wechat.Refusal(err)
	switch {
	case refusal != nil:
		return bad(check, sayf("WeChat refuses with %d %s", "微信拒绝：%d %s", refusal.Code, refusal.Msg), remedy(refusal.Code, refusal.Msg))
	case wechat.NotSent(err):
		return bad(check, sayf("unreachable: %v", "无法连接微信：%v", err), say("check DNS, the firewall and outbound access to api.weixin.qq.com:443", "检查 DNS、防火墙以及到 api.weixin.qq.com:443 的出口"))
	}
	return bad(check, sayf("%v", "%v（微信应答异常）", err), say("retry; if it persists, WeChat is failing, or a proxy between us and WeChat answers", "请重试；若持续，可能微信故障或中间代理作答"))
}

var requestIP = regexp.MustCompile(`requestIP: ?([0-9A-Fa-f.:]+)`)

// remedy is what the operator can do about a refusal. The address for 61004 is the one that WeChat
// saw.
func remedy(code wechat.Code, msg string) text {
	switch code {
	case wechat.UnknownAddress:
		address, addressZH := "this machine's public address", "本机的出口 IP"
		if seen := requestIP.FindStringSubmatch(msg); seen != nil {
			address, addressZH = seen[1], seen[1]
		}
		return sayf("add %[1]s to the component's IP list: open.weixin.qq.com → 管理中心 → 第三方平台 → 详情 → 开发配置 → 白名单IP地址列表. List every public address of a NAT; once a version is released, changes take effect with the next release",
			"请把 %[2]s 加入第三方平台的白名单 IP 地址列表（微信开放平台 → 管理中心 → 第三方平台 → 详情 → 开发配置）；NAT 的每个出口都要加；已发布版本需重新发布后生效", address, addressZH)
	case wechat.InvalidSecret:
		return say("PLATFORM_COMPONENT_SECRET is not the component's AppSecret: read or reset it in WeChat's console, and restart every replica", "PLATFORM_COMPONENT_SECRET 不正确：请在微信开放平台查看或重置 AppSecret，并重启全部副本")
	case wechat.InvalidComponent:
		return say("PLATFORM_COMPONENT_APPID is not a component's appid (perhaps it is an account's)", "PLATFORM_COMPONENT_APPID 不是第三方平台的 appid（或误填了公众号的）")
	case wechat.TicketExpired, wechat.TicketInvalid:
		return say("the ticket is too old or another component's: check that pushes arrive at /wechat/events, and wait for the next (10 minutes)", "ticket 过期或不属于本平台：确认推送能到达 /wechat/events，并等待下一次推送（10 分钟）")
	case wechat.DayQuota, wechat.MinuteQuota:
		return say("the quota is used up; the day's is restored at 00:00 Beijing time", "接口次数用尽：日限额于北京时间 0 点恢复")
	}
	return say("look the code up in WeChat's 全局返回码", "请查微信《全局返回码》")
}

// ticket checks that WeChat pushes tickets. greeted is the result of api_start_push_ticket, and
// running are the replicas, which know why pushes are refused.
func ticket(ctx context.Context, p *platform, greeted error, running []replica.Replica) finding {
	if err := p.component.Refresh(ctx); err != nil {
		return bad("ticket", sayf("%v", "%v", err), say("see above", "见上"))
	}
	newest := p.component.Newest()
	age := time.Since(newest.Received).Round(time.Second)
	what := sayf("the newest component_verify_ticket came %s ago; WeChat pushes one every 10 minutes", "最新的 component_verify_ticket 已是 %s 前（应每 10 分钟一次）", age)
	if newest.Value.IsZero() {
		what = say("WeChat has not pushed a component_verify_ticket yet", "尚未收到 component_verify_ticket")
	}
	if why := refusedBy(running); why != (text{}) {
		return bad("ticket", say(what.en+". "+why.en, what.zh+"。"+why.zh), say("correct the setting or the clock, and restart the replicas", "请更正设置或时钟，并重启各副本"))
	}
	if !newest.Value.IsZero() && age <= component.TicketMissing {
		return ok("ticket", sayf("the newest came %s ago", "最新 ticket 收到于 %s 前", age))
	}
	return bad("ticket", what, askForTickets(greeted))
}

// refusedBy says why one of the replicas refuses WeChat's pushes, or nothing.
func refusedBy(running []replica.Replica) text {
	for _, r := range running {
		for _, why := range r.Reasons {
			if why.Code == pushesRefused {
				return say(why.Text, cmp.Or(why.TextZH, why.Text))
			}
		}
	}
	return text{}
}

// askForTickets is what to do while no ticket comes, after api_start_push_ticket was called.
func askForTickets(greeted error) text {
	if refusal := wechat.Refusal(greeted); refusal != nil {
		return sayf("WeChat refuses api_start_push_ticket with %d %s: see the check of WeChat", "微信拒绝 api_start_push_ticket：%d %s，见 wechat 一项", refusal.Code, refusal.Msg)
	}
	if greeted != nil {
		return sayf("api_start_push_ticket failed (%v): see the check of WeChat", "api_start_push_ticket 失败（%v）：见 wechat 一项", greeted)
	}
	return say("api_start_push_ticket was called just now. If no ticket comes within 10 minutes, compare the 授权事件接收URL in WeChat's console (open.weixin.qq.com → 管理中心 → 第三方平台 → 详情 → 开发配置) with PLATFORM_PUBLIC_URL/wechat/events, and its 消息校验Token and 消息加解密Key with the settings",
		"刚刚已调用 api_start_push_ticket。若 10 分钟内仍未收到：请核对微信开放平台的“授权事件接收URL”是否为 PLATFORM_PUBLIC_URL/wechat/events，以及消息校验 Token、消息加解密 Key")
}

func componentToken(ctx context.Context, p *platform) finding {
	if p.component.Newest().Value.IsZero() {
		return warn("token", say("a component token requires a ticket", "没有 ticket，无法获取 component_access_token"), say("see the ticket check", "见 ticket 一项"))
	}
	token, err := p.component.Token(ctx)
	if err != nil {
		return wechatFailure("token", err)
	}
	return ok("token", sayf("the component token is valid for %s", "component_access_token 可用，剩余 %s", time.Until(token.Expires).Round(time.Second)))
}

// callback probes the callback URL as WeChat's console does. It runs on this machine, so it does
// not show whether WeChat can reach the URL.
func callback(ctx context.Context, c config) finding {
	ctx, cancel := context.WithTimeout(ctx, callbackTimeout)
	defer cancel()
	where := c.publicURL + "/wechat/events"
	echo := rand.Text()
	status, body, err := getEcho(ctx, where, echoQuery(c, echo))
	do := sayf("check that %[1]s leads to the platform: DNS, certificate, proxy. This was tested from here only; WeChat comes from outside", "请确认 %[1]s 能到达平台（DNS、证书、反向代理）。本检查只从本机发出", where)
	switch {
	case err != nil:
		return bad("callback", sayf("%s is unreachable from here: %v", "本机无法访问 %s：%v", where, err), do)
	case status == http.StatusForbidden:
		return bad("callback", sayf("%s answers, but rejects our signature", "%s 有应答，但不接受本机签名", where), say("PLATFORM_COMPONENT_TOKEN there differs from the one here", "该平台的 PLATFORM_COMPONENT_TOKEN 与本机不同"))
	case status != http.StatusOK || body != echo:
		return bad("callback", sayf("%s answers HTTP %d and not the echo: something else answers there", "%s 返回 HTTP %d，不是预期的回显：可能不是本平台", where, status), do)
	}
	return ok("callback", sayf("%s echoes (tested from here only; WeChat comes from outside)", "%s 回显正常（仅从本机检查）", where))
}

func echoQuery(c config, echo string) url.Values {
	timestamp, nonce := fmt.Sprint(time.Now().Unix()), rand.Text()[:10]
	return url.Values{"timestamp": {timestamp}, "nonce": {nonce}, "signature": {c.envelope.EchoSignature(timestamp, nonce)}, "echostr": {echo}}
}

func getEcho(ctx context.Context, where string, query url.Values) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, where+"?"+query.Encode(), nil)
	if err != nil {
		return 0, "", err
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		return 0, "", withoutQuery(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	return response.StatusCode, string(text), err
}

// withoutQuery removes the URL, whose query has a signature, from net/http's error.
func withoutQuery(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
