package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"wxplatform/bench/registry"
	"wxplatform/internal/seal"
	"wxplatform/tenant"
	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

// writing is the scope that closing needs. It is named in the JWTs, because nginx + Lua knows no
// client's scopes.
const writing = "kfsession:write"

// wrongCall is a call that a program which does the whole job must refuse.
type wrongCall struct {
	what, jwt string
	appid     wechat.AppID
	status    int
}

// checkRefusals sends nine wrong calls to each program that does the whole job, before anything is
// timed. Each must be refused without a call of WeChat.
func (b *bench) checkRefusals(ctx context.Context) error {
	calls, err := b.wrongCalls(ctx)
	if err != nil {
		return err
	}
	for _, p := range b.programs {
		if p.passes {
			continue
		}
		for _, c := range calls {
			before := b.closes.Load()
			status, err := p.tryClose(ctx, c)
			if err != nil || status != c.status || b.closes.Load() != before {
				return fmt.Errorf("%s, %s: answered %d and called WeChat %d times, want %d and none (%v)", p.name, c.what, status, b.closes.Load()-before, c.status, err)
			}
		}
	}
	time.Sleep(untilAlone)
	return nil
}

// untilAlone is how long after its last call a tenant no longer counts as active. While two tenants
// are active, the platform slows down the one that takes all of the CPU time.
const untilAlone = 11 * time.Second

func (b *bench) wrongCalls(ctx context.Context) ([]wrongCall, error) {
	right, parts := b.jwts[0], strings.Split(b.jwts[0], ".")
	forged := parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2]))
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + parts[1] + "."
	expired, err := b.mint(ctx, "http://"+b.address, time.Now().Add(-3*time.Hour), 1)
	if err != nil {
		return nil, err
	}
	elsewhere, err := b.mint(ctx, "http://elsewhere.example", time.Now(), 1)
	if err != nil {
		return nil, err
	}
	reading, err := b.newJWT(ctx, b.client, "kfsession:read")
	if err != nil {
		return nil, err
	}
	another, err := b.newClient(ctx, "another")
	if err != nil {
		return nil, err
	}
	others, err := b.newJWT(ctx, another, writing)
	if err != nil {
		return nil, err
	}
	ours := wechatsim.SyntheticAppID(0)
	return []wrongCall{
		{"no JWT", "", ours, 401}, {"a forged signature", forged, ours, 401}, {"no signature", unsigned, ours, 401},
		{"an expired JWT", expired[0], ours, 401}, {"a JWT for another audience", elsewhere[0], ours, 401},
		{"without the scope", reading, ours, 403}, {"without a permission set", right, wechatsim.SampleOfficial, 403},
		{"another tenant's account", others, ours, 404}, {"an unknown account", right, "wx00000000000000ff", 404},
	}, nil
}

// tryClose sends a close and returns the status of the answer.
func (p *program) tryClose(ctx context.Context, c wrongCall) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/v1/authorizers/"+string(c.appid)+closePath, strings.NewReader(closeBody(0)))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	if c.jwt != "" {
		request.Header.Set("Authorization", "Bearer "+c.jwt)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	return answer.StatusCode, answer.Body.Close()
}

// mint returns n different JWTs of the bench's client as the platform would have signed them at
// another time, or as another issuer with its key.
func (b *bench) mint(ctx context.Context, issuer string, now time.Time, n int) ([]string, error) {
	jwts := make([]string, n)
	err := registry.Use(ctx, b.setting, issuer, now, func(tenants *tenant.Registry) error {
		for i := range jwts {
			grant, err := tenants.Token(ctx, tenant.ClientID(b.client.id), seal.NewSecret(b.client.secret), writing)
			if err != nil {
				return err
			}
			jwts[i] = grant.Token.Reveal()
		}
		return nil
	})
	return jwts, err
}

// setting is the value of one of the platform's settings.
func (b *bench) setting(name string) string {
	at := slices.IndexFunc(b.settings, func(s string) bool { return strings.HasPrefix(s, name+"=") })
	return strings.TrimPrefix(b.settings[at], name+"=")
}
