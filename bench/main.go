// Command bench measures a warm closeSession through the platform as it is shipped and through a
// bare httputil.ReverseProxy, both with the same upstream. With "scale" as its first argument it
// fills a database with very many authorizers and watches the keeper renew their tokens. With
// "fair" it measures what one tenant notices of another, with "idle" the memory of idle
// connections, with "upload" that of large uploads, with "memory" that of many merchants, with
// "replicas" the CPU time of a request to one of three replicas, and with "latency" how much later
// an answer comes through the platform than from WeChat itself. bench/run.sh, bench/scale.sh and
// bench/shipped.sh build and start it (make bench, make replicas, make latency, make scale, make
// fair, make idle, make upload, make memory); docs/performance.md describes it and has the results.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"wxplatform/internal/seal"
	"wxplatform/wechat/wechatsim"
)

// bench is one run.
type bench struct {
	core        string // the CPU core on which the measured programs run
	binaries    string // a folder with platform and bareproxy, and with what a run leaves behind
	script      string
	rounds      int
	duration    time.Duration
	connections int
	merchants   int    // for which, and with as many JWTs, calls are made in turn
	idle        int    // authorizers besides them that nobody calls
	profile     string // where a CPU profile of the platform goes; "" makes none
	other       string // another build of the platform, measured beside the first; "" is none
	tls         bool   // between the programs and the upstream
	peers       bool   // nginx and nginx + Lua are measured, too

	sim      *wechatsim.Sim
	closes   *atomic.Int64 // that reached the upstream
	late     *lateness     // of the upstream's answers
	client   account
	jwts     []string // of the client, one for each merchant
	store             // the platform's database
	upstream string   // its URL
	address  string   // the platform's
	private  string   // and that of its private listener
	settings []string // the platform's
	platform *program
	programs []*program // in the order of the table: the bare proxy, the platform, its other build
}

// measurement measures one thing and prints the result. args are its flags.
type measurement func(ctx context.Context, out io.Writer, args []string) error

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	run, args := measureClose, os.Args[1:]
	named := map[string]measurement{"scale": measureScale, "fair": measureFair, "idle": measureIdle, "upload": measureUploads, "memory": measureMemory, "replicas": measureReplicas, "latency": measureLatency}
	if len(args) > 0 && named[args[0]] != nil {
		run, args = named[args[0]], args[1:]
	}
	err := run(ctx, os.Stdout, args)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// newFlags declares the flags that the measurements of closes have in common.
func (b *bench) newFlags(name string, connections int) *flag.FlagSet {
	flags := flag.NewFlagSet("bench "+name, flag.ExitOnError)
	flags.StringVar(&b.core, "core", "0", "core of the measured programs")
	flags.StringVar(&b.binaries, "binaries", "", "folder with platform and bareproxy, and with what a run leaves behind")
	flags.StringVar(&b.script, "script", "bench/load.lua", "wrk's script")
	flags.IntVar(&b.rounds, "rounds", 5, "rounds of each program")
	flags.DurationVar(&b.duration, "duration", 4*time.Second, "length of a round, whole seconds")
	flags.IntVar(&b.connections, "connections", connections, "connections that send requests, to all programs of a round together")
	flags.IntVar(&b.merchants, "merchants", 1, "merchants, and as many JWTs, for which calls are made in turn")
	flags.BoolVar(&b.tls, "tls", false, "TLS between the programs and the upstream")
	return flags
}

func measureClose(ctx context.Context, out io.Writer, args []string) error {
	b := &bench{}
	flags := b.newFlags("", 32)
	flags.StringVar(&b.profile, "profile", "", "file for a CPU profile of the platform, taken in one round more")
	flags.StringVar(&b.other, "other", "", "another build of the platform, to measure beside the first")
	flags.BoolVar(&b.peers, "peers", false, "measure nginx and nginx + Lua, too")
	_ = flags.Parse(args)
	return b.run(ctx, func(ctx context.Context) error { return b.measure(ctx, out) },
		b.startBare, b.startPlatform, b.prepare, b.startOther, b.startPeers, b.checkRefusals, b.warmUp)
}

// run sets everything up on loopback in steps, measures, and shuts it down again.
func (b *bench) run(ctx context.Context, measure func(context.Context) error, steps ...func(context.Context) error) (err error) {
	var undo []func() error
	defer func() {
		for _, p := range b.programs {
			err = errors.Join(err, p.stop())
		}
		for i := len(undo) - 1; i >= 0; i-- {
			err = errors.Join(err, undo[i]())
		}
	}()
	for _, step := range []func(context.Context) (func() error, error){b.serveUpstream, b.configure} {
		after, err := step(ctx)
		if after != nil {
			undo = append(undo, after)
		}
		if err != nil {
			return err
		}
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return measure(ctx)
}

// serveUpstream runs in this process, on the load generator's cores.
func (b *bench) serveUpstream(context.Context) (func() error, error) {
	var faults [3]error
	b.address, faults[0] = freeAddress()
	b.private, faults[1] = freeAddress()
	b.sim, faults[2] = wechatsim.New(wechatsim.Config{EventURL: "http://" + b.address + "/wechat/events"})
	if err := errors.Join(faults[:]...); err != nil {
		return nil, err
	}
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b.upstream = "http://" + on.Addr().String()
	if b.tls {
		if on, err = b.secure(on); err != nil {
			return nil, err
		}
		b.upstream = "https://" + on.Addr().String()
	}
	b.closes, b.late = new(atomic.Int64), newLateness()
	go (&upstream{b.sim, on, b.closes, b.late}).run()
	return func() error { b.sim.Close(); return on.Close() }, nil
}

// configure makes the database and the settings of a platform as it is shipped, on PostgreSQL and
// Redis.
func (b *bench) configure(ctx context.Context) (func() error, error) {
	postgres, redis := os.Getenv("TEST_POSTGRES_URL"), os.Getenv("TEST_REDIS_URL")
	if postgres == "" || redis == "" {
		return nil, errors.New("TEST_POSTGRES_URL or TEST_REDIS_URL is not set: use make bench")
	}
	database, drop, err := makeDatabase(ctx, postgres)
	if err != nil {
		return nil, err
	}
	about := b.sim.Config()
	b.settings = []string{
		"PLATFORM_LISTEN=" + b.address, "PLATFORM_PRIVATE_LISTEN=" + b.private, "PLATFORM_PUBLIC_URL=http://" + b.address,
		"PLATFORM_COMPONENT_APPID=" + string(about.AppID), "PLATFORM_COMPONENT_SECRET=" + about.Secret,
		"PLATFORM_COMPONENT_TOKEN=" + about.Token, "PLATFORM_COMPONENT_AES_KEY=" + about.AESKey,
		"PLATFORM_SEALING_KEYS=" + seal.NewKey(), "PLATFORM_DATABASE_URL=" + database, "PLATFORM_REDIS_URL=" + redis,
		"PLATFORM_WECHAT_URL=" + b.upstream, "PLATFORM_WECHAT_CONSENT_URL=" + b.upstream,
	}
	if b.profile != "" {
		b.settings = append(b.settings, "PLATFORM_PPROF=on")
	}
	return func() error { return errors.Join(b.store.close(), drop()) }, nil
}

func (b *bench) startBare(ctx context.Context) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	bare, err := b.start(ctx, "httputil.ReverseProxy", address, nil, b.binaries+"/bareproxy", "-listen", address, "-upstream", b.upstream)
	bare.passes = true
	return err
}

func (b *bench) startPlatform(ctx context.Context) (err error) {
	b.platform, err = b.start(ctx, "the platform", b.address, b.settings, b.binaries+"/platform", "serve")
	return err
}

// startOther starts another build of the platform as one more replica.
func (b *bench) startOther(ctx context.Context) error {
	if b.other == "" {
		return nil
	}
	address, bad := freeAddress()
	private, worse := freeAddress()
	if err := errors.Join(bad, worse); err != nil {
		return err
	}
	settings := append(b.settings[:len(b.settings):len(b.settings)], "PLATFORM_LISTEN="+address, "PLATFORM_PRIVATE_LISTEN="+private)
	_, err := b.start(ctx, "its other build", address, settings, b.other, "serve")
	return err
}

// start starts a program of the table, with its log in a file, and waits until it listens.
func (b *bench) start(ctx context.Context, name, address string, env []string, command ...string) (*program, error) {
	p := &program{name: name, url: "http://" + address}
	var err error
	if p.log, err = os.OpenFile(b.logFile(name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return p, err
	}
	if err := p.start(b.core, env, command...); err != nil {
		return p, err
	}
	b.programs = append(b.programs, p)
	if err := listening(ctx, address); err != nil {
		text, _ := os.ReadFile(p.log.Name())
		return p, fmt.Errorf("%s: %w\n%s", name, err, text)
	}
	return p, nil
}

func (b *bench) logFile(name string) string {
	return filepath.Join(b.binaries, strings.ReplaceAll(name, " ", "-")+".log")
}

// prepare gives the platform a ticket, a tenant with a client, the merchants, and an authorizer
// that granted no permission set that closing needs. It closes one session.
func (b *bench) prepare(ctx context.Context) (err error) {
	if err := b.pushTicket(ctx); err != nil {
		return err
	}
	if b.client, err = b.newClient(ctx, "bench"); err != nil {
		return err
	}
	all, err := b.newJWT(ctx, b.client, "")
	if err != nil {
		return err
	}
	if err := b.invite(ctx, all, wechatsim.SampleOfficial, 11); err != nil {
		return err
	}
	if err := errors.Join(b.fillMerchants(ctx), b.mintAll(ctx), b.writeCalls()); err != nil {
		return err
	}
	return b.closeOnce(ctx, b.platform)
}

func (b *bench) pushTicket(ctx context.Context) error {
	b.sim.PushTicket()
	return b.sim.Settle(ctx)
}

// warmUp has each program close a session of every merchant, and then loads it.
func (b *bench) warmUp(ctx context.Context) error {
	for _, p := range b.programs {
		if err := b.closeAll(ctx, p); err != nil {
			return err
		}
		if _, err := b.load(ctx, p, 2*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// measure loads the programs in turn: A B A B.
func (b *bench) measure(ctx context.Context, out io.Writer) error {
	turns := make([][]round, len(b.programs))
	for i := range b.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d, µs a request:", i+1, b.rounds)
		for j, p := range b.programs {
			r, err := b.load(ctx, p, b.duration)
			if err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, " %.0f", r.cpu)
			turns[j] = append(turns[j], r)
		}
		fmt.Fprintln(os.Stderr)
	}
	if err := printTable(out, b.programs, turns); err != nil {
		return err
	}
	return b.takeProfile(ctx)
}
