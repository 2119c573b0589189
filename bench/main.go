// Command bench measures a warm closeSession: the platform as it is shipped, beside a bare httputil.ReverseProxy, both before the same upstream.
// bench/run.sh builds and starts it (make bench); docs/performance.md says what it does and what came of it.
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
	"syscall"
	"time"

	"wxplatform/internal/seal"
	"wxplatform/wechat/wechatsim"
)

// bench is one run.
type bench struct {
	core        string // on which the measured programs run
	binaries    string // a folder with platform and bareproxy, and with what a run leaves behind
	script      string
	rounds      int
	duration    time.Duration
	connections int
	profile     string // where a CPU profile of the platform goes; "" makes none

	sim      *wechatsim.Sim
	upstream string // its URL
	settings []string
	log      *os.File
	platform *program
	bare     *program
}

func main() {
	b := &bench{}
	flag.StringVar(&b.core, "core", "0", "core of the measured programs")
	flag.StringVar(&b.binaries, "binaries", "", "folder with platform and bareproxy")
	flag.StringVar(&b.script, "script", "bench/load.lua", "wrk's script")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds of each program")
	flag.DurationVar(&b.duration, "duration", 4*time.Second, "length of a round, whole seconds")
	flag.IntVar(&b.connections, "connections", 32, "connections that send requests")
	flag.StringVar(&b.profile, "profile", "", "file for a CPU profile of the platform, taken in one round more")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := b.run(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run makes a world on loopback, measures, and takes it down again.
func (b *bench) run(ctx context.Context, out io.Writer) (err error) {
	var undo []func() error
	defer func() {
		for i := len(undo) - 1; i >= 0; i-- {
			err = errors.Join(err, undo[i]())
		}
	}()
	for _, step := range []func(context.Context) (func() error, error){b.serveUpstream, b.configure, b.startPlatform, b.startBare} {
		after, err := step(ctx)
		if after != nil {
			undo = append(undo, after)
		}
		if err != nil {
			return err
		}
	}
	jwt, err := b.onboard(ctx)
	if err != nil {
		return err
	}
	b.platform.path, b.platform.jwt = "/v1/authorizers/"+string(wechatsim.SampleService)+closePath, jwt
	if err := b.warmUp(ctx); err != nil {
		return err
	}
	return b.measure(ctx, out)
}

// serveUpstream runs here, on the load generator's cores.
func (b *bench) serveUpstream(ctx context.Context) (func() error, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	publicURL := "http://" + address
	b.platform = &program{url: publicURL}
	if b.sim, err = wechatsim.New(wechatsim.Config{EventURL: publicURL + "/wechat/events"}); err != nil {
		return nil, err
	}
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b.upstream = "http://" + on.Addr().String()
	go (&upstream{b.sim, on}).run()
	return func() error { b.sim.Close(); return on.Close() }, nil
}

// configure makes the database and the settings of a platform as it is shipped: PostgreSQL and Redis.
func (b *bench) configure(ctx context.Context) (func() error, error) {
	postgres, redis := os.Getenv("TEST_POSTGRES_URL"), os.Getenv("TEST_REDIS_URL")
	if postgres == "" || redis == "" {
		return nil, errors.New("TEST_POSTGRES_URL or TEST_REDIS_URL is not set: use make bench")
	}
	database, drop, err := makeDatabase(ctx, postgres)
	if err != nil {
		return nil, err
	}
	private, err := freeAddress()
	about := b.sim.Config()
	b.settings = []string{
		"PLATFORM_LISTEN=" + b.platform.url[len("http://"):], "PLATFORM_PRIVATE_LISTEN=" + private, "PLATFORM_PUBLIC_URL=" + b.platform.url,
		"PLATFORM_COMPONENT_APPID=" + string(about.AppID), "PLATFORM_COMPONENT_SECRET=" + about.Secret,
		"PLATFORM_COMPONENT_TOKEN=" + about.Token, "PLATFORM_COMPONENT_AES_KEY=" + about.AESKey,
		"PLATFORM_SEALING_KEYS=" + seal.NewKey(), "PLATFORM_DATABASE_URL=" + database, "PLATFORM_REDIS_URL=" + redis,
		"PLATFORM_WECHAT_URL=" + b.upstream, "PLATFORM_WECHAT_CONSENT_URL=" + b.upstream,
	}
	return drop, err
}

// startPlatform starts it with its log in a file, and gives it a ticket.
func (b *bench) startPlatform(ctx context.Context) (func() error, error) {
	var err error
	if b.log, err = os.OpenFile(filepath.Join(b.binaries, "platform.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return nil, err
	}
	address := b.platform.url
	if b.platform, err = start("the platform", b.core, b.settings, b.log, b.binaries+"/platform", "serve"); err != nil {
		return nil, err
	}
	b.platform.url = address
	if err := listening(ctx, address[len("http://"):]); err != nil {
		text, _ := os.ReadFile(b.log.Name())
		return b.platform.stop, fmt.Errorf("%w\n%s", err, text)
	}
	b.sim.PushTicket()
	return b.platform.stop, b.sim.Settle(ctx)
}

func (b *bench) startBare(ctx context.Context) (func() error, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	if b.bare, err = start("httputil.ReverseProxy", b.core, nil, os.Stderr, b.binaries+"/bareproxy", "-listen", address, "-upstream", b.upstream); err != nil {
		return nil, err
	}
	b.bare.url = "http://" + address
	return b.bare.stop, listening(ctx, address)
}

// warmUp has the platform get its access token, which is then the one that the bare proxy's caller brings along.
func (b *bench) warmUp(ctx context.Context) error {
	if _, err := b.load(ctx, b.platform, 2*time.Second); err != nil {
		return err
	}
	b.bare.path = closePath + "?access_token=" + b.sim.LastAccessToken(wechatsim.SampleService)
	_, err := b.load(ctx, b.bare, 2*time.Second)
	return errors.Join(err, b.log.Truncate(0))
}

// measure loads the programs in turn: A B A B.
func (b *bench) measure(ctx context.Context, out io.Writer) error {
	var bare, platform []round
	for i := range b.rounds {
		one, err := b.load(ctx, b.bare, b.duration)
		if err != nil {
			return err
		}
		other, err := b.load(ctx, b.platform, b.duration)
		if err != nil {
			return err
		}
		if err := b.checkLog(other.requests); err != nil {
			return err
		}
		bare, platform = append(bare, one), append(platform, other)
		fmt.Fprintf(os.Stderr, "round %d of %d: %.0f and %.0f µs a request, ratio %.2f\n", i+1, b.rounds, one.cpu, other.cpu, other.cpu/one.cpu)
	}
	if err := printTable(out, []string{b.bare.name, b.platform.name}, [][]round{bare, platform}); err != nil {
		return err
	}
	return b.takeProfile(ctx)
}
