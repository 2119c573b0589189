package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

// walkthrough is the demo: steps that each check their own result.
type walkthrough struct {
	*demo
	s      shell
	out    *browser
	began  time.Time
	tenant string
	basic  string // id:secret of its client
	jwt    string
	other  string // the JWT of another tenant
}

const (
	kfAccount = "test1@test"
	redirect  = "http://127.0.0.1/welcome" // never opened: the walkthrough stops at the redirect
	closePath = "/customservice/kfsession/close"
)

// walkThrough runs the steps, prints each, and fails at the first that fails.
func (d *demo) walkThrough(ctx context.Context, s shell) error {
	t := &walkthrough{demo: d, s: s, out: newBrowser(), began: time.Now()}
	t.say("", "wxplatform demo: the platform %s, a simulated WeChat %s%s", d.publicURL, d.wechatURL, d.deviations())
	steps := []struct {
		zh, en string
		do     func(context.Context) (string, error)
	}{
		{"微信推送加密的 ticket", "WeChat pushes an encrypted component_verify_ticket", t.ticket},
		{"获得 component_access_token", "the platform gets a component token", t.componentToken},
		{"运营者创建租户与客户端", "the operator creates a tenant and a client", t.makeTenant},
		{"租户换取 JWT", "the client gets a JWT from /oauth/token", t.getJWT},
		{"邀请商家，商家在微信同意，授权码换成令牌", "a merchant follows an invitation and consents; the auth code is exchanged", t.invite},
		{"顾客与客服 test1@test 的会话已打开", "a customer has an open session with test1@test", t.openSession},
		{"关闭会话", "closeSession with that JWT", t.close},
		{"再次关闭被拒 65413", "closing again is refused with 65413", t.refusedClose(kfAccount, wechatsim.SampleCustomer, 409, "no-session", "65413")},
		{"另一客服被拒 65414", "closing with another kf account is refused with 65414", t.servedByAnother},
		{"错误的 openid 被拒 40003", "a wrong openid is refused with 40003", t.refusedClose(kfAccount, "not-an-openid", 422, "invalid-openid", "40003")},
		{"商家未授予 1、6、100、101：不调用微信即拒绝", "a merchant granted none of the sets 1, 6, 100, 101: refused without calling WeChat", t.permission},
		{"别的租户只得到 404", "another tenant gets 404", t.otherTenant},
		{"微信拒绝令牌 40001，关闭仍成功", "WeChat rejects the token (40001); the platform replaces it and the close succeeds", t.rejected},
	}
	for i, step := range steps {
		began := time.Now()
		what, err := step.do(ctx)
		if err != nil {
			t.say("✗", "%2d. %s %s: %v", i+1, step.en, step.zh, err)
			return errSilent
		}
		t.say("✓", "%2d. %s %s  (%s)\n             %s", i+1, step.en, step.zh, time.Since(began).Round(10*time.Microsecond), what)
	}
	t.say("", "every step succeeded 全部步骤成功")
	d.basic = t.basic
	return nil
}

// deviations says how to repeat this run's deviations of WeChat.
func (d *demo) deviations() string {
	if !d.sim.Behaviour().Field {
		return ""
	}
	return fmt.Sprintf(" with the deviations of --seed=%d", d.sim.Config().Seed)
}

func (t *walkthrough) say(mark, text string, args ...any) {
	_, _ = fmt.Fprintf(t.s.out, "%7.3fs %s %s\n", time.Since(t.began).Seconds(), mark, fmt.Sprintf(text, args...))
}

// untilTimeout is far longer than any step takes: the machine may be busy.
const untilTimeout = time.Minute

// until polls ask until it is true, or untilTimeout has passed.
func until(ctx context.Context, what string, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, untilTimeout)
	defer cancel()
	for {
		ok, err := ask()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("timed out waiting for %s", what), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (t *walkthrough) ticket(ctx context.Context) (string, error) {
	ready := "http://" + t.on.private.Addr().String() + "/readyz"
	if err := until(ctx, "the platform to answer", func() (bool, error) {
		answer, err := t.out.send(ctx, http.MethodGet, ready, nil, "")
		return answer.status == http.StatusOK, err
	}); err != nil {
		return "", err
	}
	t.sim.PushTicket()
	err := until(ctx, "the ticket to arrive", func() (bool, error) {
		answer, err := t.out.send(ctx, http.MethodGet, ready, nil, "")
		return answer.field("status") == "ready", err
	})
	return "POST /wechat/events answered «success»; /readyz says ready", err
}

func (t *walkthrough) componentToken(ctx context.Context) (string, error) {
	err := until(ctx, "a component token", func() (bool, error) { return t.sim.Calls("/cgi-bin/component/api_component_token") > 0, nil })
	return fmt.Sprintf("api_component_token was called %d time", t.sim.Calls("/cgi-bin/component/api_component_token")), err
}

func (t *walkthrough) makeTenant(ctx context.Context) (string, error) {
	var err error
	if t.tenant, t.basic, err = t.newTenant(ctx, "四季花店 SaaS"); err != nil {
		return "", err
	}
	return "platform tenant create, platform client create → tenant " + t.tenant, nil
}

func (t *walkthrough) newTenant(ctx context.Context, name string) (id, basic string, err error) {
	var made struct{ ID, Secret string }
	if err := t.operate(ctx, &made, "tenant", "create", name, "--redirect", redirect); err != nil {
		return "", "", err
	}
	id = made.ID
	if err := t.operate(ctx, &made, "client", "create", id, "--name", "demo"); err != nil {
		return "", "", err
	}
	return id, made.ID + ":" + made.Secret, nil
}

func (t *walkthrough) getJWT(ctx context.Context) (string, error) {
	var err error
	t.jwt, err = t.token(ctx, t.basic)
	return fmt.Sprintf("a JWT of %d characters", len(t.jwt)), err
}

func (t *walkthrough) token(ctx context.Context, basic string) (string, error) {
	answer, err := t.out.send(ctx, http.MethodPost, t.publicURL+"/oauth/token", map[string]string{
		"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(basic)),
		"Content-Type":  "application/x-www-form-urlencoded",
	}, "grant_type=client_credentials")
	if err == nil && answer.status != http.StatusOK {
		err = fmt.Errorf("/oauth/token answered %d %s", answer.status, answer.body)
	}
	return answer.field("access_token"), err
}

func (t *walkthrough) call(ctx context.Context, jwt, method, path, body string) (reply, error) {
	return t.out.send(ctx, method, t.publicURL+path, map[string]string{"Authorization": "Bearer " + jwt, "Content-Type": "application/json"}, body)
}

func (t *walkthrough) invite(ctx context.Context) (string, error) {
	landed, err := t.authorize(ctx, wechatsim.SampleService, "1", "2", "4", "6", "11", "15")
	if err != nil {
		return "", err
	}
	shown, err := t.call(ctx, t.jwt, http.MethodGet, "/v1/authorizers/"+string(wechatsim.SampleService), "")
	if err == nil && (shown.status != http.StatusOK || shown.field("state") != "healthy") {
		err = fmt.Errorf("the authorizer answered %d %s", shown.status, shown.body)
	}
	return fmt.Sprintf("the browser ends at …/welcome?result=%s&appid=%s; the authorizer %s is %s", landed.Get("result"), landed.Get("appid"), shown.field("nick_name"), shown.field("state")), err
}

// authorize has a merchant follow a new invitation of the tenant, and returns the query of the
// redirect to the tenant's page.
func (t *walkthrough) authorize(ctx context.Context, id wechat.AppID, sets ...string) (url.Values, error) {
	made, err := t.call(ctx, t.jwt, http.MethodPost, "/v1/invitations", fmt.Sprintf(`{"redirect_url":%q,"kind":"pc","state":"demo"}`, redirect))
	if err != nil {
		return nil, err
	}
	if made.status != http.StatusCreated {
		return nil, fmt.Errorf("POST /v1/invitations answered %d %s", made.status, made.body)
	}
	landed, err := newBrowser().consent(ctx, made.field("url"), string(id), sets...)
	if err != nil {
		return nil, err
	}
	if got := landed.Query(); got.Get("result") != "authorized" || got.Get("appid") != string(id) || got.Get("state") != "demo" {
		return nil, fmt.Errorf("the browser was told %s", landed.RawQuery)
	}
	return landed.Query(), nil
}

func (t *walkthrough) openSession(ctx context.Context) (string, error) {
	path := fmt.Sprintf("/_sim/accounts/%s/sessions/%s", wechatsim.SampleService, wechatsim.SampleCustomer)
	if answer, err := t.out.send(ctx, http.MethodPost, t.wechatURL+path, nil, `{"kf_account":"`+kfAccount+`"}`); err != nil || answer.status != http.StatusOK {
		return "", fmt.Errorf("the simulator answered %d %s: %w", answer.status, answer.body, err)
	}
	answer, err := t.call(ctx, t.jwt, http.MethodGet, "/v1/authorizers/"+string(wechatsim.SampleService)+"/customservice/kfsession/getsession?openid="+string(wechatsim.SampleCustomer), "")
	if err == nil && !sameAgent(answer.field("kf_account"), kfAccount) {
		err = fmt.Errorf("getsession answered %d %s", answer.status, answer.body)
	}
	return fmt.Sprintf("getsession → %s", answer.body), err
}

// sameAgent is also true for prefix@alias and prefix@gh_…, which are the same agent to WeChat.
func sameAgent(a, b string) bool {
	first, _, _ := strings.Cut(a, "@")
	second, _, _ := strings.Cut(b, "@")
	return first == second
}

func (t *walkthrough) send(ctx context.Context, jwt string, id wechat.AppID, kf wechat.KFAccount, customer wechat.OpenID) (reply, error) {
	return t.call(ctx, jwt, http.MethodPost, "/v1/authorizers/"+string(id)+closePath, fmt.Sprintf(`{"kf_account":%q,"openid":%q}`, kf, customer))
}

func (t *walkthrough) close(ctx context.Context) (string, error) {
	answer, err := t.send(ctx, t.jwt, wechatsim.SampleService, kfAccount, wechatsim.SampleCustomer)
	if err == nil && (answer.status != http.StatusOK || string(answer.body) != `{"errcode":0,"errmsg":"ok"}`) {
		err = fmt.Errorf("closeSession answered %d %s", answer.status, answer.body)
	}
	if err == nil && t.sim.Session(wechatsim.SampleService, wechatsim.SampleCustomer).KFAccount != "" {
		err = errors.New("WeChat still has the session")
	}
	return fmt.Sprintf("%d %s", answer.status, answer.body), err
}

// expect checks that an answer is the given problem.
func expect(answer reply, status int, slug, code string) (string, error) {
	if answer.status != status || answer.field("type") != "/problems/"+slug || answer.field("errcode") != code {
		return "", fmt.Errorf("got %d %s, want %d %s %s", answer.status, answer.body, status, slug, code)
	}
	return strings.Join(strings.Fields(fmt.Sprint(status, " ", slug, " ", code, " ", answer.field("errmsg"))), " "), nil
}

func (t *walkthrough) refusedClose(kf wechat.KFAccount, customer wechat.OpenID, status int, slug, code string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		answer, err := t.send(ctx, t.jwt, wechatsim.SampleService, kf, customer)
		if err != nil {
			return "", err
		}
		return expect(answer, status, slug, code)
	}
}

func (t *walkthrough) servedByAnother(ctx context.Context) (string, error) {
	if _, err := t.openSession(ctx); err != nil {
		return "", err
	}
	return t.refusedClose("test2@test", wechatsim.SampleCustomer, 409, "served-by-another", "65414")(ctx)
}

func (t *walkthrough) permission(ctx context.Context) (string, error) {
	if _, err := t.authorize(ctx, wechatsim.SampleOfficial, "3", "11"); err != nil {
		return "", err
	}
	before := t.sim.Calls(closePath)
	answer, err := t.send(ctx, t.jwt, wechatsim.SampleOfficial, "reader@laowang", wechatsim.SampleCustomer)
	if err != nil {
		return "", err
	}
	said, err := expect(answer, 403, "permission-set-missing", "")
	if err == nil && t.sim.Calls(closePath) != before {
		err = errors.New("WeChat was called")
	}
	return fmt.Sprintf("%s: %s (closeSession never reached WeChat)", said, answer.field("detail")), err
}

func (t *walkthrough) otherTenant(ctx context.Context) (string, error) {
	_, basic, err := t.newTenant(ctx, "别家 SaaS")
	if err != nil {
		return "", err
	}
	if t.other, err = t.token(ctx, basic); err != nil {
		return "", err
	}
	answer, err := t.send(ctx, t.other, wechatsim.SampleService, kfAccount, wechatsim.SampleCustomer)
	if err != nil {
		return "", err
	}
	return expect(answer, 404, "unknown-authorizer", "")
}

func (t *walkthrough) rejected(ctx context.Context) (string, error) {
	before := t.sim.Calls("/cgi-bin/component/api_authorizer_token")
	if answer, err := t.out.send(ctx, http.MethodPost, t.wechatURL+"/_sim/accounts/"+string(wechatsim.SampleService)+"/reject", nil, ""); err != nil || answer.status != http.StatusOK {
		return "", fmt.Errorf("the simulator answered %d %s: %w", answer.status, answer.body, err)
	}
	said, err := t.close(ctx)
	if asked := t.sim.Calls("/cgi-bin/component/api_authorizer_token") - before; err == nil && asked != 1 {
		err = fmt.Errorf("api_authorizer_token was called %d times", asked)
	}
	return said + ", after one refresh", err
}

// keepServing serves until ctx ends, and prints commands to paste.
func (d *demo) keepServing(ctx context.Context, s shell) error {
	id, customer := wechatsim.SampleService, wechatsim.SampleCustomer
	_, err := fmt.Fprintf(s.out, `
Still serving; stop it with Ctrl-C. Try it yourself: 服务仍在运行，可粘贴以下三条命令：

JWT=$(curl -s -u '%s' -d grant_type=client_credentials %s/oauth/token | sed 's/.*"access_token":"\([^"]*\)".*/\1/')

curl -s -X POST %s/_sim/accounts/%s/sessions/%s -d '{"kf_account":"%s"}'

curl -s -X POST %s/v1/authorizers/%s%s -H "Authorization: Bearer $JWT" -H 'Content-Type: application/json' -d '{"kf_account":"%s","openid":"%s"}'

(the first gets a JWT, the second opens a session in the simulator, the third closes it; the simulator's manual: curl %s/_sim/; health and metrics: http://%s/readyz, /metrics)
`, d.basic, d.publicURL, d.wechatURL, id, customer, kfAccount, d.publicURL, id, closePath, kfAccount, customer, d.wechatURL, d.on.private.Addr())
	if err == nil {
		<-ctx.Done()
	}
	return err
}
