package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"wxplatform/wechat"
)

const redirect = "http://127.0.0.1/welcome"

// account is a client of a tenant.
type account struct{ owner, id, secret string }

// onboard creates a tenant with a client through the operator's commands, has a merchant authorize
// through an invitation, and returns the tenant and the client's JWT.
func (b *bench) onboard(ctx context.Context, name string, merchant wechat.AppID) (tenant, jwt string, err error) {
	c, err := b.newClient(ctx, name)
	if err != nil {
		return "", "", err
	}
	if jwt, err = b.newJWT(ctx, c, ""); err != nil {
		return "", "", err
	}
	return c.owner, jwt, b.invite(ctx, jwt, merchant)
}

// newJWT returns a JWT of the client with a scope, or with all of its scopes if scope is "".
func (b *bench) newJWT(ctx context.Context, c account, scope string) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.id}, "client_secret": {c.secret}}
	if scope != "" {
		form.Set("scope", scope)
	}
	got, err := b.platform.ask(ctx, "/oauth/token", "application/x-www-form-urlencoded", "", form.Encode())
	return got["access_token"], err
}

// invite has a merchant authorize through a new invitation of the tenant whose JWT it is, and grant
// the permission sets, or the sets 1 and 11 if none are given.
func (b *bench) invite(ctx context.Context, jwt string, merchant wechat.AppID, sets ...wechat.PermissionSet) error {
	made, err := b.platform.ask(ctx, "/v1/invitations", "application/json", jwt, `{"redirect_url":"`+redirect+`","kind":"pc"}`)
	if err != nil {
		return err
	}
	if sets == nil {
		sets = []wechat.PermissionSet{1, 11}
	}
	return b.consent(ctx, made["url"], merchant, sets...)
}

func (b *bench) newClient(ctx context.Context, name string) (account, error) {
	var tenant, client struct{ ID, Secret string }
	if err := b.operate(ctx, &tenant, "tenant", "create", name, "--redirect", redirect); err != nil {
		return account{}, err
	}
	err := b.operate(ctx, &client, "client", "create", tenant.ID)
	return account{tenant.ID, client.ID, client.Secret}, err
}

func (b *bench) operate(ctx context.Context, into any, args ...string) error {
	command := exec.CommandContext(ctx, b.binaries+"/platform", append(args, "--json")...)
	command.Env, command.Stderr = append(os.Environ(), b.settings...), os.Stderr
	out, err := command.Output()
	if err != nil {
		return fmt.Errorf("platform %s %s: %w", args[0], args[1], err)
	}
	return json.Unmarshal(out, into)
}

// ask sends one request to a platform and returns the strings of the JSON object in the answer.
func (p *program) ask(ctx context.Context, path, contentType, jwt, body string) (map[string]string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", contentType)
	if jwt != "" {
		request.Header.Set("Authorization", "Bearer "+jwt)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var members map[string]any
	if err := json.NewDecoder(response.Body).Decode(&members); err != nil || response.StatusCode >= 300 {
		return nil, fmt.Errorf("%s answered %d %v (%w)", path, response.StatusCode, members, err)
	}
	texts := map[string]string{}
	for name, value := range members {
		texts[name], _ = value.(string)
	}
	return texts, nil
}

var button = regexp.MustCompile(`<a class="go" href="([^"]+)"`)

// consent does what a merchant does with an invitation: it opens WeChat's page, consents, and
// returns.
func (b *bench) consent(ctx context.Context, invitation string, merchant wechat.AppID, sets ...wechat.PermissionSet) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	browser := &http.Client{Jar: jar, Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	page, _, err := visit(ctx, browser, invitation)
	if err != nil {
		return err
	}
	found := button.FindStringSubmatch(page)
	if found == nil {
		return errors.New("the invitation's page has no button")
	}
	consent, err := url.Parse(html.UnescapeString(found[1]))
	if err != nil {
		return err
	}
	given, err := b.sim.Consent(ctx, consent.Query().Get("pre_auth_code"), merchant, sets...)
	if err != nil {
		return err
	}
	_, location, err := visit(ctx, browser, given.AppendTo(consent.Query().Get("redirect_uri")))
	if err == nil && !strings.Contains(location, "result=authorized") {
		err = fmt.Errorf("the merchant's browser ends at %q", location)
	}
	return err
}

func visit(ctx context.Context, browser *http.Client, address string) (page, location string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", "", err
	}
	response, err := browser.Do(request)
	if err != nil {
		return "", "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), response.Header.Get("Location"), err
}
