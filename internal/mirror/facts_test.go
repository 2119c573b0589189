package mirror

import (
	"context"
	"errors"
	"testing"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/seal"
)

func TestAnAbsenceInRedisIsNotTakenForAnEmptyFact(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		d := dbtest.SQLite(t)
		here, there := NewFacts[spelled](r.open(t, d), "key", 100, nil), NewFacts[spelled](r.open(t, d), "key", 100, nil)
		for _, load := range []func(context.Context, string) (spelled, error){
			func(context.Context, string) (spelled, error) { return spelled{seal.NewSecret("x")}, nil },
			func(context.Context, string) (spelled, error) { return spelled{}, errAbsent },
		} {
			_, _ = here.get(t.Context(), "k", load)
			here.m.epoch.Add(1)
		}
		_, err := there.get(t.Context(), "k", func(context.Context, string) (spelled, error) { return spelled{}, db.ErrUnavailable })
		if !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
	})
}

func TestAFillThatEndsAfterANewerOneLoses(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		m := r.open(t, dbtest.SQLite(t))
		facts := NewFacts[tenant](m, "tenant", 100, nil)
		stamp := m.stamp()
		facts.keep(t.Context(), "a", stamp, 7, tenant{Name: "new"})
		facts.keep(t.Context(), "a", stamp-1, 6, tenant{Name: "old"})
		if got, ok := facts.known.get("a").(*fact[tenant]); !ok || got.value.Name != "new" {
			t.Errorf("got %+v, %v, want the newer fact", got, ok)
		}
		facts.drop(t.Context(), "a", stamp-1, 6)
		if facts.known.get("a") == nil {
			t.Error("got it dropped by an absence that was read before, want it kept")
		}
	})
}

func TestAFillThatAChangeOvertookIsNotShared(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		m := r.open(t, dbtest.SQLite(t))
		facts := NewFacts[tenant](m, "tenant", 100, nil)
		facts.keep(t.Context(), "a", m.stamp()-1, 6, tenant{Name: "old"})
		if n := m.redis.client.Exists(t.Context(), m.redis.key(facts.kind, "a")).Val(); n != 0 {
			t.Error("got what may be old put into Redis, want it left to the next reading")
		}
	})
}
