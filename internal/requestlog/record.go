package requestlog

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
)

// record collects the line of one request. It is itself the request's context, which saves an
// allocation.
type record struct {
	context.Context
	id      string
	address string

	mu    sync.Mutex
	attrs []slog.Attr
	room  [roomForAttrs]slog.Attr
}

// roomForAttrs fits the line's own attributes and a handful of added ones.
const roomForAttrs = 12

type recordKey struct{}

// Value returns the record for its own key, from any context made from it.
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

// ID returns the id of the request that ctx belongs to, or "" if there is none.
func ID(ctx context.Context) string {
	if r, ok := ctx.Value(recordKey{}).(*record); ok {
		return r.id
	}
	return ""
}

// Address returns the IP address of the caller of the request that ctx belongs to, as text: the
// connection's other end, or what a trusted proxy says. It is "" if there is none.
func Address(ctx context.Context) string {
	if r, ok := ctx.Value(recordKey{}).(*record); ok {
		return r.address
	}
	return ""
}

// Add adds a field to the request's line: an id, a code, a count, or the text of one of our errors;
// never raw input of a caller, and never a secret. Without a request it does nothing. A key that is
// added twice is written twice.
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

// line returns what was added so far. What the handler's goroutines add later is not written.
func (r *record) line() []slog.Attr {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.attrs
}

const (
	idLetters = "0123456789abcdefghjkmnpqrstvwxyz" // 32 letters that are hard to confuse on the telephone
	idLength  = 20
)

// newID returns 100 random bits. An id names a request and gives no access, so the runtime's own
// generator suffices.
func newID() string {
	var id [idLength]byte
	high, low := rand.Uint64(), rand.Uint64()
	for i := range idLength / 2 {
		id[i] = idLetters[high>>(5*i)&31]
		id[i+idLength/2] = idLetters[low>>(5*i)&31]
	}
	return string(id[:])
}
