package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"wxplatform/token"
	"wxplatform/wechat/wechatsim"
)

const refreshPath = "/cgi-bin/component/api_authorizer_token"

// scale is one run with very many authorizers.
type scale struct {
	bench       // its simulator, settings and platform
	n       int // authorizers
	time    time.Duration
	latency time.Duration // of WeChat's answer to a refresh
	calls   float64       // a second, for authorizers that nobody called for a week
	life    time.Duration // of a token; 0 is WeChat's own
	behind  time.Duration // for how long nothing was renewed before the first start
	mix     mix
	drop    func() error

	out     io.Writer
	times   token.Times
	server  int // the process id of PostgreSQL
	redis   string
	starts  []started // the results of the starts so far
	samples []sample  // taken while the platform runs
	callers callers
	took    []took
}

// took is how long a command of the operator, or a request to the platform, took.
type took struct {
	what string
	time time.Duration
}

// started is the result of one start of the platform.
type started struct {
	ready time.Duration // until /readyz answered
	first int           // refreshes in the ten seconds after that
	due   int           // tokens that were due at that time, counted up to the most that are
}

func measureScale(ctx context.Context, out io.Writer, args []string) error {
	s := &scale{out: out}
	flags := flag.NewFlagSet("bench scale", flag.ExitOnError)
	flags.StringVar(&s.binaries, "binaries", "", "folder with the platform, and with what a run leaves behind")
	flags.IntVar(&s.n, "n", 100_000, "authorizers")
	flags.DurationVar(&s.time, "time", 6*time.Minute, "how long the platform runs; it is restarted in the middle")
	flags.DurationVar(&s.latency, "latency", 300*time.Millisecond, "how long WeChat takes for a refresh")
	flags.Float64Var(&s.calls, "calls", 5, "calls a second for authorizers that nobody called for a week, whose tokens are fetched on demand")
	flags.DurationVar(&s.life, "life", 0, "of a token, with everything else in proportion; 0 is WeChat's two hours")
	flags.DurationVar(&s.behind, "behind", 0, "for how long nothing was renewed before the first start, as after an outage; beyond 10 minutes of two hours tokens in use have expired by then")
	flags.IntVar(&s.mix.hot, "hot", 40, "percent of the authorizers that were called within an hour")
	flags.IntVar(&s.mix.daily, "daily", 30, "percent called within a day, but not an hour")
	flags.IntVar(&s.mix.warm, "warm", 20, "percent called within a week, but not a day; the rest is colder")
	_ = flags.Parse(args)
	err := s.run(ctx)
	return errors.Join(err, s.end())
}

func (s *scale) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{s.begin, s.find, s.fill, s.start, s.admitCaller, s.watch, s.restart, s.watch, s.command, s.print} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// begin makes an empty database, and a simulated WeChat with all the authorizers.
func (s *scale) begin(ctx context.Context) error {
	s.times = lives(s.life)
	if err := s.serveSlowWeChat(); err != nil {
		return err
	}
	drop, err := s.configure(ctx)
	if err != nil {
		return err
	}
	s.drop = drop
	if s.life > 0 {
		s.settings = append(s.settings, timesSetting(s.times))
	}
	return s.open(ctx)
}

// lives returns WeChat's token lives, or others in the same proportion as far as the duration of
// calls allows.
func lives(life time.Duration) token.Times {
	if life == 0 {
		return token.DefaultTimes()
	}
	return token.Times{Call: 4 * time.Second, Lease: 6 * time.Second, Unsettled: 10 * time.Second, Overlap: max(life/24, 11*time.Second), Life: life}
}

// serveSlowWeChat runs in this process.
func (s *scale) serveSlowWeChat() error {
	var faults [3]error
	s.address, faults[0] = freeAddress()
	s.private, faults[1] = freeAddress()
	s.sim, faults[2] = wechatsim.New(wechatsim.Config{
		EventURL: "http://" + s.address + "/wechat/events", NoSamples: s.n > 0,
		Times: wechatsim.Times{AccessToken: s.times.Life, Overlap: s.times.Overlap, RefreshGrace: s.times.Overlap},
	})
	if err := errors.Join(faults[:]...); err != nil {
		return err
	}
	s.sim.AddSynthetic(s.n)
	if s.latency > 0 {
		s.sim.Fault(wechatsim.Fault{Path: refreshPath, Count: wechatsim.Always, Delay: s.latency})
	}
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.upstream = "http://" + on.Addr().String()
	go func() { _ = (&http.Server{Handler: s.sim, ReadHeaderTimeout: 10 * time.Second}).Serve(on) }()
	return nil
}

// start starts the platform on all cores and measures the time until it is ready.
func (s *scale) start(ctx context.Context) error {
	due, err := s.countDue(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	p := &program{name: "the platform", url: "http://" + s.address}
	if p.log, err = os.OpenFile(filepath.Join(s.binaries, "platform.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return err
	}
	if err := p.start("", s.settings, s.binaries+"/platform", "serve"); err != nil {
		return err
	}
	s.platform, s.programs = p, []*program{p}
	before := s.refreshes()
	if err := ready(ctx, "http://"+s.private+"/readyz"); err != nil {
		return err
	}
	took := time.Since(began)
	if err := s.ticket(ctx); err != nil {
		return err
	}
	time.Sleep(10 * time.Second)
	s.starts = append(s.starts, started{took, s.refreshes() - before, due})
	s.progress("ready after %v, with %d tokens due; %d refreshes in the ten seconds after", took.Round(time.Millisecond), due, s.refreshes()-before)
	return nil
}

// ticket pushes a ticket at the first start only: at the second one the database has it.
func (s *scale) ticket(ctx context.Context) error {
	if len(s.starts) > 0 {
		return nil
	}
	return s.pushTicket(ctx)
}

func ready(ctx context.Context, where string) error {
	patience := time.Now().Add(time.Minute)
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		if ctx.Err() != nil || time.Now().After(patience) {
			return fmt.Errorf("the platform is not ready: %w", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *scale) restart(ctx context.Context) error {
	s.callers.pause()
	if err := s.platform.stop(); err != nil {
		return err
	}
	s.programs = nil
	if err := s.start(ctx); err != nil {
		return err
	}
	s.callers.goOn()
	return nil
}

// command runs an operator's command while the platform serves.
func (s *scale) command(ctx context.Context) error {
	for _, args := range [][]string{{"doctor"}, {"authorizer", "list"}, {"authorizer", "list", "--state", "degraded"}, {"reconcile"}} {
		began := time.Now()
		run := exec.CommandContext(ctx, s.binaries+"/platform", args...)
		run.Env = append(os.Environ(), s.settings...)
		if text, err := run.CombinedOutput(); err != nil && args[0] != "doctor" { // which does not like plain http
			return fmt.Errorf("platform %v: %w\n%.2000s", args, err, text)
		}
		s.took = append(s.took, took{"platform " + strings.Join(args, " "), time.Since(began)})
		s.progress("platform %v: %v", args, time.Since(began).Round(time.Millisecond))
	}
	began := time.Now()
	if err := ready(ctx, "http://"+s.private+"/metrics"); err != nil {
		return err
	}
	s.took = append(s.took, took{"GET /metrics", time.Since(began)})
	return nil
}

// refreshes counts the refreshes that reached WeChat.
func (s *scale) refreshes() int { return s.sim.Calls(refreshPath) }

func (s *scale) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s  "+format+"\n", append([]any{time.Now().Format("15:04:05")}, args...)...)
}

// end shuts everything down.
func (s *scale) end() (err error) {
	s.callers.stop()
	for _, p := range s.programs {
		err = errors.Join(err, p.stop())
	}
	if s.drop != nil {
		err = errors.Join(err, s.drop())
	}
	if s.sim != nil {
		s.sim.Close()
	}
	return err
}
