package mirror

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"wxplatform/internal/seal"
)

const (
	redisPatience = 250 * time.Millisecond // for one operation, including the wait for a connection, unless the URL says read_timeout
	ownPatience   = time.Second            // the same for the in-process Redis, which is slow only if this process is
	restTimes     = 4                      // after a failure Redis is not asked for so many times as long
	redisMost     = 32                     // connections
)

// errResting says that Redis failed a moment ago. Like every error of Redis it means "unknown",
// never "absent".
var errResting = errors.New("redis failed a moment ago")

// ErrRefused says that Redis answers, but refuses what it is asked: it is read-only or loading, or
// wants another password. Said returns its words.
var ErrRefused = errors.New("redis refuses")

// Said returns what Redis answered, for an error that is ErrRefused, or "".
func Said(err error) string {
	var said redis.Error
	if errors.As(err, &said) {
		return said.Error()
	}
	return ""
}

// shared holds what all replicas see: the keys of one database in one Redis.
type shared struct {
	client   redis.UniversalClient
	own      *miniredis.Miniredis // nil with a real Redis
	patience time.Duration        // for one operation
	id       string               // the database's, in front of every key
	reading  circuit
	writing  circuit // a circuit of its own, so that a Redis that became read-only is still read
}

// openShared connects to the Redis at url. wrap is given go-redis's dialer and returns the one to
// use.
func openShared(url seal.Secret, id string, wrap func(dialer) dialer) (*shared, error) {
	if id == "" {
		return nil, errors.New("the database was not claimed")
	}
	logging.Disable() // domain code does not log, and neither does its client
	if url.IsZero() {
		return openOwn(id)
	}
	client, patience, err := connect(url.Reveal(), wrap)
	if err != nil {
		return nil, err
	}
	return &shared{client: client, patience: patience, id: id}, nil
}

// openOwn starts a Redis in this process. It listens on loopback, so it gets a random password.
func openOwn(id string) (*shared, error) {
	own := miniredis.NewMiniRedis()
	password := rand.Text()
	own.RequireAuth(password)
	own.ClockTTL(true)
	if err := own.Start(); err != nil {
		return nil, err
	}
	options := &redis.Options{Addr: own.Addr(), Password: password}
	impatient(options, ownPatience)
	return &shared{client: redis.NewClient(options), own: own, patience: ownPatience, id: id}, nil
}

func (s *shared) close() error {
	err := s.client.Close()
	if s.own != nil {
		s.own.Close()
	}
	return err
}

// ping writes a key as every write does, so that a Redis that answers but takes no writes fails. It
// fails with ErrRefused if Redis says why.
func (s *shared) ping(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	err := s.pingNodes(within)
	if err == nil {
		err = s.run(within, writing{kind: "ping", life: pingLife, replaceSame: true})
	}
	var said redis.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &said):
		return fmt.Errorf("%w: %w", ErrRefused, said)
	case within.Err() != nil && ctx.Err() == nil:
		return fmt.Errorf("no answer within %v", s.patience)
	}
	return err
}

const pingLife = time.Minute

// pingNodes pings every server, because the key that ping writes needs only one of a cluster. A
// Redis that wants a password says so to a ping only.
func (s *shared) pingNodes(ctx context.Context) error {
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, one *redis.Client) error { return one.Ping(ctx).Err() })
	}
	return s.client.Ping(ctx).Err()
}

// key returns the Redis key. It is unambiguous because ids and kinds have no colon.
func (s *shared) key(kind, key string) string { return s.id + ":" + kind + ":" + key }

func (s *shared) channel() string { return s.id + ":news" }

// A value in Redis is a hash: v is its number, used only to compare; s is the sealed value, which
// holds the number too, and that one is trusted.
const (
	fieldVersion = "v"
	fieldSealed  = "s"
)

// store writes the value unless Redis has one with a larger number. An equal number is replaced if
// same is "1", and nothing new is created if present is "1". A successful write publishes the news,
// if there is any, in the same step. The channel is no key, because in a cluster all keys of a
// script must be in one slot.
var store = redis.NewScript(`
local old = redis.call('HGET', KEYS[1], 'v')
if not old and ARGV[5] == '1' then return 0 end
local number = tonumber(old or '-1') or -1
if number > tonumber(ARGV[1]) or (number == tonumber(ARGV[1]) and ARGV[4] ~= '1') then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[1], 's', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
if ARGV[6] ~= '' then redis.call('PUBLISH', ARGV[7], ARGV[6]) end
return 1`)

// writing is a value to be stored in Redis.
type writing struct {
	kind, key   string
	version     int64
	sealed      []byte
	life        time.Duration
	replaceSame bool
	onlyPresent bool
	news        []byte
}

// write stores w, unless Redis has a newer value or fails: no caller needs to know.
func (s *shared) write(ctx context.Context, w writing) {
	if w.life < time.Millisecond {
		return
	}
	_ = s.writing.try(ctx, s.patience, func(ctx context.Context) error { return s.run(ctx, w) })
}

func (s *shared) run(ctx context.Context, w writing) error {
	keys := []string{s.key(w.kind, w.key)}
	return store.Run(ctx, s.client, keys, strconv.FormatInt(w.version, 10), w.sealed, w.life.Milliseconds(), flag(w.replaceSame), flag(w.onlyPresent), w.news, s.channel()).Err()
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return ""
}

// read returns the sealed value, empty if there is none, or an error if that is unknown.
func (s *shared) read(ctx context.Context, kind, key string) (sealed []byte, err error) {
	err = s.reading.try(ctx, s.patience, func(ctx context.Context) error {
		sealed, err = s.client.HGet(ctx, s.key(kind, key), fieldSealed).Bytes()
		if errors.Is(err, redis.Nil) {
			err = nil
		}
		return err
	})
	return sealed, err
}

// circuit leaves Redis alone for a while after a failure, so that an outage delays one caller per
// second and no others.
type circuit struct{ until atomic.Int64 } // Unix nanoseconds, 0 while Redis answers

func (c *circuit) try(ctx context.Context, patience time.Duration, act func(context.Context) error) error {
	if !c.enter(restTimes * patience) {
		return errResting
	}
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := act(within)
	switch {
	case err == nil:
		c.until.Store(0)
	case ctx.Err() == nil: // a caller that left says nothing about Redis
		c.until.Store(time.Now().Add(restTimes * patience).UnixNano())
	}
	return err
}

// enter admits everyone while Redis answers, no one for a while after a failure, and then one to
// try.
func (c *circuit) enter(rest time.Duration) bool {
	until := c.until.Load()
	if until == 0 {
		return true
	}
	now := time.Now()
	return now.UnixNano() >= until && c.until.CompareAndSwap(until, now.Add(rest).UnixNano())
}
