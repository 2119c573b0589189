package db

import "context"

type background struct{}

// Background marks work that nobody waits for. All background work together uses at most half of
// the connections, so that other work gets one however slow the database is.
func Background(ctx context.Context) context.Context {
	return context.WithValue(ctx, background{}, true)
}

// admit makes background work wait until its half of the connections has a free one. A transaction
// has its connection already.
func admit(ctx context.Context, q Querier) (leave func(), err error) {
	d, pool := q.(*DB)
	if !pool || ctx.Value(background{}) == nil {
		return func() {}, nil
	}
	select {
	case d.background <- struct{}{}:
		return func() { <-d.background }, nil
	case <-ctx.Done():
		return nil, d.classify(ctx.Err())
	}
}
