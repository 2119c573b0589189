package main

import (
	"context"
	"testing"
)

// SQL and Redis are closed for good, so whatever used one of them would fail. Only the poll that
// runs every second does so, and then the platform reads SQL's state from Redis. If such a poll
// came in between, which shows, another replica is tried.
func TestAWarmCloseTouchesNeitherSQLNorRedis(t *testing.T) {
	databases(t, func(w *world) {
		w.grant(service, "1")
		w.settles()
		for range 20 {
			if w.replica(nil).closesAlone() {
				return
			}
		}
		w.t.Error("got a poll in between each time")
	})
}

// closesAlone has a warm replica close sessions without SQL and Redis, and reports whether no poll
// came in between.
func (w *world) closesAlone() bool {
	w.t.Helper()
	w.platform.mirror.SQLFailed()
	w.eventually("a poll", func() bool { return !w.platform.mirror.SQLUnavailable() })
	w.open(kfAccount)
	w.ok(w.shut(kfAccount))
	_ = w.platform.mirror.Close()
	_ = w.platform.db.Close()
	if w.platform.mirror.Ping(context.Background()) == nil {
		w.t.Fatal("Redis still answers")
	}
	for range 50 {
		w.open(kfAccount)
		answer := w.shut(kfAccount)
		if w.platform.mirror.SQLUnavailable() {
			return false
		}
		w.ok(answer)
	}
	w.wants(w.ask("GET", "/v1/authorizers", ""), 503, "unavailable") // a list is always read from SQL
	return true
}
