package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"wxplatform/authorizer"
	"wxplatform/component"
	"wxplatform/inbox"
	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
	"wxplatform/internal/plainhttp"
	"wxplatform/internal/requestlog"
	"wxplatform/internal/seal"
	"wxplatform/invitation"
	"wxplatform/migrations"
	"wxplatform/quota"
	"wxplatform/session"
	"wxplatform/tenant"
	"wxplatform/token"
	"wxplatform/wechat"
)

// stopNotice is how long after SIGTERM requests are still taken: a balancer learns from /readyz that no more should be sent, and each answer tells its connection to end.
// Without it a request that is written while its idle connection is closed would fail.
const stopNotice = 2 * time.Second

// stopPatience bounds how long requests under way may take to finish after SIGTERM. The longest call is settled in three calls of WeChat.
const stopPatience = 25 * time.Second

// platform is the whole program as a value: everything wired, nothing running yet.
type platform struct {
	log         *slog.Logger
	metrics     *prometheus.Registry
	requests    *requestlog.Log
	db          *db.DB
	mirror      *mirror.Mirror
	client      *wechat.Client
	tenants     *tenant.Registry
	component   *component.Component
	quota       *quota.Limiter
	authorizers *authorizer.Registry
	invitations *invitation.Service
	sessions    *session.Service
	inbox       *inbox.Inbox

	notice   time.Duration // stopNotice, but in tests
	leaving  atomic.Bool   // it is to stop
	tokens   stores
	ring     *seal.Ring
	health   health
	surplus  *surplusBytes
	problems *prometheus.CounterVec
}

// stores are the tokens' keepers, which metrics and reseal ask too.
type stores struct{ component, authorizer *token.Store }

// wire opens what c names and wires everything, by hand, from the bottom up. The caller closes what it returns.
func wire(ctx context.Context, c config, log *slog.Logger) (*platform, error) {
	p := &platform{log: log, metrics: prometheus.NewRegistry(), ring: c.ring}
	if err := p.open(ctx, c); err != nil {
		return nil, errors.Join(err, p.close())
	}
	var err error
	if p.requests, err = requestlog.New(log, p.metrics); err != nil {
		return nil, errors.Join(err, p.close())
	}
	p.surplus = newSurplusBytes(log, p.metrics)
	p.client = wechat.NewClient(c.wechatURL, wechat.Observer{
		Called:  p.health.watched(observeWeChat(p.metrics)),
		Odd:     newOddAnswers(log, p.metrics).note,
		Surplus: p.surplus.note,
	})
	p.tenants = tenant.New(p.db, p.mirror, c.ring, c.publicURL)
	times, errTimes := custodyTimes()
	componentTokens, errComponent := token.New(token.Component, p.db, p.mirror, c.ring, times)
	authorizerTokens, errAuthorizer := token.New(token.Authorizer, p.db, p.mirror, c.ring, times)
	if err := errors.Join(errTimes, errComponent, errAuthorizer); err != nil {
		return nil, errors.Join(err, p.close())
	}
	p.tokens = stores{componentTokens, authorizerTokens}
	p.component = component.New(c.component, c.secret, p.db, c.ring, componentTokens, mirror.NewNewest(p.mirror, "ticket", 1), p.client)
	p.quota = quota.New(p.db)
	p.quota.Budget = c.refreshBudget
	p.authorizers = authorizer.New(p.db, p.mirror, p.component, authorizerTokens, p.quota, p.client)
	p.invitations = invitation.New(p.db, p.tenants, p.authorizers, p.component, c.publicURL, c.consentURL)
	p.sessions = session.New(p.authorizers)
	p.inbox = inbox.New(c.envelope, p.db, c.ring, p.component, p.invitations, p.authorizers, c.releaseTest)
	p.measure()
	p.measureCustody()
	return p, nil
}

// open opens the database, migrated and claimed for the component, and the mirror.
func (p *platform) open(ctx context.Context, c config) error {
	var err error
	if p.db, err = openDatabase(ctx, c); err != nil {
		return err
	}
	if p.mirror, err = mirror.Open(ctx, c.redisURL, p.db, c.ring); err != nil {
		return fmt.Errorf("PLATFORM_REDIS_URL: %w", err)
	}
	return nil
}

func openDatabase(ctx context.Context, c config) (*db.DB, error) {
	d, err := db.Open(ctx, c.databaseURL)
	if err != nil {
		return nil, fmt.Errorf("PLATFORM_DATABASE_URL: %w", err)
	}
	if err := d.Migrate(ctx, migrations.Files); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if err := d.Claim(ctx, string(c.component)); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// close closes what open opened, in the other order.
func (p *platform) close() error {
	var faults []error
	if p.client != nil {
		p.client.CloseIdle()
	}
	if p.mirror != nil {
		faults = append(faults, p.mirror.Close())
	}
	if p.db != nil {
		faults = append(faults, p.db.Close())
	}
	return errors.Join(faults...)
}

// listeners are where the platform is reached.
type listeners struct{ public, private net.Listener }

func listen(c config) (listeners, error) {
	public, err := net.Listen("tcp", c.listen)
	if err != nil {
		return listeners{}, fmt.Errorf("PLATFORM_LISTEN: %w", err)
	}
	private, err := net.Listen("tcp", c.privateListen)
	if err != nil {
		return listeners{}, errors.Join(fmt.Errorf("PLATFORM_PRIVATE_LISTEN: %w", err), public.Close())
	}
	return listeners{public, private}, nil
}

// run serves until ctx ends, then finishes what is under way. It closes p and the listeners.
func (p *platform) run(ctx context.Context, on listeners) error {
	defer func() { _ = p.close() }()
	if err := p.prepare(ctx); err != nil {
		return errors.Join(err, on.public.Close(), on.private.Close())
	}
	group, serving := errgroup.WithContext(ctx)
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	keepers, _ := errgroup.WithContext(background)
	p.keep(background, keepers)
	group.Go(func() error { return p.serve(serving, plainhttp.New(p.server(p.public())), on.public) })
	group.Go(func() error { return p.serve(serving, p.server(p.private()), on.private) })
	err := group.Wait()
	stop()
	return errors.Join(err, keepers.Wait())
}

// prepare makes the first signing key and reads the last ticket.
func (p *platform) prepare(ctx context.Context) error {
	if err := p.tenants.EnsureKey(ctx); err != nil {
		return err
	}
	return p.component.Refresh(ctx)
}

// The keepers outlive the servers, so that what is under way is finished with fresh tokens.
func (p *platform) keep(ctx context.Context, keepers *errgroup.Group) {
	report := func(who string) func(error) {
		return func(err error) {
			log := p.log.With("keeper", who, "error", err.Error())
			if problemOf(err).alarm {
				log = log.With("alarm", true)
			}
			log.Warn("keeper")
		}
	}
	keepers.Go(func() error { return p.mirror.Run(ctx) })
	keepers.Go(func() error { return p.component.Run(ctx, report("component")) })
	keepers.Go(func() error { return p.authorizers.Run(ctx, report("authorizer")) })
	keepers.Go(func() error { return p.inbox.Run(ctx, report("inbox")) })
	keepers.Go(func() error { return p.watch(ctx) })
}

// server has the limits that both listeners have.
func (p *platform) server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           p.farewell(handler),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // its lines can hold what strangers sent
	}
}

// server is net/http's, for the operations listener, or plainhttp's, for the world.
type server interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
	Close() error
}

// serve answers on one listener until ctx ends, gives notice, and then gives the requests under way their time.
func (p *platform) serve(ctx context.Context, server server, on net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(on) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	p.leaving.Store(true)
	time.Sleep(p.notice)
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
	defer cancel()
	err := server.Shutdown(patience)
	if err != nil {
		err = errors.Join(fmt.Errorf("requests under way were cut off: %w", err), server.Close())
	}
	<-failed
	return err
}

// farewell has every answer given after the notice end its connection.
func (p *platform) farewell(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.leaving.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
