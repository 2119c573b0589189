package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	replicas = 3
	dearest  = 1.10 // how many times the CPU time a request may take with replicas
	warming  = time.Second
)

// measureReplicas prints the CPU time of a warm closeSession with one replica under load, and with
// three under load at once, all on one core, one PostgreSQL and one Redis. It fails if a request to
// the three takes more than a tenth more.
func measureReplicas(ctx context.Context, out io.Writer, args []string) error {
	b := &bench{}
	_ = b.newFlags("replicas", 32).Parse(args)
	return b.run(ctx, func(ctx context.Context) error { return b.measureReplicas(ctx, out) }, b.startPlatform, b.prepare, b.startReplicas)
}

// startReplicas starts the others, and warms all.
func (b *bench) startReplicas(ctx context.Context) error {
	for i := 2; i <= replicas; i++ {
		address, bad := freeAddress()
		private, worse := freeAddress()
		if err := errors.Join(bad, worse); err != nil {
			return err
		}
		settings := append(b.settings[:len(b.settings):len(b.settings)], "PLATFORM_LISTEN="+address, "PLATFORM_PRIVATE_LISTEN="+private)
		if _, err := b.start(ctx, fmt.Sprint("replica ", i), address, settings, b.binaries+"/platform", "serve"); err != nil {
			return err
		}
	}
	for _, p := range b.programs {
		if err := b.closeAll(ctx, p); err != nil {
			return err
		}
	}
	_, err := b.loadAll(ctx, b.programs, warming)
	return err
}

// measureReplicas loads the first replica alone and all of them, in turn.
func (b *bench) measureReplicas(ctx context.Context, out io.Writer) error {
	turns := make([][]round, 2)
	for i := range b.rounds {
		for j, some := range [][]*program{b.programs[:1], b.programs} {
			r, err := b.loadAll(ctx, some, b.duration)
			if err != nil {
				return err
			}
			turns[j] = append(turns[j], r)
		}
		fmt.Fprintf(os.Stderr, "round %d of %d, µs a request: %.0f with one replica, %.0f with %d\n", i+1, b.rounds, turns[0][i].cpu, turns[1][i].cpu, replicas)
	}
	cpu, rate := func(r round) float64 { return r.cpu }, func(r round) float64 { return r.rate }
	ratio := ratios(turns[1], turns[0])
	_, err := fmt.Fprintf(out, "one replica: %s µs of CPU a request, %s requests/s; %d replicas: %s µs, %s requests/s; ratio %s\n",
		spreadOf(turns[0], cpu).text(0), spreadOf(turns[0], rate).text(0), replicas, spreadOf(turns[1], cpu).text(0), spreadOf(turns[1], rate).text(0), ratio.text(2))
	if ratio.median > dearest {
		err = errors.Join(err, fmt.Errorf("a request to one of %d replicas takes %.2f times the CPU time, want at most %.2f", replicas, ratio.median, dearest))
	}
	return err
}

// loadAll loads programs at once, which share the connections. The CPU time is that of all of them
// divided by all requests.
func (b *bench) loadAll(ctx context.Context, programs []*program, d time.Duration) (round, error) {
	each := *b
	each.connections = max(1, b.connections/len(programs))
	rounds := make([]round, len(programs))
	group, ctx := errgroup.WithContext(ctx)
	for i, p := range programs {
		group.Go(func() (err error) {
			rounds[i], err = each.load(ctx, p, d)
			return err
		})
	}
	err := group.Wait()
	var all round
	for _, r := range rounds {
		all.rate += r.rate
		all.cpu += r.cpu * r.rate
	}
	all.cpu /= all.rate
	return all, err
}
