package main

import (
	"context"
	"testing"
)

// With SQL and Redis closed for good, whatever asked one of them would fail. Only the poll of each second does, and then the platform looks for SQL's state in Redis: so all happens right after a poll, and
// nothing runs beside it, nor is WeChat odd, which would take time.
func TestAWarmCloseTouchesNeitherSQLNorRedis(t *testing.T) {
	databases(t, func(w *world) {
		w.grant(service, "1")
		w.settles()
		w.platform.mirror.SQLFailed()
		w.eventually("a poll", func() bool { return !w.platform.mirror.Away() })
		w.open(kfAccount)
		w.ok(w.shut(kfAccount))
		_ = w.platform.mirror.Close()
		_ = w.platform.db.Close()
		if w.platform.mirror.Ping(context.Background()) == nil {
			w.t.Fatal("Redis still answers")
		}
		w.wants(w.ask("GET", "/v1/authorizers", ""), 503, "unavailable") // a list is always read from SQL
		for range 100 {
			w.open(kfAccount)
			w.ok(w.shut(kfAccount))
		}
		w.wants(w.shut(kfAccount), 409, "no-session")
	})
}
