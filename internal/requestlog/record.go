package requestlog

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"

	"wxplatform/internal/trace"
)

// record collects the line of one request. It is itself the request's context, which saves an
// allocation.
type record struct {
	context.Context
	ids     [1]string // the request's id, as the response header holds it
	address string
	traceID string // "" if the request belongs to no trace
	span    trace.Span

	mu    sync.Mutex
	added line
	room  [roomForFields]byte
}

// roomForFields fits the fields of a usual request.
const roomForFields = 240

type recordKey struct{}

// Value returns the record for its own key, from any context made from it.
func (r *record) Value(key any) any {
	if _, mine := key.(recordKey); mine {
		return r
	}
	return r.Context.Value(key)
}

func newRecord(ctx context.Context) *record {
	r := &record{Context: ctx, ids: [1]string{newID()}}
	r.added = r.room[:0]
	return r
}

// ID returns the id of the request that ctx belongs to, or "" if there is none.
func ID(ctx context.Context) string {
	if r, ok := ctx.Value(recordKey{}).(*record); ok {
		return r.ids[0]
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

// Add adds a field to the request's line: an id, or the text of one of our errors; never raw input
// of a caller, and never a secret. The key is a constant. Without a request it does nothing. A key
// that is added twice is written twice.
func Add(ctx context.Context, key, value string) {
	if r, ok := ctx.Value(recordKey{}).(*record); ok {
		r.add(key, value)
	}
}

// AddNumber is Add for a code or a count.
func AddNumber(ctx context.Context, key string, value int) {
	if r, ok := ctx.Value(recordKey{}).(*record); ok {
		r.addNumber(key, value)
	}
}

// AddTrue is Add for something that is so.
func AddTrue(ctx context.Context, key string) {
	if r, ok := ctx.Value(recordKey{}).(*record); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.added = r.added.yes(key)
	}
}

func (r *record) add(key, value string) {
	if r.span.On() {
		r.span.Text(spanKey(key), value)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.added = r.added.text(key, value)
}

func (r *record) addNumber(key string, value int) {
	if r.span.On() {
		r.span.Number(spanKey(key), value)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.added = r.added.number(key, int64(value))
}

// spanKey returns the attribute that a field of the line is on the request's span, or "". Only
// fields with our own ids and values from closed sets are there.
func spanKey(field string) trace.Key {
	switch field {
	case "tenant":
		return trace.Tenant
	case "client":
		return trace.Client
	case "appid":
		return trace.AppID
	case "api":
		return trace.API
	case "problem":
		return trace.ErrorType
	case "errcode":
		return trace.Code
	case "outcome":
		return trace.Outcome
	}
	return ""
}

// endSpan ends the request's span with how it was answered.
func (r *record) endSpan(route, method string, status int, aborted bool) {
	if !r.span.On() {
		return
	}
	r.span.Text(trace.Route, route)
	r.span.Text(trace.Method, method)
	r.span.Number(trace.Status, status)
	r.span.Text(trace.RequestID, r.ids[0])
	r.span.End(status >= http.StatusInternalServerError || aborted)
}

// appendTo appends what was added so far. What the handler's goroutines add later is not written.
func (r *record) appendTo(l line) line {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(l, r.added...)
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
