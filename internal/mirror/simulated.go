package mirror

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

// Simulated returns a mirror for the simulation: hook answers instead of Redis, clock is the
// process's, and instead of Run the simulation calls Poll and Hear, so that it decides their order.
func Simulated(ctx context.Context, hook redis.Hook, clock func() time.Time, d *db.DB, ring *seal.Ring) *Mirror {
	options := &redis.Options{}
	impatient(options, redisPatience)
	client := redis.NewClient(options)
	client.AddHook(hook)
	return newMirror(ctx, &shared{client: client, patience: redisPatience, id: d.ID()}, clock, d, ring)
}

// Poll does what Run does each second.
func (m *Mirror) Poll(ctx context.Context) { m.poll(ctx) }

// Hear does what Run does with a message of another replica. Without a payload it acts as if the
// subscription had begun anew, and messages may have been missed.
func (m *Mirror) Hear(ctx context.Context, payload string) {
	if payload == "" {
		m.receive(ctx, &redis.Subscription{})
		return
	}
	m.receive(ctx, &redis.Message{Payload: payload})
}
