package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

const sessionPath = "/customservice/kfsession/getsession"

// fair is one run with a noisy tenant and a quiet one.
type fair struct {
	scale // its simulator behind net/http, its settings and platform
	each  time.Duration
	slow  time.Duration // WeChat's answer to the noisy tenant

	noisyID      string
	noisy, quiet request
	phases       []phase
	served       float64 // CPU of the platform for a call of the noisy tenant that WeChat answers at once, in µs
	refused      float64 // and for one that is refused
}

// phase is what was measured while the noisy tenant did one thing.
type phase struct {
	name         string
	quiet        tally
	noisy        tally
	renewed      time.Duration // until a token that became due was renewed
	onboarded    time.Duration // a merchant, from the invitation to the end
	disturbances error
}

func measureFair(ctx context.Context, out io.Writer, args []string) error {
	f := &fair{scale: scale{out: out, times: lives(0)}}
	flags := flag.NewFlagSet("bench fair", flag.ExitOnError)
	flags.StringVar(&f.binaries, "binaries", "", "folder with the platform, and with what a run leaves behind")
	flags.DurationVar(&f.each, "each", 12*time.Second, "how long each phase is")
	flags.DurationVar(&f.slow, "slow", 5*time.Second, "how long WeChat takes to answer the noisy tenant")
	_ = flags.Parse(args)
	err := f.run(ctx)
	return errors.Join(err, f.end())
}

func (f *fair) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{f.begin, f.startOnce, f.admit, f.measure, f.cost, f.print} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return f.judge()
}

// begin makes an empty database, and a simulated WeChat.
func (f *fair) begin(ctx context.Context) (err error) {
	if err := f.serveSlowWeChat(); err != nil {
		return err
	}
	if f.drop, err = f.configure(ctx); err != nil {
		return err
	}
	return f.open(ctx)
}

func (f *fair) startOnce(ctx context.Context) error {
	if err := f.startPlatform(ctx); err != nil {
		return err
	}
	return f.pushTicket(ctx)
}

// admit onboards a merchant for each tenant.
func (f *fair) admit(ctx context.Context) error {
	noisyID, noisy, err := f.onboard(ctx, "noisy", wechatsim.SampleOfficial)
	if err != nil {
		return err
	}
	_, quiet, err := f.onboard(ctx, "quiet", wechatsim.SampleService)
	f.noisyID, f.noisy, f.quiet = noisyID, session(wechatsim.SampleOfficial, noisy), session(wechatsim.SampleService, quiet)
	return errors.Join(err, f.sim.Settle(ctx))
}

// session is a request for who serves the sample customer.
func session(merchant wechat.AppID, jwt string) request {
	return request(fmt.Sprintf("GET /v1/authorizers/%s%s?openid=%s HTTP/1.1\r\nHost: platform\r\nAuthorization: Bearer %s\r\n\r\n", merchant, sessionPath, wechatsim.SampleCustomer, jwt))
}

// measure has the noisy tenant do nothing, then one thing, then nothing again, and so on.
func (f *fair) measure(ctx context.Context) error {
	for _, n := range []int{500, 600, 1000, 5000} {
		f.phase(ctx, "nothing", 0)
		f.sim.Fault(wechatsim.Fault{Path: sessionPath, AppID: wechatsim.SampleOfficial, Count: wechatsim.Always, Delay: f.slow})
		f.phase(ctx, fmt.Sprintf("%d calls, WeChat takes %v", n, f.slow), n)
		f.sim.ClearFaults()
		time.Sleep(f.slow)
	}
	f.phase(ctx, "nothing", 0)
	f.phase(ctx, "full load, 64 connections", 64)
	f.phase(ctx, "nothing", 0)
	if err := f.limit(ctx, "--rate", "2000"); err != nil {
		return err
	}
	f.phase(ctx, "the same, limited to 2,000 a second", 64)
	f.phase(ctx, "nothing", 0)
	return ctx.Err()
}

// limit sets the noisy tenant's limit, and waits until the platform has heard of it.
func (f *fair) limit(ctx context.Context, limit ...string) error {
	err := f.operate(ctx, &struct{}{}, append([]string{"tenant", "limit", f.noisyID}, limit...)...)
	time.Sleep(2 * time.Second)
	return err
}

// phase measures the quiet tenant, a renewal and an onboarding while the noisy tenant keeps n calls
// in flight.
func (f *fair) phase(ctx context.Context, name string, n int) {
	p := phase{name: name}
	ctx, stop := context.WithTimeout(ctx, f.each)
	defer stop()
	noise := load{f.noisy, n, 0, true}.start(ctx, f.address)
	time.Sleep(f.each / 6) // until the calls are in flight
	quiet := load{f.quiet, 1, 10 * time.Millisecond, true}.start(ctx, f.address)
	p.renewed, p.disturbances = f.renew(ctx)
	began := time.Now()
	p.disturbances = errors.Join(p.disturbances, f.invite(ctx, f.quiet.jwt(), wechatsim.SampleUnverified))
	p.onboarded = time.Since(began)
	p.quiet, p.noisy = quiet(), noise()
	f.progress("%s: quiet %s; noisy %s", name, p.quiet, p.noisy)
	f.phases = append(f.phases, p)
}

// renew makes the tokens due and waits until one was renewed.
func (f *fair) renew(ctx context.Context) (time.Duration, error) {
	before, began := f.refreshes(), time.Now()
	if err := makeDue(ctx, f.database); err != nil {
		return 0, err
	}
	for f.refreshes() == before {
		if ctx.Err() != nil {
			return 0, errors.New("no token was renewed")
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(began), nil
}

// alone is after how long without requests a tenant no longer slows others down.
const alone = 11 * time.Second

// cost measures the CPU of a call that is served and of one that is refused, in turn.
func (f *fair) cost(ctx context.Context) error {
	time.Sleep(alone) // then the quiet tenant counts as gone, and the noisy one is not slowed down
	var served, refused []float64
	for range 3 {
		for into, limit := range map[*[]float64][]string{&served: {"--default"}, &refused: {"--rate", "1"}} {
			if err := f.limit(ctx, limit...); err != nil {
				return err
			}
			micros, err := f.perCall(ctx)
			if err != nil {
				return err
			}
			*into = append(*into, micros)
		}
	}
	f.served, f.refused = spreadOfValues(served).median, spreadOfValues(refused).median
	return nil
}

// perCall is the CPU time of the platform for a call, in µs.
func (f *fair) perCall(ctx context.Context) (float64, error) {
	before, err := f.platform.cpu()
	if err != nil {
		return 0, err
	}
	ctx, stop := context.WithTimeout(ctx, 3*time.Second)
	defer stop()
	t := load{f.noisy, 16, 0, false}.start(ctx, f.address)()
	after, err := f.platform.cpu()
	return float64((after - before).Microseconds()) / float64(max(1, t.calls())), err
}

func (f *fair) print(context.Context) error {
	table := tabwriter.NewWriter(f.out, 0, 0, 1, ' ', 0)
	_, _ = fmt.Fprintln(table, "| the noisy tenant does\t| quiet: p50 ms\t| of before\t| p99 ms\t| errors\t| renewal ms\t| onboarding ms\t| noisy: served\t| refused\t| other\t|")
	_, _ = fmt.Fprintln(table, "|"+strings.Repeat("---\t|", 10))
	for i, p := range f.phases {
		ratio := "1"
		if i%2 == 1 {
			ratio = fmt.Sprintf("%.2f", f.ratio(i))
		}
		_, _ = fmt.Fprintf(table, "| %s\t| %.2f\t| %s\t| %.2f\t| %d\t| %d\t| %d\t| %d\t| %d\t| %d\t|\n", p.name, p.quiet.quantile(0.5), ratio, p.quiet.quantile(0.99),
			p.quiet.other+p.quiet.refused, p.renewed.Milliseconds(), p.onboarded.Milliseconds(), p.noisy.served, p.noisy.refused, p.noisy.other)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(f.out, "\nCPU of the platform: %.1f µs for a call that WeChat answers at once, %.1f µs for one that is refused: %.2f of it\n", f.served, f.refused, f.refused/f.served)
	return err
}

// ratio is the quiet tenant's median in a phase, divided by its mean in the phases before and
// after.
func (f *fair) ratio(i int) float64 {
	return 2 * f.phases[i].quiet.quantile(0.5) / (f.phases[i-1].quiet.quantile(0.5) + f.phases[i+1].quiet.quantile(0.5))
}

// judge fails if the quiet tenant, a renewal or an onboarding was disturbed.
func (f *fair) judge() (err error) {
	for i, p := range f.phases {
		if n := p.quiet.other + p.quiet.refused; n > 0 {
			err = errors.Join(err, fmt.Errorf("%s: %d calls of the quiet tenant were not served", p.name, n))
		}
		if i%2 == 1 && f.ratio(i) > 2 {
			err = errors.Join(err, fmt.Errorf("%s: the quiet tenant's median became %.2f times as long", p.name, f.ratio(i)))
		}
		if p.disturbances != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", p.name, p.disturbances))
		}
	}
	return err
}
