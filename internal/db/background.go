package db

import "context"

type background struct{}

// Background marks work that nobody waits for. All of it together has at most half of the connections, so that whoever waits finds one, however slow the database is.
func Background(ctx context.Context) context.Context {
	return context.WithValue(ctx, background{}, true)
}

// admit lets background work wait for a connection of its half. A transaction that is under way has one already.
func admit(ctx context.Context, q Querier) (leave func(), err error) {
	d, pool := q.(*DB)
	if !pool || ctx.Value(background{}) == nil {
		return func() {}, nil
	}
	select {
	case d.behind <- struct{}{}:
		return func() { <-d.behind }, nil
	case <-ctx.Done():
		return nil, d.classify(ctx.Err())
	}
}
