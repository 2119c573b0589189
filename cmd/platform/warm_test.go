package main

import (
	"context"
	"net/http"
	"testing"
)

// SQL and Redis are closed for good, so whatever used one of them would fail. Only the poll that
// runs every second does so, and then the platform reads SQL's state from Redis. If such a poll
// came in between, which shows, another replica is tried.
func TestAWarmCallTouchesNeitherSQLNorRedis(t *testing.T) {
	databases(t, func(w *world) {
		w.grant(service, "1")
		w.settles()
		for range 20 {
			if w.replica(nil).callsAlone() {
				return
			}
		}
		w.t.Error("got a poll in between each time")
	})
}

// callsAlone has a warm replica answer calls without SQL and Redis, and reports whether no poll
// came in between.
func (w *world) callsAlone() bool {
	w.t.Helper()
	w.platform.mirror.SQLFailed()
	w.eventually("a poll", func() bool { return !w.platform.mirror.SQLUnavailable() })
	jwt := w.sdkJWT(service)
	for _, call := range w.warmCalls(jwt) {
		w.answered(call())
	}
	_ = w.platform.mirror.Close()
	_ = w.platform.db.Close()
	if w.platform.mirror.Ping(context.Background()) == nil {
		w.t.Fatal("Redis still answers")
	}
	for range 50 {
		for _, call := range w.warmCalls(jwt) {
			answer := call()
			if w.platform.mirror.SQLUnavailable() {
				return false
			}
			w.answered(answer)
		}
	}
	w.wants(w.ask("GET", "/v1/authorizers", ""), 503, "unavailable") // a list is always read from SQL
	return true
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
