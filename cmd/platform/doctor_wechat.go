package main

import (
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
	"wxplatform/wechat"
)

// What doctor asks of WeChat, and of the way from WeChat to us.

const callbackPatience = 5 * time.Second // WeChat's own

// greeting asks WeChat for something harmless: whether it is there, knows the secret, takes calls from this address, and what time it is.
func greeting(ctx context.Context, c config) []finding {
	client := wechat.NewClient(c.wechatURL, wechat.Observer{})
	defer client.CloseIdle()
	began := time.Now()
	at, err := component.New(c.component, c.secret, nil, c.ring, nil, nil, client).Greet(ctx)
	if err != nil {
		return []finding{trouble("wechat", err)}
	}
	ended := time.Now()
	found := []finding{ok("wechat", sayf("answers in %s, knows the secret and takes calls from this address", "可用（%s），密钥正确，本机地址已获许可", ended.Sub(began).Round(time.Millisecond)))}
	if !at.IsZero() {
		found = append(found, compareClocks("WeChat's", "微信", at.Add(time.Second/2), began.Add(-time.Second), ended.Add(time.Second))) // its Date has whole seconds
	}
	return found
}

// trouble is a failed call, in the words of whoever has to put it right.
func trouble(check string, err error) finding {
	refusal := wechat.Refusal(err)
	switch {
	case refusal != nil:
		return bad(check, sayf("WeChat refuses with %d %s", "微信拒绝：%d %s", refusal.Code, refusal.Msg), remedy(refusal.Code, refusal.Msg))
	case wechat.NotSent(err):
		return bad(check, sayf("not to be reached: %v", "无法连接微信：%v", err), say("check DNS, the firewall and the way out to api.weixin.qq.com:443", "检查 DNS、防火墙以及到 api.weixin.qq.com:443 的出口"))
	}
	return bad(check, sayf("%v", "%v（微信应答异常）", err), say("try again; if it lasts, WeChat is in trouble or something between us and it answers", "请重试；若持续，可能微信故障或中间代理作答"))
}

var requestIP = regexp.MustCompile(`requestIP: ?([0-9A-Fa-f.:]+)`)

// remedy is what the operator does about a refusal. The address for 61004 is the one that WeChat saw.
func remedy(code wechat.Code, msg string) text {
	switch code {
	case wechat.UnknownAddress:
		address, addressZH := "the address from which this machine reaches the internet", "本机的出口 IP"
		if seen := requestIP.FindStringSubmatch(msg); seen != nil {
			address, addressZH = seen[1], seen[1]
		}
		return sayf("put %[1]s into the component's IP list: open.weixin.qq.com → 管理中心 → 第三方平台 → 详情 → 开发配置 → 白名单IP地址列表. Every exit of a NAT has to be there; a released version's list holds after the next release",
			"请把 %[2]s 加入第三方平台的白名单 IP 地址列表（微信开放平台 → 管理中心 → 第三方平台 → 详情 → 开发配置）；NAT 的每个出口都要加；已发布版本需重新发布后生效", address, addressZH)
	case wechat.InvalidSecret:
		return say("PLATFORM_COMPONENT_SECRET is not the component's AppSecret: read or reset it in WeChat's console, and restart every replica", "PLATFORM_COMPONENT_SECRET 不正确：请在微信开放平台查看或重置 AppSecret，并重启全部副本")
	case wechat.InvalidComponent:
		return say("PLATFORM_COMPONENT_APPID is not a component's appid (an account's, perhaps)", "PLATFORM_COMPONENT_APPID 不是第三方平台的 appid（或误填了公众号的）")
	case wechat.TicketExpired, wechat.TicketInvalid:
		return say("the ticket is too old or another component's: see that pushes arrive at /wechat/events, and wait for the next (10 minutes)", "ticket 过期或不属于本平台：确认推送能到达 /wechat/events，并等待下一次推送（10 分钟）")
	case wechat.DayQuota, wechat.MinuteQuota:
		return say("the quota is used up: until 00:00 Beijing time for the day's", "接口次数用尽：日限额于北京时间 0 点恢复")
	}
	return say("look the code up in WeChat's 全局返回码", "请查微信《全局返回码》")
}

// ticket is whether WeChat's pushes come. While they do not, asking for them has been done by greeting.
func ticket(ctx context.Context, p *platform) finding {
	if err := p.component.Refresh(ctx); err != nil {
		return bad("ticket", sayf("%v", "%v", err), say("see above", "见上"))
	}
	do := say("api_start_push_ticket was called just now. If none comes within 10 minutes: compare the 授权事件接收URL in WeChat's console (open.weixin.qq.com → 管理中心 → 第三方平台 → 详情 → 开发配置) with PLATFORM_PUBLIC_URL/wechat/events, and its 消息校验Token and 消息加解密Key with the settings",
		"刚刚已调用 api_start_push_ticket。若 10 分钟内仍未收到：请核对微信开放平台的“授权事件接收URL”是否为 PLATFORM_PUBLIC_URL/wechat/events，以及消息校验 Token、消息加解密 Key")
	newest := p.component.Newest()
	if newest.Value.IsZero() {
		return bad("ticket", say("WeChat has not pushed a component_verify_ticket yet", "尚未收到 component_verify_ticket"), do)
	}
	age := time.Since(newest.Received).Round(time.Second)
	if age > component.TicketMissing {
		return bad("ticket", sayf("the newest component_verify_ticket came %s ago; one is due every 10 minutes", "最新的 component_verify_ticket 已是 %s 前（应每 10 分钟一次）", age), do)
	}
	return ok("ticket", sayf("the newest came %s ago", "最新 ticket 收到于 %s 前", age))
}

func componentToken(ctx context.Context, p *platform) finding {
	if p.component.Newest().Value.IsZero() {
		return warn("token", say("no component token without a ticket", "没有 ticket，无法获取 component_access_token"), say("see ticket", "见 ticket 一项"))
	}
	token, err := p.component.Token(ctx)
	if err != nil {
		return trouble("token", err)
	}
	return ok("token", sayf("there is a component token, good for %s", "component_access_token 可用，剩余 %s", time.Until(token.Expires).Round(time.Second)))
}

// callback does what WeChat's console does to probe the URL. It comes from here, so it says nothing about the way from outside.
func callback(ctx context.Context, c config) finding {
	ctx, cancel := context.WithTimeout(ctx, callbackPatience)
	defer cancel()
	where := c.publicURL + "/wechat/events"
	echo := rand.Text()
	status, body, err := getEcho(ctx, where, echoQuery(c, echo))
	do := sayf("see that %[1]s leads to the platform: DNS, certificate, proxy. WeChat comes from outside: this was asked from here only", "请确认 %[1]s 能到达平台（DNS、证书、反向代理）。本检查只从本机发出", where)
	switch {
	case err != nil:
		return bad("callback", sayf("%s is not to be reached from here: %v", "本机无法访问 %s：%v", where, err), do)
	case status == http.StatusForbidden:
		return bad("callback", sayf("%s answers, but does not take our signature", "%s 有应答，但不接受本机签名", where), say("PLATFORM_COMPONENT_TOKEN there is another than here", "该平台的 PLATFORM_COMPONENT_TOKEN 与本机不同"))
	case status != http.StatusOK || body != echo:
		return bad("callback", sayf("%s answers HTTP %d and not the echo: something else stands there", "%s 返回 HTTP %d，不是预期的回显：可能不是本平台", where, status), do)
	}
	return ok("callback", sayf("%s echoes (asked from here only: WeChat comes from outside)", "%s 回显正常（仅从本机检查）", where))
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

// withoutQuery takes the URL out of net/http's error: it is said beside it.
func withoutQuery(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
