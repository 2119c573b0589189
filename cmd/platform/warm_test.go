package main

import (
	"context"
	"errors"
	"net/http"
	"testing"
)

// SQL and Redis are closed for good, so whatever uses one of them fails. The replica has no loops,
// so nothing but its calls can use them.
func TestAWarmCallTouchesNeitherSQLNorRedis(t *testing.T) {
	databases(t, func(w *world) {
		w.grant(service, "1")
		w.settles()
		alone := w.replicaThat(nil, (*platform).serveOnly)
		jwt := alone.sdkJWT(service)
		alone.callsWarm(jwt, 1)
		alone.closesStores()
		alone.callsWarm(jwt, 50)
		if alone.platform.mirror.SQLUnavailable() {
			w.t.Error("got SQL used, want the calls answered without it")
		}
		alone.wants(alone.ask("GET", "/v1/authorizers", ""), 503, "unavailable") // a list is always read from SQL
	})
}

// serveOnly is run for the public listener alone, without the loops.
func (p *platform) serveOnly(ctx context.Context, on listeners) error {
	defer func() { _ = p.close() }()
	return errors.Join(on.private.Close(), p.prepare(ctx), p.serve(ctx, p.front, on.public))
}

// closesStores closes SQL and Redis.
func (w *world) closesStores() {
	w.t.Helper()
	_ = w.platform.mirror.Close()
	_ = w.platform.db.Close()
	if w.platform.mirror.Ping(context.Background()) == nil {
		w.t.Fatal("Redis still answers")
	}
}

func (w *world) callsWarm(jwt string, times int) {
	w.t.Helper()
	for range times {
		for _, call := range w.warmCalls(jwt) {
			w.answered(call())
		}
	}
}

// answered fails unless WeChat answered without an error.
func (w *world) answered(answer reply) {
	w.t.Helper()
	if code := answer.field("errcode"); answer.status != http.StatusOK || code != "" && code != "0" {
		w.t.Errorf("got %d %s, want WeChat's answer", answer.status, answer.body)
	}
}

// warmCalls are a call of the platform's own API, and a call of WeChat's that is relayed at either
// door.
func (w *world) warmCalls(jwt string) []func() reply {
	const path = "/cgi-bin/get_api_domain_ip"
	return []func() reply{
		func() reply { w.open(kfAccount); return w.shut(kfAccount) },
		func() reply { return w.ask("GET", "/v1/authorizers/"+string(service)+path, "") },
		func() reply { return w.raw("GET", path+"?access_token="+jwt, nil, "") },
	}
}
