package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"wxplatform/audit"
	"wxplatform/authorizer"
	"wxplatform/component"
	"wxplatform/inbox"
	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
	"wxplatform/internal/otlp"
	"wxplatform/internal/plainhttp"
	"wxplatform/internal/requestlog"
	"wxplatform/internal/seal"
	"wxplatform/invitation"
	"wxplatform/migrations"
	"wxplatform/quota"
	"wxplatform/reconcile"
	"wxplatform/relay"
	"wxplatform/replica"
	"wxplatform/session"
	"wxplatform/tenant"
	"wxplatform/token"
	"wxplatform/wechat"
)

// drainTime is how long requests are still accepted after SIGTERM. Meanwhile /readyz tells a load
// balancer to send no more, and each answer closes its connection. Without it, a request sent on an
// idle connection that is just being closed would fail.
const drainTime = 2 * time.Second

// shutdownTimeout bounds how long requests in flight may take to finish after drainTime. The
// slowest makes three calls of WeChat.
const shutdownTimeout = 25 * time.Second

// platform is the whole server as a value, wired but not running.
type platform struct {
	log         *slog.Logger
	metrics     *prometheus.Registry
	requests    *requestlog.Log
	traces      *otlp.Exporter // nil if they are off
	db          *db.DB
	mirror      *mirror.Mirror
	client      *wechat.Client
	tenants     *tenant.Registry
	component   *component.Component
	trail       *audit.Trail
	quota       *quota.Limiter
	authorizers *authorizer.Registry
	reconciling *reconcile.Service
	invitations *invitation.Service
	relay       *relay.Service
	sessions    *session.Service
	inbox       *inbox.Inbox
	replicas    *replica.Registry
	front       *plainhttp.Server // of the public listener

	pprof      bool          // /debug/pprof is served
	drain      time.Duration // drainTime, except in tests
	greetFirst time.Duration // greetFirst, except in tests
	stopping   atomic.Bool   // SIGTERM came
	tokens     stores
	ring       *seal.Ring
	settings   map[string]string // as the audit trail has them
	health     health
	surplus    *surplusBytes
	// catalogue lists WeChat's APIs without those that the operator switched off.
	catalogue *relay.Catalogue
	loginsOff []string // the login calls that the operator switched off
	problems  *prometheus.CounterVec
	overload  *overload
	roots     map[string]bool // see wechatRoots
}

// stores are the token stores, which metrics, doctor and reseal read, too.
type stores struct{ component, authorizer *token.Store }

// wire opens the database and Redis and makes the packages' values, from the bottom up
// (docs/design.md, "Packages"). It fails if the database is unreachable; Redis may be down. The
// caller closes the platform. Log lines are JSON, each written with one call; log must be safe for
// concurrent use.
func wire(ctx context.Context, c config, log io.Writer) (*platform, error) {
	p := &platform{log: slog.New(slog.NewJSONHandler(log, nil)), metrics: prometheus.NewRegistry(), ring: c.ring, pprof: c.pprof, overload: newOverload(), greetFirst: greetFirst, catalogue: c.catalogue, loginsOff: c.loginsOff}
	p.roots = wechatRoots(c.catalogue)
	newUnopenedValues(p.log, p.metrics, c.ring)
	if err := p.open(ctx, c); err != nil {
		return nil, errors.Join(err, p.close())
	}
	var err error
	if p.requests, err = requestlog.New(log, p.metrics, c.proxies); err != nil {
		return nil, errors.Join(err, p.close())
	}
	if err := p.trace(c); err != nil {
		return nil, errors.Join(err, p.close())
	}
	if err := p.wireTokens(c); err != nil {
		return nil, errors.Join(err, p.close())
	}
	p.wirePackages(c)
	whole := p.answersWhole
	if c.netHTTP {
		whole = nil
	}
	p.front = plainhttp.New(p.server(p.sdkPath(p.public())), whole, publicConnections(openFiles()))
	p.measure()
	return p, nil
}

// trace has the requests traced, if the settings say where the spans are sent.
func (p *platform) trace(c config) (err error) {
	if c.traces == nil {
		return nil
	}
	p.traces, err = otlp.Open(*c.traces, currentVersion().Module, p.log)
	p.requests.Tracer = p.traces.Tracer()
	return err
}

// wireTokens makes the token stores.
func (p *platform) wireTokens(c config) error {
	times, err := custodyTimes()
	if err != nil {
		return err
	}
	if p.tokens.component, err = token.New(token.Component, p.db, p.mirror, c.ring, times); err != nil {
		return err
	}
	p.tokens.authorizer, err = token.New(token.Authorizer, p.db, p.mirror, c.ring, times)
	return err
}

// wirePackages makes the client of WeChat and the packages above the token stores.
func (p *platform) wirePackages(c config) {
	p.surplus = newSurplusBytes(p.log, p.metrics)
	p.client = wechat.NewClient(c.wechatURL, wechat.Observer{
		Called:  p.health.watched(observeWeChat(p.metrics)),
		Odd:     newOddAnswers(p.log, p.metrics).note,
		Surplus: p.surplus.note,
	})
	p.client.NetHTTP = c.netHTTP
	p.trail = audit.New(p.db)
	p.trail.Keep = c.keep.audit
	p.settings = c.settingsForAudit(p.db.Engine())
	p.tenants = tenant.New(p.db, p.mirror, c.ring, c.publicURL)
	p.tenants.DefaultLimit = c.tenantLimit
	p.tenants.CacheJWTs(c.cachedJWTs)
	p.component = component.New(c.component, c.secret, p.db, c.ring, p.tokens.component, mirror.NewNewest(p.mirror, "ticket", 1), p.client)
	p.quota = quota.New(p.db)
	p.quota.Budget, p.quota.KeepDays = c.refreshBudget, c.keep.days
	p.authorizers = authorizer.New(p.db, p.mirror, p.component, p.tokens.authorizer, p.quota, p.client)
	p.authorizers.Cache(c.cachedAuthorizers)
	p.tokens.authorizer.Cache(c.cachedAuthorizers)
	p.reconciling = reconcile.New(p.db, p.authorizers)
	p.invitations = invitation.New(p.db, p.mirror, p.tenants, p.authorizers, p.component, c.publicURL, c.consentURL)
	p.invitations.MaxPending, p.invitations.KeepEnded, p.invitations.KeepCodes = int(c.maxPending), c.keep.invitations, c.keep.codes
	p.relay = relay.New(p.authorizers)
	p.relay.Disproved = countDisproved(p.metrics)
	p.sessions = session.New(p.authorizers)
	p.inbox = inbox.New(c.envelope, p.db, c.ring, p.component, p.invitations, p.authorizers, c.releaseTest)
	p.inbox.KeepDone = c.keep.events
	p.replicas = replica.NewRegistry(p.db)
	p.health.setReplicas(thisReplica(c), nil)
}

// open opens the database and the mirror.
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

// openDatabase opens the database, migrates it, and claims it for the component.
func openDatabase(ctx context.Context, c config) (*db.DB, error) {
	d, err := db.Open(ctx, c.databaseURL)
	if err != nil {
		return nil, fmt.Errorf("PLATFORM_DATABASE_URL: %w", err)
	}
	d.Noted = recordMigration
	if err := d.Migrate(ctx, migrations.Files); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if err := d.Claim(ctx, string(c.component)); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// close closes what wire opened, in reverse order.
func (p *platform) close() error {
	faults := []error{p.traces.Close()}
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

// listeners are the two addresses of the platform.
type listeners struct{ public, private net.Listener }

// listen opens both listeners.
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

// run serves until ctx ends, then finishes the requests in flight. It closes p and the listeners.
// It returns nil if it stopped only because ctx ended, even before it served.
func (p *platform) run(ctx context.Context, on listeners) error {
	defer func() { _ = p.close() }()
	p.health.setAddress(on.private.Addr().String())
	if err := p.prepare(ctx); err != nil {
		if ctx.Err() != nil {
			announceStop(ctx, p.log)
		}
		return errors.Join(unlessEnded(ctx, err), on.public.Close(), on.private.Close())
	}
	group, serving := errgroup.WithContext(ctx)
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	keepers, _ := errgroup.WithContext(background)
	p.keep(background, keepers)
	group.Go(func() error { announceStop(serving, p.log); return nil })
	group.Go(func() error { return p.serve(serving, p.front, on.public) })
	group.Go(func() error { return p.serve(serving, p.server(p.private()), on.private) })
	err := group.Wait()
	stop()
	return errors.Join(err, keepers.Wait())
}

// announceStop waits until serving ends, and logs why: a signal, or a server that failed.
func announceStop(serving context.Context, log *slog.Logger) {
	<-serving.Done()
	why := slog.Any("error", context.Cause(serving))
	if by, is := stopOf(serving); is {
		why = slog.String("signal", by.name())
	}
	log.Info("stopping", why)
}

// unlessEnded returns err, or nil if ctx has ended: what failed then failed because the platform
// was told to stop.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// prepare logs what a newer version did to the database, records the settings, makes the first
// signing key and reads the last ticket.
func (p *platform) prepare(ctx context.Context) error {
	if err := p.logNewer(ctx); err != nil {
		return err
	}
	if err := p.trail.Settings(ctx, operator(), p.settings); err != nil {
		return fmt.Errorf("record the settings: %w", err)
	}
	if err := p.tenants.Keys.Ensure(ctx, audit.Program); err != nil {
		return err
	}
	return p.readTicket(ctx)
}

// logNewer logs the migrations of a newer version that this one can work with: after a rollback, or
// on a replica that was left behind in an upgrade.
func (p *platform) logNewer(ctx context.Context) error {
	newer, err := p.db.Newer(ctx, migrations.Files)
	if err == nil && len(newer) > 0 {
		p.log.Warn("a newer version of the platform has migrated the database; this version can work with it. Upgrade this program, too", "migrations", listed(newer), "version", currentVersion().Module)
	}
	return err
}

// readTicket reads the last ticket. One that does not open counts as none: WeChat is asked to push
// another, which must not wait for the operator.
func (p *platform) readTicket(ctx context.Context) error {
	err := p.component.Refresh(ctx)
	if errors.Is(err, component.ErrUnopened) {
		return nil
	}
	return err
}

// keep starts the background loops, which log what fails and try again. They outlive the servers,
// so that requests in flight still get fresh tokens.
func (p *platform) keep(ctx context.Context, keepers *errgroup.Group) {
	report := p.report
	keepers.Go(func() error { return p.mirror.Run(ctx) })
	keepers.Go(func() error { return p.tenants.Pace(ctx) })
	keepers.Go(func() error { return p.component.Run(ctx, report("component")) })
	keepers.Go(func() error { return p.authorizers.Run(ctx, report("authorizer")) })
	keepers.Go(func() error { return p.reconciling.Run(ctx, report("reconcile")) })
	keepers.Go(func() error { return p.inbox.Run(ctx, report("inbox")) })
	keepers.Go(func() error { return p.trail.Run(ctx, report("audit")) })
	keepers.Go(func() error { return p.watch(ctx) })
}

// report returns what logs the failures of a background loop. Those that come of an outage of the
// database are left out once the log says that it is away: they would be several a second.
func (p *platform) report(who string) func(error) {
	return func(err error) {
		if errors.Is(err, db.ErrUnavailable) && (p.health.has(databaseAway) || p.health.has(databaseNoWrites)) {
			return
		}
		log := p.log.With("keeper", who, "error", err.Error())
		if problemOf(err).alarm || errors.Is(err, seal.ErrForged) {
			log = log.With("alarm", true)
		}
		log.Warn("keeper")
	}
}

// server returns a server with the limits that both listeners have.
func (p *platform) server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           p.endConnections(handler),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // its lines may contain what callers sent
	}
}

// server is net/http's server, for the operations listener, or plainhttp's, for the public one.
type server interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
	Close() error
}

// serve serves one listener until ctx ends, drains, and then waits for the requests in flight.
func (p *platform) serve(ctx context.Context, server server, on net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(on) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	p.stopping.Store(true)
	time.Sleep(p.drain)
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(deadline)
	if err != nil {
		err = errors.Join(fmt.Errorf("requests in flight were cut off: %w", err), server.Close())
	}
	<-failed
	return err
}

// endConnections closes the connection of every answer while the platform is stopping.
func (p *platform) endConnections(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
