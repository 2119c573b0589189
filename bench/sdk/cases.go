package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"wxplatform/bench/sdk/sdk"
	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

// oneCase says in a word or two what the SDK showed, or why that is wrong.
type oneCase struct {
	name string
	run  func(context.Context, *trial) (string, error)
}

func cases() []oneCase {
	return []oneCase{
		{"plain token", plainToken},
		{"stable token", stableToken},
		{"custom message", message},
		{"menu", menu},
		{"upload and download 3 MB", file},
		{"kfsession", session},
		{"login of a web page", logIn},
		{"login of a mini program", logInMini},
		{"Chinese and <>&", bytesAsSent},
		{"expired JWT", expiredJWT},
		{"garbage for a JWT", stale(strings.Repeat("garbage.", 20))},
		{"WeChat's token", stale("86_" + strings.Repeat("aB3-_xYz", 17))},
		{"the same, writing", staleWriting},
		{"wrong secret", wrongSecret},
		{"rejected once", rejectedOnce},
		{"WeChat takes 0.7 s", slow},
		{"quota used up", quota},
		{"503 from WeChat, reading", unavailable},
		{"503 from WeChat, writing", unknown},
		{"set not granted", notGranted},
		{"rejected for ever", rejectedAlways}, // uses up the refreshes that the platform allows
	}
}

// lastCases end what earlier ones need.
func lastCases() []oneCase {
	return []oneCase{{"withdrawn", withdrawn}, {"client revoked", revoked}}
}

const writing = "您好 <b>\"&amp;\"</b> 'a' \\/ 😀 %20+"

func plainToken(_ context.Context, t *trial) (string, error) {
	c, err := t.open()
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := errors.Join(c.Addresses(), c.Addresses()); err != nil {
		return "", err
	}
	return "ok", t.want(tally{Tokens: 1, Calls: 2, WeChat: 2})
}

func stableToken(_ context.Context, t *trial) (string, error) {
	if err := t.using(addresses, func(s *sdk.Settings) { s.Stable = true }); err != nil {
		return "", err
	}
	said, err := t.front.Take()
	if len(said) != 2 || !strings.HasSuffix(said[0].Path, "/stable_token") {
		err = errors.Join(err, fmt.Errorf("got %d requests, want stable_token and a call", len(said)))
	}
	t.asked = t.world.WeChat.Count()
	return "ok", err
}

func message(_ context.Context, t *trial) (string, error) {
	if err := t.customerWrites(); err != nil {
		return "", err
	}
	if err := t.using(send(writing)); err != nil {
		return "", err
	}
	all := t.world.Sim.Messages()
	if len(all) == 0 || all[len(all)-1].Text != writing || all[len(all)-1].AppID != t.appid() {
		return "", errors.New("the customer did not get the message as it was written")
	}
	return "ok", t.want(tally{Tokens: 1, Calls: 1, WeChat: 1})
}

func menu(_ context.Context, t *trial) (string, error) {
	if err := t.using(func(c sdk.Client) error { return c.CreateMenu("今日 <歌曲>") }); err != nil {
		return "", err
	}
	if kept := t.world.Sim.Menu(t.appid()); !strings.Contains(kept, "今日 <歌曲>") {
		return "", fmt.Errorf("WeChat has the menu %q", kept)
	}
	return "ok", t.want(tally{Tokens: 1, Calls: 1, WeChat: 1})
}

func file(_ context.Context, t *trial) (string, error) {
	c, err := t.open()
	if err != nil {
		return "", err
	}
	defer c.Close()
	id, err := c.Upload(t.file)
	if err != nil {
		return "", fmt.Errorf("upload: %w", err)
	}
	got, err := c.Download(id)
	switch {
	case errors.Is(err, sdk.ErrNotOffered):
		return "upload", t.want(tally{Tokens: 1, Calls: 1, WeChat: 1})
	case t.PostsGets && told(err, 43001) == nil:
		return "upload", t.want(tally{Tokens: 1, Calls: 2, WeChat: 1})
	case err != nil:
		return "", fmt.Errorf("download: %w", err)
	case !bytes.Equal(got, t.photo):
		return "", fmt.Errorf("got %d other bytes", len(got))
	}
	return "ok", t.want(tally{Tokens: 1, Calls: 2, WeChat: 2})
}

// session makes every call about sessions that the SDK has.
func session(_ context.Context, t *trial) (string, error) {
	c, err := t.open()
	if err != nil {
		return "", err
	}
	defer c.Close()
	has := 0
	for _, call := range sdk.SessionCalls {
		err := c.Session(call, t.shop.Agent, customer)
		if errors.Is(err, sdk.ErrNotOffered) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", call, err)
		}
		has++
		served := t.world.Sim.Session(t.appid(), customer).KFAccount != ""
		if served == (call == sdk.CloseSession) {
			return "", fmt.Errorf("after %s: a session is open: %v", call, served)
		}
	}
	if has == 0 {
		return "", sdk.ErrNotOffered
	}
	return fmt.Sprintf("%d of 5", has), t.want(tally{Tokens: 1, Calls: has, WeChat: has})
}

// logIn logs a user in, and has the SDK read the profile with the token that it got.
func logIn(_ context.Context, t *trial) (string, error) {
	code, err := t.world.Sim.LogIn(t.appid(), customer, wechatsim.ScopeUserInfo)
	if err != nil {
		return "", err
	}
	c, err := t.open()
	if err != nil {
		return "", err
	}
	defer c.Close()
	got, err := c.LogIn(code)
	if err != nil || got != customer {
		return "", errors.Join(err, fmt.Errorf("got the user %q", got))
	}
	if err := t.want(tally{Calls: 2, WeChat: 2}); err != nil {
		return "", err
	}
	return "ok", nil
}

// logInMini logs a user in, and is told that the code is used when it comes again.
func logInMini(_ context.Context, t *trial) (string, error) {
	id := wechat.AppID(t.mini.AppID)
	code, err := t.world.Sim.LogIn(id, customer, "")
	if err != nil {
		return "", err
	}
	c, err := t.open(func(s *sdk.Settings) { s.AppID = t.mini.AppID })
	if err != nil {
		return "", err
	}
	defer c.Close()
	got, err := c.LogInMini(code)
	if err != nil || got != customer {
		return "", errors.Join(err, fmt.Errorf("got the user %q", got))
	}
	if err := t.atMost(tally{Tokens: 1, Calls: 1, WeChat: 1}); err != nil { // some get a token first
		return "", err
	}
	_, err = c.LogInMini(code)
	return "ok", errors.Join(told(err, 40163), t.atMost(tally{Calls: 1, WeChat: 1}))
}

// bytesAsSent says how many requests WeChat got byte for byte, which try checks for every one.
func bytesAsSent(_ context.Context, t *trial) (string, error) {
	if t.bodies == 0 {
		return "", errors.New("no request reached WeChat")
	}
	return fmt.Sprintf("ok (%d)", t.bodies), nil
}

func expiredJWT(ctx context.Context, t *trial) (string, error) {
	jwt, err := t.world.ExpiredJWT(t.tenant, t.shop.AppID)
	if err != nil {
		return "", err
	}
	return stale(jwt)(ctx, t)
}

// stale has the SDK use a token that the platform does not take. An SDK that renews its token shows
// nothing of it to its caller; another one works again once its cache was emptied.
func stale(token string) func(context.Context, *trial) (string, error) {
	return func(_ context.Context, t *trial) (string, error) {
		t.front.Stale(token)
		err := t.using(addresses)
		if t.Renews {
			return "ok", errors.Join(err, t.want(tally{Tokens: 2, Calls: 2, WeChat: 1}))
		}
		if err := errors.Join(told(err, 40001), t.atMost(tally{Tokens: 1, Calls: 2})); err != nil {
			return "", err
		}
		return "40001", t.using(addresses)
	}
}

// staleWriting sends a message with a token of WeChat's.
func staleWriting(_ context.Context, t *trial) (string, error) {
	if err := t.customerWrites(); err != nil {
		return "", err
	}
	t.front.Stale("86_" + strings.Repeat("aB3-_xYz", 17))
	err := t.using(send(writing))
	if t.Renews {
		return "ok", errors.Join(err, t.want(tally{Tokens: 2, Calls: 2, WeChat: 1}))
	}
	return "40001", errors.Join(told(err, 40001), t.atMost(tally{Tokens: 1, Calls: 2}))
}

func wrongSecret(_ context.Context, t *trial) (string, error) {
	wrong := t.tenant.Secret[:len(t.tenant.Secret)-2] + "xx"
	err := t.using(addresses, func(s *sdk.Settings) { s.Secret = wrong })
	return "40125", errors.Join(told(err, 40125), t.want(tally{Tokens: 1}))
}

// rejectedOnce has WeChat reject the access token. The SDK must not notice.
func rejectedOnce(_ context.Context, t *trial) (string, error) {
	if err := errors.Join(t.customerWrites(), t.world.Sim.Reject(t.appid())); err != nil {
		return "", err
	}
	return "ok", errors.Join(t.using(send(writing)), t.want(tally{Tokens: 1, Calls: 1, WeChat: 2, Refreshes: 1}))
}

// rejectedAlways has WeChat reject every access token. The SDK is told a code that it does not
// repeat the call for.
func rejectedAlways(_ context.Context, t *trial) (string, error) {
	for _, code := range []int{40001, 42001, 40014} {
		t.fault("/cgi-bin/message/custom/send", wechatsim.Fault{Code: code})
		err := t.using(send(writing))
		t.world.Sim.ClearFaults()
		if err := errors.Join(told(err, -1000), t.atMost(tally{Tokens: 1, Calls: 1, WeChat: 3, Refreshes: 2})); err != nil {
			return "", fmt.Errorf("with %d: %w", code, err)
		}
	}
	return "-1000", t.using(addresses)
}

// fault makes something go wrong with every call of a path by the shop.
func (t *trial) fault(path string, f wechatsim.Fault) {
	f.Path, f.AppID, f.Count = path, t.appid(), wechatsim.Always
	t.world.Sim.Fault(f)
}

// slow has every call of WeChat take 0.7 s, and the first one rejected. co-wechat-api waits for 3 s
// and then fails.
func slow(_ context.Context, t *trial) (string, error) {
	if err := t.world.Sim.Reject(t.appid()); err != nil {
		return "", err
	}
	t.world.Sim.Fault(wechatsim.Fault{Delay: 700 * time.Millisecond, Count: wechatsim.Always})
	began := time.Now()
	err := t.using(addresses)
	return fmt.Sprintf("%.1f s", time.Since(began).Seconds()), errors.Join(err, t.want(tally{Tokens: 1, Calls: 1, WeChat: 2, Refreshes: 1}))
}

func quota(_ context.Context, t *trial) (string, error) {
	t.fault("/cgi-bin/message/custom/send", wechatsim.Fault{Code: 45009})
	return "45009", errors.Join(told(t.using(send(writing)), 45009), t.want(tally{Tokens: 1, Calls: 1, WeChat: 1}))
}

// unavailable: fastwego repeats a call that is answered -1 once, and WxJava five times.
func unavailable(_ context.Context, t *trial) (string, error) {
	t.fault("/cgi-bin/getcallbackip", wechatsim.Fault{Status: 503})
	return "-1", errors.Join(told(t.using(addresses), -1), t.atMost(tally{Tokens: 1, Calls: 6, WeChat: 12}))
}

// unknown: nobody knows whether WeChat sent the message, so nobody may send it again.
func unknown(_ context.Context, t *trial) (string, error) {
	t.fault("/cgi-bin/message/custom/send", wechatsim.Fault{Status: 503})
	return "-1000", errors.Join(told(t.using(send(writing)), -1000), t.want(tally{Tokens: 1, Calls: 1, WeChat: 1}))
}

func forPoor(t *trial) func(*sdk.Settings) {
	return func(s *sdk.Settings) { s.AppID = t.poor.AppID }
}

func notGranted(_ context.Context, t *trial) (string, error) {
	return "48001", errors.Join(told(t.using(send(writing), forPoor(t)), 48001), t.want(tally{Tokens: 1, Calls: 1}))
}

// withdrawn waits until a minute has passed since the authorization: the platform does not believe
// that WeChat ended it before.
func withdrawn(ctx context.Context, t *trial) (string, error) {
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case <-time.After(time.Until(t.poor.Since.Add(62 * time.Second))):
	}
	if err := t.world.Sim.Unauthorize(wechat.AppID(t.poor.AppID)); err != nil {
		return "", err
	}
	if err := t.world.Becomes(ctx, t.tenant, t.poor.AppID, "revoked"); err != nil {
		return "", err
	}
	return "61003", errors.Join(told(t.using(addresses, forPoor(t)), 61003), t.want(tally{Tokens: 1, Calls: 1}))
}

// revoked has the operator revoke the client while the SDK has its JWT. An SDK that renews learns
// that its secret is wrong, and not all tell their caller so.
func revoked(ctx context.Context, t *trial) (string, error) {
	c, err := t.open()
	if err != nil {
		return "", err
	}
	defer c.Close()
	var shown any
	if err := errors.Join(c.Addresses(), t.world.Operate(&shown, "client", "revoke", t.tenant.ID, t.tenant.Client)); err != nil {
		return "", err
	}
	if err := t.world.Refuses(ctx, t.tenant, t.shop.AppID); err != nil {
		return "", err
	}
	_, _ = t.tally()
	err = c.Addresses()
	wants := map[bool][]int{false: {40001}, true: {40001, 40125}}[t.Renews] // of the call, or of the token call after it
	for _, code := range wants {
		if told(err, code) == nil {
			return fmt.Sprint(code), t.atMost(tally{Tokens: 1, Calls: 2})
		}
	}
	return "", fmt.Errorf("got %w, want one of %v", hidden(err), wants)
}
