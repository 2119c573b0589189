package requestlog

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
)

// record is what one request's line will say. It is itself the request's context, so that carrying it costs no further allocation.
type record struct {
	context.Context
	id string

	mu    sync.Mutex
	attrs []slog.Attr
	room  [roomForAttrs]slog.Attr
}

// The line's own attributes and a handful of added ones fit without growing.
const roomForAttrs = 12

type recordKey struct{}

// Value finds the record in any context made from it.
func (r *record) Value(key any) any {
	if _, mine := key.(recordKey); mine {
		return r
	}
	return r.Context.Value(key)
}

func newRecord(ctx context.Context) *record {
	r := &record{Context: ctx, id: newID()}
	r.attrs = r.room[:0]
	return r
}

// ID is the id of the request that ctx belongs to, or "" where there is none.
func ID(ctx context.Context) string {
	if r, ok := ctx.Value(recordKey{}).(*record); ok {
		return r.id
	}
	return ""
}

// Add puts a field on the request's line: an id, a code, a count, or the text of an error of ours; never what a caller sent as it came, and never a secret.
// Where ctx belongs to no request it does nothing. A key that is added twice stands there twice.
func Add(ctx context.Context, key string, value any) {
	r, ok := ctx.Value(recordKey{}).(*record)
	if !ok {
		return
	}
	r.add(slog.Any(key, value))
}

func (r *record) add(attrs ...slog.Attr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attrs = append(r.attrs, attrs...)
}

// line is what was added until now. What goroutines of the handler add from here on comes behind it and is not written.
func (r *record) line() []slog.Attr {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.attrs
}

const (
	idLetters = "0123456789abcdefghjkmnpqrstvwxyz" // 32 that nobody confuses on the telephone
	idLength  = 20
)

// An id is 100 random bits: it names a request and opens nothing, so the runtime's own generator is good enough.
func newID() string {
	var id [idLength]byte
	high, low := rand.Uint64(), rand.Uint64()
	for i := range idLength / 2 {
		id[i] = idLetters[high>>(5*i)&31]
		id[i+idLength/2] = idLetters[low>>(5*i)&31]
	}
	return string(id[:])
}
