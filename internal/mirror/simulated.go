package mirror

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

// Simulated is a process's mirror in the simulation: hook answers in the place of Redis, clock is the process's, and instead of Run there are Poll and Hear, so that the simulation decides what comes first.
func Simulated(ctx context.Context, hook redis.Hook, clock func() time.Time, d *db.DB, ring *seal.Ring) *Mirror {
	client := redis.NewClient(impatient(&redis.Options{}))
	client.AddHook(hook)
	return newMirror(ctx, &shared{client: client, id: d.ID()}, clock, d, ring)
}

// Poll is what Run does each second.
func (m *Mirror) Poll(ctx context.Context) { m.poll(ctx) }

// Hear is what Run does with what another replica published. Without a payload the subscription has begun anew, and what was said before may have been missed.
func (m *Mirror) Hear(ctx context.Context, payload string) {
	if payload == "" {
		m.receive(ctx, &redis.Subscription{})
		return
	}
	m.receive(ctx, &redis.Message{Payload: payload})
}
