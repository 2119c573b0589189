package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	heartbeat = 2 * time.Second // between two pings of the subscription
	again     = 500 * time.Millisecond
)

// news is a message between replicas. It only makes things faster: a replica that misses it polls,
// or finds its token rejected.
type news struct {
	Changed int64  `json:"changed,omitempty"` // the change counter that a replica read
	Kind    string `json:"kind,omitempty"`    // if not empty: a newer version of a token
	Key     string `json:"key,omitempty"`
	Version int64  `json:"version,omitempty"`
	Sealed  []byte `json:"sealed,omitempty"`
}

func (n news) bytes() []byte {
	text, _ := json.Marshal(n) // numbers, strings and bytes always marshal
	return text
}

func (m *Mirror) publish(ctx context.Context, n news) {
	_ = m.redis.writing.try(ctx, m.redis.patience, func(ctx context.Context) error {
		return m.redis.client.Publish(ctx, m.redis.channel(), n.bytes()).Err()
	})
}

// listen keeps a subscription until ctx ends.
func (m *Mirror) listen(ctx context.Context) {
	for ctx.Err() == nil {
		subscription := m.redis.client.Subscribe(ctx)
		hangUp := context.AfterFunc(ctx, func() { _ = subscription.Close() }) // a read does not watch its context
		_ = m.hear(ctx, subscription)                                         // failures of Redis are not reported
		hangUp()
		_ = subscription.Close()
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
}

// hear handles what arrives until the subscription breaks. What was published before it began may
// have been missed.
func (m *Mirror) hear(ctx context.Context, subscription *redis.PubSub) error {
	if err := subscription.Subscribe(ctx, m.redis.channel()); err != nil {
		return err
	}
	silent := false
	for ctx.Err() == nil {
		message, err := subscription.ReceiveTimeout(ctx, heartbeat)
		switch {
		case timedOut(err) && !silent:
			silent, err = true, subscription.Ping(ctx)
		case err == nil:
			silent = false
			m.receive(ctx, message)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func timedOut(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

func (m *Mirror) receive(ctx context.Context, message any) {
	switch message := message.(type) {
	case *redis.Subscription:
		m.generation.Add(1)
	case *redis.Message:
		var n news
		if json.Unmarshal([]byte(message.Payload), &n) == nil {
			m.learn(ctx, n)
		}
	}
}

func (m *Mirror) learn(ctx context.Context, n news) {
	if n.Kind == "" {
		if n.Changed != m.counter.Load() && !m.SQLUnavailable() {
			m.poll(ctx)
		}
		return
	}
	m.mu.Lock()
	newest := m.newest[n.Kind]
	m.mu.Unlock()
	if newest != nil {
		newest.learn(n)
	}
}
