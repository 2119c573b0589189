package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"
)

// measureLatency prints how much later a warm closeSession is answered through the platform, nginx
// and nginx + Lua than by the upstream itself, which takes a fixed time. Each gets half, or another
// part, of the requests a second that the platform can answer, at fixed times, whether or not
// earlier ones were answered. It fails if the platform adds more than its target.
func measureLatency(ctx context.Context, out io.Writer, args []string) error {
	b := &bench{peers: true}
	flags := b.newFlags("latency", 32)
	takes := flags.Duration("delay", 20*time.Millisecond, "how long the upstream takes to answer")
	part := flags.Float64("part", 0.5, "how much is sent of the requests that the platform can answer")
	_ = flags.Parse(args)
	if b.tls {
		return errors.New("latency is measured without TLS")
	}
	return b.run(ctx, func(ctx context.Context) error { return b.measureLatency(ctx, out, *takes, *part) },
		b.startPlatform, b.prepare, b.startPeers, b.checkRefusals, b.warmUp)
}

// The target, in milliseconds.
const (
	mostAddedMedian = 0.15
	mostAddedP99    = 1.0
)

// delayed is what answers took in one round, in milliseconds, and how much more that is than what
// the upstream's own took in the same turn.
type delayed struct{ p50, p99, added50, added99 float64 }

// measureLatency finds the rate, and then loads the upstream itself and the programs in turn.
func (b *bench) measureLatency(ctx context.Context, out io.Writer, takes time.Duration, part float64) error {
	most, err := b.load(ctx, b.platform, b.duration)
	if err != nil {
		return err
	}
	rate := most.rate * part
	at := pace{rate: rate, connections: min(b.connections+int(rate*(takes+spare).Seconds()), mostConnections)}
	if ctx, err = b.delayAnswers(ctx, takes); err != nil {
		return err
	}
	programs := append([]*program{{name: "the upstream itself", url: b.upstream, passes: true}}, b.programs...)
	turns := make([][]delayed, b.rounds)
	for i := range turns {
		if turns[i], err = b.timeInTurn(ctx, programs, at); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "round %d of %d, %.0f requests/s: the platform adds %.2f ms to p50 and %.2f ms to p99\n", i+1, b.rounds, at.rate, turns[i][1].added50, turns[i][1].added99)
	}
	return errors.Join(printLatency(out, at.rate, programs, turns), missed(turns))
}

// delayAnswers has the upstream take a fixed time to answer. If it can no longer do that, the
// context that it returns ends.
func (b *bench) delayAnswers(ctx context.Context, takes time.Duration) (context.Context, error) {
	a, err := newAlarm()
	if err != nil {
		return ctx, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	go func() { stop(b.late.run(a)) }()
	b.late.set(takes)
	return ctx, nil
}

// timeInTurn loads the programs, of which the first is the upstream itself.
func (b *bench) timeInTurn(ctx context.Context, programs []*program, at pace) ([]delayed, error) {
	all := make([]delayed, len(programs))
	for i, p := range programs {
		one, err := b.timeAnswers(ctx, p, at)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		all[i] = one
		all[i].added50, all[i].added99 = one.p50-all[0].p50, one.p99-all[0].p99
	}
	return all, nil
}

// over is the spread of one program's values.
func over(turns [][]delayed, program int, value func(delayed) float64) spread {
	values := make([]float64, len(turns))
	for i, turn := range turns {
		values[i] = value(turn[program])
	}
	return spreadOfValues(values)
}

func added50(d delayed) float64 { return d.added50 }
func added99(d delayed) float64 { return d.added99 }

func printLatency(out io.Writer, rate float64, programs []*program, turns [][]delayed) error {
	table := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	_, _ = fmt.Fprintf(table, "| %.0f requests/s\t| p50 ms\t| p99 ms\t| added to p50\t| added to p99\t|\n|---\t|---\t|---\t|---\t|---\t|\n", rate)
	for i, p := range programs {
		_, _ = fmt.Fprintf(table, "| %s\t| %s\t| %s\t| %s\t| %s\t|\n", p.name,
			over(turns, i, func(d delayed) float64 { return d.p50 }).text(2), over(turns, i, func(d delayed) float64 { return d.p99 }).text(2),
			over(turns, i, added50).text(2), over(turns, i, added99).text(2))
	}
	return table.Flush()
}

// missed returns an error if the platform, which is the second program, adds more than its target.
func missed(turns [][]delayed) error {
	p50, p99 := over(turns, 1, added50).median, over(turns, 1, added99).median
	if p50 <= mostAddedMedian && p99 <= mostAddedP99 {
		return nil
	}
	return fmt.Errorf("the platform adds %.2f ms to p50 and %.2f ms to p99, want at most %.2f and %.2f", p50, p99, mostAddedMedian, mostAddedP99)
}

// pace is at how many requests a second a program is loaded, and over how many connections.
type pace struct {
	rate        float64
	connections int
}

const (
	spare           = 30 * time.Millisecond // which an answer may take longer than the upstream without keeping a request waiting
	mostConnections = 350                   // of one merchant's calls, the platform refuses those above 384 at once
	settles         = time.Second           // at the beginning of a round, whose answers are not counted
)

// timeAnswers sends the program its requests at fixed times, and measures each answer from the time
// at which its request was due. It fails if an answer is wrong.
func (b *bench) timeAnswers(ctx context.Context, p *program, at pace) (delayed, error) {
	due := make(chan time.Time, int(at.rate)+1) // the requests of one second
	took := make([][]float64, at.connections)
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i := range at.connections {
		group.Go(func() (err error) {
			took[i], err = b.answerTimes(ctx, p, i, due, began.Add(settles))
			return err
		})
	}
	group.Go(func() error { defer close(due); return at.send(ctx, due, began.Add(settles+b.duration)) })
	if err := group.Wait(); err != nil {
		return delayed{}, err
	}
	all := slices.Concat(took...)
	slices.Sort(all)
	time.Sleep(rest)
	one := delayed{p50: all[len(all)/2], p99: all[len(all)*99/100]}
	return one, p.checkLog(int64(len(all)))
}

// send sends the times at which requests are due, each when it has come, until end.
func (at pace) send(ctx context.Context, due chan<- time.Time, end time.Time) error {
	a, err := newAlarm()
	if err != nil {
		return err
	}
	defer a.close()
	interval := time.Duration(float64(time.Second) / at.rate)
	for next := time.Now(); next.Before(end) && ctx.Err() == nil; next = next.Add(interval) {
		if err := a.wait(next); err != nil {
			return err
		}
		select {
		case due <- next:
		default:
			return errors.New("a second's requests wait to be sent: it does not keep up")
		}
	}
	return ctx.Err()
}

// answerTimes sends a request over a connection of its own whenever one is due. It returns how long
// those took, in milliseconds, that were due after from.
func (b *bench) answerTimes(ctx context.Context, p *program, first int, due <-chan time.Time, from time.Time) (took []float64, err error) {
	c, err := dial(ctx, p.address())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	merchant := first
	for at := range due {
		if err := c.close(b.call(p, merchant%b.merchants)); err != nil {
			return nil, err
		}
		if at.After(from) {
			took = append(took, float64(time.Since(at).Microseconds())/1000)
		}
		merchant++
	}
	return took, nil
}
