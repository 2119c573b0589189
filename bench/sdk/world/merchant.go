package world

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"wxplatform/internal/sdkreader"
	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

// Tenant is a tenant with one client.
type Tenant struct{ ID, Client, Secret string }

// Merchant is an account whose merchant authorized a tenant.
type Merchant struct {
	AppID string
	Agent string // its kf account
	Since time.Time
}

// NewTenant makes a tenant with a client.
func (w *World) NewTenant(name string) (Tenant, error) {
	var made struct{ ID, Secret string }
	if err := w.Operate(&made, "tenant", "create", name, "--redirect", "http://127.0.0.1/welcome"); err != nil {
		return Tenant{}, err
	}
	t := Tenant{ID: made.ID}
	if err := w.Operate(&made, "client", "create", t.ID, "--name", "sdk"); err != nil {
		return Tenant{}, err
	}
	t.Client, t.Secret = made.ID, made.Secret
	return t, sdkreader.Secret(t.Secret)
}

// NewMerchant adds a service account to WeChat, which authorizes the tenant with the given
// permission sets through an invitation.
func (w *World) NewMerchant(ctx context.Context, t Tenant, alias string, sets ...wechat.PermissionSet) (Merchant, error) {
	return w.join(ctx, t, wechatsim.Service, alias, sets)
}

// NewMiniProgram adds a mini program, which grants all that it can.
func (w *World) NewMiniProgram(ctx context.Context, t Tenant, alias string) (Merchant, error) {
	return w.join(ctx, t, wechatsim.MiniProgram, alias, []wechat.PermissionSet{17, 18, 19, 25, 30, 31, 40, 45})
}

func (w *World) join(ctx context.Context, t Tenant, kind wechatsim.Kind, alias string, sets []wechat.PermissionSet) (Merchant, error) {
	agent := wechat.KFAccount("kf1@" + alias)
	account, err := w.Sim.AddAccount(wechatsim.Account{
		Kind: kind, NickName: "店 " + alias, Alias: alias, CustomerService: true,
		Agents: []wechatsim.Agent{{KFAccount: agent, Nick: "小梅", Online: true}},
	})
	if err != nil {
		return Merchant{}, err
	}
	if err := w.authorize(ctx, t, account.AppID, sets); err != nil {
		return Merchant{}, fmt.Errorf("authorize %s: %w", alias, err)
	}
	return Merchant{AppID: string(account.AppID), Agent: string(agent), Since: time.Now()}, nil
}

var button = regexp.MustCompile(`<a class="go" href="([^"]+)"`)

func (w *World) authorize(ctx context.Context, t Tenant, id wechat.AppID, sets []wechat.PermissionSet) error {
	made, err := w.ask("POST", "/oauth/token", "", url.Values{"grant_type": {"client_credentials"}, "client_id": {t.Client}, "client_secret": {t.Secret}}.Encode())
	if err != nil {
		return err
	}
	jwt := made["access_token"]
	if made, err = w.ask("POST", "/v1/invitations", jwt, `{"redirect_url":"http://127.0.0.1/welcome","kind":"pc"}`); err != nil {
		return err
	}
	page, err := http.Get(made["url"])
	if err != nil {
		return err
	}
	defer page.Body.Close()
	text, err := io.ReadAll(page.Body)
	found := button.FindSubmatch(text)
	if err != nil || found == nil {
		return errors.Join(err, errors.New("the invitation's page has no button"))
	}
	link, err := url.Parse(html.UnescapeString(string(found[1])))
	if err != nil {
		return err
	}
	if _, err := w.Sim.Consent(ctx, link.Query().Get("pre_auth_code"), id, sets...); err != nil {
		return err
	}
	return w.Becomes(ctx, t, string(id), "healthy")
}

// Becomes waits until an account has a state at the platform.
func (w *World) Becomes(ctx context.Context, t Tenant, appid, state string) error {
	made, err := w.ask("POST", "/oauth/token", "", url.Values{"grant_type": {"client_credentials"}, "client_id": {t.Client}, "client_secret": {t.Secret}}.Encode())
	if err != nil {
		return err
	}
	return within(ctx, 90*time.Second, appid+" to be "+state, func() bool {
		shown, err := w.ask("GET", "/v1/authorizers/"+appid, made["access_token"], "")
		return err == nil && shown["state"] == state
	})
}

// ask sends a request to the platform, and returns the strings of the object in the answer.
func (w *World) ask(method, path, jwt, body string) (map[string]string, error) {
	request, err := http.NewRequest(method, w.public+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if jwt == "" {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else {
		request.Header.Set("Authorization", "Bearer "+jwt)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var members map[string]any
	if err := json.NewDecoder(answer.Body).Decode(&members); err != nil || answer.StatusCode >= 300 {
		return nil, fmt.Errorf("%s answered %d %v (%w)", path, answer.StatusCode, members, err)
	}
	texts := map[string]string{}
	for name, value := range members {
		texts[name], _ = value.(string)
	}
	return texts, nil
}

// ExpiredJWT returns a JWT that the platform would have given the tenant for an account three hours
// ago.
func (w *World) ExpiredJWT(t Tenant, appid string) (string, error) {
	command := exec.Command(filepath.Join(w.Dir, "expiredjwt"), t.Secret, appid)
	command.Env, command.Stderr = w.settings, os.Stderr
	out, err := command.Output()
	return strings.TrimSpace(string(out)), err
}

// Refuses waits until the platform gives the tenant's client no JWT any more.
func (w *World) Refuses(ctx context.Context, t Tenant, appid string) error {
	query := url.Values{"grant_type": {"client_credential"}, "appid": {appid}, "secret": {t.Secret}}
	return w.until(ctx, "the client to be refused", func() bool {
		answer, err := http.Get(w.public + "/cgi-bin/token?" + query.Encode())
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		return err == nil && strings.Contains(string(body), `"errcode":40125`)
	})
}
