package authorizer_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// shelf is the Redis of a history: what mirror's commands do to it, in the place of a server. The
// script itself is tested against servers, in internal/mirror.
type shelf struct {
	w      *world
	down   bool
	values map[string]shelved
}

type shelved struct {
	number int64
	sealed []byte
	until  time.Duration
}

const (
	redisDone = iota
	redisFails
	redisUnheard // done, but the answer was lost
)

var errRedis = errors.New("simulated trouble of Redis")

// hook stands before a replica's client of Redis and never lets it dial.
type hook struct{ r *process }

func (h hook) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h hook) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, command redis.Cmder) error {
		fate := redisDone
		if !h.r.booting {
			fate = h.r.wait(ctx, atRedis, "Redis "+spell(command))
		} else if h.r.w.shelf.down {
			fate = redisFails
		}
		err := ctx.Err()
		if err == nil && fate != redisFails {
			err = h.r.w.shelf.do(command)
		}
		if fate != redisDone {
			err = errRedis
		}
		command.SetErr(err)
		return err
	}
}

func (s *shelf) do(command redis.Cmder) error {
	args := command.Args()
	switch command.Name() {
	case "hget":
		value, ok := s.values[args[1].(string)]
		if !ok || value.until <= s.w.passed() {
			return redis.Nil
		}
		command.(*redis.StringCmd).SetVal(string(value.sealed))
	case "evalsha": // sha, 1, key, number, sealed, life, replace the same, only where one is, news, channel
		s.store(args[3].(string), args[4:])
	case "publish":
		s.tell(string(args[2].([]byte)))
	default:
		return errors.New("what command is " + command.Name())
	}
	return nil
}

func (s *shelf) store(key string, args []any) {
	number, _ := strconv.ParseInt(args[0].(string), 10, 64)
	old, there := s.values[key]
	there = there && old.until > s.w.passed()
	if !there && args[4] == "1" || there && (old.number > number || old.number == number && args[3] != "1") {
		return
	}
	s.values[key] = shelved{number, args[1].([]byte), s.w.passed() + time.Duration(args[2].(int64))*time.Millisecond}
	if news := args[5].([]byte); len(news) > 0 {
		s.tell(string(news))
	}
}

func (s *shelf) tell(news string) {
	for _, r := range s.w.replicas {
		if r.hears {
			r.inbox = append(r.inbox, news)
		}
	}
}

func (s *shelf) goDown() {
	s.down = true
	for _, r := range s.w.replicas {
		r.hears, r.inbox = false, nil
	}
}

// spell names a command with its key, without the database's id.
func spell(command redis.Cmder) string {
	args := command.Args()
	switch command.Name() {
	case "hget":
		return "get " + unprefixed(args[1])
	case "evalsha":
		return fmt.Sprint("put ", unprefixed(args[3]), " ", args[4])
	}
	return command.Name()
}

func unprefixed(key any) string {
	_, rest, _ := strings.Cut(key.(string), ":")
	return rest
}
