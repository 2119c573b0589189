package mirror

import (
	"testing"

	"wxplatform/internal/dbtest"
)

func TestAFillThatEndsAfterANewerOneLoses(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		m := r.open(t, dbtest.SQLite(t))
		facts := NewFacts[tenant](m, "tenant", 100)
		stamp := m.stamp()
		facts.keep(t.Context(), "a", stamp, 7, tenant{Name: "new"})
		facts.keep(t.Context(), "a", stamp-1, 6, tenant{Name: "old"})
		if got, ok := facts.known.GetIfPresent("a"); !ok || got.value.Name != "new" {
			t.Errorf("got %v, %v, want the newer fact", got.value, ok)
		}
		facts.drop(t.Context(), "a", stamp-1, 6)
		if _, ok := facts.known.GetIfPresent("a"); !ok {
			t.Error("got it dropped by an absence that was read before, want it kept")
		}
	})
}

func TestAFillThatAChangeOvertookIsNotShared(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		m := r.open(t, dbtest.SQLite(t))
		facts := NewFacts[tenant](m, "tenant", 100)
		facts.keep(t.Context(), "a", m.stamp()-1, 6, tenant{Name: "old"})
		if n := m.redis.client.Exists(t.Context(), m.redis.key(facts.kind, "a")).Val(); n != 0 {
			t.Error("got what may be old put into Redis, want it left to the next reading")
		}
	})
}
