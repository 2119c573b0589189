package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/redis/go-redis/v9"

	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

// The peers are what people would deploy instead of the platform: nginx, which only passes calls
// through, and nginx + Lua, which does the whole job.
//
//go:embed peers
var peerFiles embed.FS

const (
	nginxName = "nginx"
	luaName   = "nginx + Lua"
)

// startPeers starts nginx twice. All programs get the same requests but for the path.
func (b *bench) startPeers(ctx context.Context) error {
	if !b.peers {
		return nil
	}
	plain, err := b.startNginx(ctx, nginxName, "nginx.conf")
	if err != nil {
		return err
	}
	plain.passes = true
	if err := b.knowAuthorizers(ctx); err != nil {
		return err
	}
	_, err = b.startNginx(ctx, luaName, "lua.conf")
	return err
}

// startNginx starts an nginx with one of the configurations, in a folder of its own.
func (b *bench) startNginx(ctx context.Context, name, configuration string) (*program, error) {
	dir := filepath.Join(b.binaries, configuration+".d")
	address, err := freeAddress()
	if err := errors.Join(err, os.MkdirAll(dir, 0o755), b.writeSettings(ctx, filepath.Join(dir, "settings.json"))); err != nil {
		return nil, err
	}
	scheme, upstream, _ := strings.Cut(b.upstream, "://")
	fill := strings.NewReplacer("@DIR@", dir, "@LISTEN@", address, "@LOG@", b.logFile(name),
		"@SCHEME@", scheme, "@UPSTREAM@", upstream, "@TLS@", b.nginxTLS())
	for _, file := range []string{configuration, "gateway.lua"} {
		text, err := peerFiles.ReadFile("peers/" + file)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(fill.Replace(string(text))), 0o644); err != nil {
			return nil, err
		}
	}
	return b.start(ctx, name, address, nil, "nginx", "-e", filepath.Join(dir, "error.log"), "-c", filepath.Join(dir, configuration))
}

// writeSettings writes what the gateway must know: the platform's issuer and key, and Redis.
func (b *bench) writeSettings(ctx context.Context, file string) error {
	options, err := redis.ParseURL(os.Getenv("TEST_REDIS_URL"))
	if err != nil {
		return err
	}
	host, port, _ := strings.Cut(options.Addr, ":")
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.platform.url+"/.well-known/jwks.json", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var set struct{ Keys []struct{ X string } }
	if err := json.NewDecoder(answer.Body).Decode(&set); err != nil || len(set.Keys) != 1 {
		return fmt.Errorf("the platform published %d signing keys (%w)", len(set.Keys), err)
	}
	text, err := json.Marshal(map[string]string{"issuer": "http://" + b.address, "key": set.Keys[0].X, "redis_host": host, "redis_port": port})
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

// knowAuthorizers puts what the platform knows of the bench's authorizers into Redis for the
// gateway.
func (b *bench) knowAuthorizers(ctx context.Context) error {
	options, err := redis.ParseURL(os.Getenv("TEST_REDIS_URL"))
	if err != nil {
		return err
	}
	client := redis.NewClient(options)
	defer client.Close()
	facts := client.Pipeline()
	know := func(id wechat.AppID, token string, sets ...int) {
		text, _ := json.Marshal(map[string]any{"tenant": b.client.owner, "sets": sets, "token": token}) // texts and numbers always marshal
		facts.Set(ctx, "bench-authorizer:"+string(id), text, 0)
	}
	know(wechatsim.SampleOfficial, b.sim.LastAccessToken(wechatsim.SampleOfficial), 11)
	for i := range b.merchants {
		know(wechatsim.SyntheticAppID(i), accessToken(i), 1, 2, 3, 6, 11)
	}
	_, err = facts.Exec(ctx)
	return err
}
