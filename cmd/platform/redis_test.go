package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"wxplatform/internal/dbtest"
	"wxplatform/internal/redistest"
	"wxplatform/internal/testenv"
)

func TestReplicasShareASentinelsRedisOrACluster(t *testing.T) {
	t.Parallel()
	if testenv.Get("TEST_REDIS_URL") == "" {
		return
	}
	for name, start := range map[string]func() (*redistest.Group, error){
		"sentinel": func() (*redistest.Group, error) { return redistest.NewSentinel(context.Background(), 1, time.Hour) },
		"cluster":  func() (*redistest.Group, error) { return redistest.NewCluster(context.Background(), 0, time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			group, err := start()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = group.Close() })
			shareRedis(newWorld(t, dbtest.PostgresURL(t), group.URL+"&read_timeout=1s"), group)
		})
	}
}

// shareRedis lives through a day of two replicas: a token that one of them renewed, a Redis that is
// gone, and a suspension.
func shareRedis(w *world, group *redistest.Group) {
	w.grant(service, "1")
	other := w.replica(nil)
	w.eventually("Redis to answer", func() bool { return !w.platform.degraded("Redis") && !other.platform.degraded("Redis") })
	replicas := []*world{w, other}
	for _, one := range replicas {
		w.open(kfAccount)
		one.ok(one.shut(kfAccount))
	}
	if err := w.sim.Reject(service); err != nil {
		w.t.Fatal(err)
	}
	asked := w.sim.Calls(refreshPath)
	for _, one := range replicas {
		w.open(kfAccount)
		one.ok(one.shut(kfAccount))
	}
	if n := w.sim.Calls(refreshPath) - asked; n != 1 {
		w.t.Errorf("got %d refreshes, want the token shared", n)
	}
	w.hasKeys(group)
	for _, server := range group.Servers {
		server.Kill()
	}
	for _, one := range replicas {
		w.open(kfAccount)
		one.ok(one.shut(kfAccount))
		w.eventually("Redis to be missed", func() bool { return one.platform.degraded("Redis has been unreachable") })
	}
	w.command(&struct{}{}, "tenant", "suspend", w.tenant)
	for _, one := range replicas {
		w.eventually("the suspension", func() bool { return one.shut(kfAccount).field("type") == "/problems/tenant-suspended" })
	}
}

// hasKeys fails unless Redis has the token.
func (w *world) hasKeys(group *redistest.Group) {
	w.t.Helper()
	var keys strings.Builder
	for _, server := range group.Servers {
		keys.WriteString(server.Do(anyContext, "KEYS", "*"))
	}
	if !strings.Contains(keys.String(), ":newest-authorizer:"+string(service)) {
		w.t.Errorf("got keys %s, want the account's token among them", keys.String())
	}
}
