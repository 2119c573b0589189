package mirror

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrClosed says that the mirror was closed.
var ErrClosed = errors.New("closed")

// Flights is a single flight: callers that ask for a key while work for it is in flight wait for
// the same result. Cancelling a caller ends its wait, not the work, which goes on for the others
// until its time limit or Close. Close waits for it.
type Flights[K comparable, T any] struct {
	m        *Mirror
	patience time.Duration

	mu    sync.Mutex
	under map[K]*flight[T]
}

type flight[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// NewFlights returns an empty group. Its work is cancelled after patience, or only by Close if that
// is 0.
func NewFlights[K comparable, T any](m *Mirror, patience time.Duration) *Flights[K, T] {
	return &Flights[K, T]{m: m, patience: patience, under: map[K]*flight[T]{}}
}

// Do returns what work returns, or ctx's error, or ErrClosed.
func (f *Flights[K, T]) Do(ctx context.Context, key K, work func(context.Context) (T, error)) (T, error) {
	joined := f.join(ctx, key, work)
	select {
	case <-joined.done:
		return joined.value, joined.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// Start starts work, unless it is in flight already, and does not wait for it.
func (f *Flights[K, T]) Start(ctx context.Context, key K, work func(context.Context) (T, error)) {
	f.join(ctx, key, work)
}

// Idle reports whether nothing is in flight.
func (f *Flights[K, T]) Idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.under) == 0
}

func (f *Flights[K, T]) join(ctx context.Context, key K, work func(context.Context) (T, error)) *flight[T] {
	f.mu.Lock()
	defer f.mu.Unlock()
	if under, ok := f.under[key]; ok {
		return under
	}
	fresh := &flight[T]{done: make(chan struct{}), err: ErrClosed}
	if !f.m.start(func() { f.fly(ctx, key, fresh, work) }) {
		close(fresh.done)
		return fresh
	}
	f.under[key] = fresh
	return fresh
}

func (f *Flights[K, T]) fly(ctx context.Context, key K, one *flight[T], work func(context.Context) (T, error)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	if f.patience > 0 {
		ctx, cancel = context.WithTimeout(ctx, f.patience)
		defer cancel()
	}
	defer context.AfterFunc(f.m.ctx, cancel)()
	one.value, one.err = work(ctx)
	f.mu.Lock()
	delete(f.under, key)
	f.mu.Unlock()
	close(one.done)
}

// start runs work in a goroutine that Close waits for. It returns false if the mirror is closed.
func (m *Mirror) start(work func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() != nil {
		return false
	}
	m.work.Go(work)
	return true
}
