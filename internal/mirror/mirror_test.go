package mirror

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/redistest"
	"wxplatform/internal/seal"
	"wxplatform/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(closing{testenv.Clean{M: m}}) }

// closing ends the servers of redises after the tests. It also waits for clients of go-redis whose
// dials failed: they end up to a second after they were closed.
type closing struct{ testenv.Clean }

func (c closing) Run() int {
	code := c.Clean.Run()
	for _, group := range started.groups {
		_ = group.Close()
	}
	for range 10 {
		if goleak.Find() == nil {
			break
		}
	}
	return code
}

var started struct {
	mu     sync.Mutex
	groups []*redistest.Group
}

// once starts a group when it is first asked for.
func once(start func() (*redistest.Group, error)) func() (*redistest.Group, error) {
	return sync.OnceValues(func() (*redistest.Group, error) {
		group, err := start()
		if err == nil {
			started.mu.Lock()
			defer started.mu.Unlock()
			started.groups = append(started.groups, group)
		}
		return group, err
	})
}

var errAbsent = errors.New("no such tenant")

// tenant is a fact like those of the packages that use mirror.
type tenant struct {
	Name      string
	Suspended bool
}

func TestAFactIsReadOnceWhileNothingChanges(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		m := r.open(t, dbtest.SQLite(t))
		facts := NewFacts[tenant](m, "tenant", 100, nil)
		var loads atomic.Int64
		for range 5 {
			if got, err := facts.get(t.Context(), "a", counted(&loads, tenant{Name: "A"})); err != nil || got.Name != "A" {
				t.Fatalf("got %v, %v, want A", got, err)
			}
		}
		if loads.Load() != 1 {
			t.Errorf("got %d loads, want 1", loads.Load())
		}
	})
}

func TestAnOwnWriteIsSeenAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		m := open(t, "", d)
		facts := NewFacts[tenant](m, "tenant", 100, nil)
		truth := "before"
		read := func(context.Context, string) (tenant, error) { return tenant{Name: truth}, nil }
		want(t, facts, read, "before")
		truth = "after"
		change(t, d)
		want(t, facts, read, "after")
	})
}

func TestAnotherReplicasWriteIsSeenWithinASecondWithoutRedis(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		writer, reader := d, openAgain(t, d)
		r := newRedis(t, "")
		r.cut()
		m := r.open(t, reader)
		run(t, m)
		facts := NewFacts[tenant](m, "tenant", 100, nil)
		var truth atomic.Value
		truth.Store("before")
		read := func(context.Context, string) (tenant, error) { return tenant{Name: truth.Load().(string)}, nil }
		want(t, facts, read, "before")
		truth.Store("after")
		change(t, writer)
		within(t, patience, func() bool { got, _ := facts.get(t.Context(), "a", read); return got.Name == "after" })
	})
}

func TestPubSubTellsOfAWriteBeforeThePoll(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		d := dbtest.SQLite(t)
		here, there := r.open(t, d), r.open(t, openAgain(t, d))
		background(t, func(ctx context.Context) error { here.listen(ctx); return nil }) // and does not poll
		within(t, patience, func() bool { return here.generation.Load() > 0 })          // subscribed
		before := here.epoch.Load()
		within(t, patience, func() bool {
			change(t, there.db) // again, where a busy Redis did not take the news
			there.catchUp(t.Context())
			return here.epoch.Load() > before
		})
	})
}

func TestACounterThatIsLowerAlsoMeansReadAgain(t *testing.T) {
	d := dbtest.SQLite(t)
	m := open(t, "", d)
	for _, counter := range []int{900, 100} {
		before := m.stamp()
		exec(t, d, `UPDATE meta SET changes = $1`, counter)
		m.poll(t.Context())
		if m.stamp() == before {
			t.Errorf("counter %d: got the stamp of before, want another", counter)
		}
	}
	before := m.stamp()
	m.poll(t.Context())
	if m.stamp() != before {
		t.Error("got another stamp for the same counter, want the same")
	}
}

func TestAFillThatBeganBeforeAChangeLoses(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		d := dbtest.SQLite(t)
		m := r.open(t, d)
		facts := NewFacts[tenant](m, "tenant", 100, nil)
		began, goOn, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			_, _ = facts.get(t.Context(), "a", func(context.Context, string) (tenant, error) {
				close(began)
				<-goOn
				return tenant{Name: "old"}, nil
			})
		}()
		<-began
		change(t, d)
		read := func(context.Context, string) (tenant, error) { return tenant{Name: "new", Suspended: true}, nil }
		want(t, facts, read, "new") // joins no flight that began before the change
		close(goOn)
		<-done
		want(t, facts, read, "new")
		told, _ := facts.read(t.Context(), "a")
		if got, ok := facts.learn(told); !ok || got.value.Name != "new" {
			t.Errorf("got %v, %v in Redis, want the new fact", got, ok)
		}
	})
}

func TestCallersShareOneLoadAndACancelEndsOnlyTheWaiting(t *testing.T) {
	m := open(t, "", dbtest.SQLite(t))
	facts := NewFacts[tenant](m, "tenant", 100, nil)
	var loads atomic.Int64
	goOn := make(chan struct{})
	load := func(ctx context.Context, _ string) (tenant, error) {
		loads.Add(1)
		<-goOn
		return tenant{Name: "A"}, ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { _, err := facts.get(ctx, "a", load); left <- err }()
	within(t, patience, func() bool { return loads.Load() == 1 }) // the canceled caller began it
	var stayed sync.WaitGroup
	waiting := joining{Context: t.Context(), joined: make(chan struct{}, 20)}
	for range 20 {
		stayed.Go(func() {
			if got, err := facts.get(waiting, "a", load); err != nil || got.Name != "A" {
				t.Errorf("got %v, %v, want A", got, err)
			}
		})
	}
	for range 20 {
		<-waiting.joined
	}
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the caller's own cancel", err)
	}
	close(goOn)
	stayed.Wait()
	if loads.Load() != 1 {
		t.Errorf("got %d loads, want 1", loads.Load())
	}
}

// joining reports when a caller begins to wait for a flight: that is when its Done is called.
type joining struct {
	context.Context
	joined chan struct{}
}

func (j joining) Done() <-chan struct{} {
	j.joined <- struct{}{}
	return j.Context.Done()
}

func TestWhileSQLIsUnavailableTheLastKnownFactIsServed(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		d := dbtest.SQLite(t)
		here, there := r.open(t, d), r.open(t, d)
		facts, elsewhere := NewFacts[tenant](here, "tenant", 100, nil), NewFacts[tenant](there, "tenant", 100, nil)
		want(t, facts, func(context.Context, string) (tenant, error) { return tenant{Name: "A", Suspended: true}, nil }, "A")
		here.epoch.Add(1)
		want(t, facts, away, "A")
		if got, err := elsewhere.get(t.Context(), "a", away); err != nil || got != (tenant{"A", true}) {
			t.Errorf("got %v, %v from Redis, want the whole fact", got, err)
		}
		if _, err := elsewhere.get(t.Context(), "b", away); !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("got %v for what nobody knows, want ErrUnavailable", err)
		}
		there.SQLFailed()
		var loads atomic.Int64
		_, _ = elsewhere.get(t.Context(), "a", counted(&loads, tenant{}))
		if loads.Load() != 0 {
			t.Error("got SQL asked while it is known to be away, want the last known at once")
		}
		there.poll(t.Context()) // SQL is back
		want(t, elsewhere, func(context.Context, string) (tenant, error) { return tenant{Name: "B"}, nil }, "B")
	})
}

func TestAReplicaThatLostSQLObeysWhatAnotherSaw(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		d := dbtest.SQLite(t)
		here, there := r.open(t, d), r.open(t, openAgain(t, d))
		facts, cutOff := NewFacts[tenant](here, "tenant", 100, nil), NewFacts[tenant](there, "tenant", 100, nil)
		active := func(context.Context, string) (tenant, error) { return tenant{Name: "A"}, nil }
		want(t, facts, active, "A")
		want(t, cutOff, active, "A")
		change(t, d)
		if _, err := facts.get(t.Context(), "a", func(context.Context, string) (tenant, error) { return tenant{"A", true}, nil }); err != nil {
			t.Fatal(err)
		}
		there.SQLFailed()
		there.epoch.Add(1) // what each failing poll does
		for range 2 {
			if got, err := cutOff.get(t.Context(), "a", away); err != nil || !got.Suspended {
				t.Errorf("got %v, %v, want the suspension obeyed", got, err)
			}
		}
		change(t, d)
		if _, err := facts.get(t.Context(), "a", absent); !errors.Is(err, errAbsent) {
			t.Fatal(err)
		}
		there.epoch.Add(1)
		if got, err := cutOff.get(t.Context(), "a", away); !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("got %v, %v, want the fact gone", got, err)
		}
	})
}

func TestAnOlderFactInRedisDoesNotReplaceTheProcesss(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		d := dbtest.SQLite(t)
		here, there := r.open(t, d), r.open(t, openAgain(t, d))
		facts, elsewhere := NewFacts[tenant](here, "tenant", 100, nil), NewFacts[tenant](there, "tenant", 100, nil)
		want(t, elsewhere, func(context.Context, string) (tenant, error) { return tenant{Name: "old"}, nil }, "old")
		change(t, d)
		r.cut() // so that Redis keeps the old one
		want(t, facts, func(context.Context, string) (tenant, error) { return tenant{Name: "new"}, nil }, "new")
		r.set("")
		time.Sleep(restTimes*time.Second + 50*time.Millisecond)
		here.SQLFailed()
		here.epoch.Add(1)
		want(t, facts, away, "new")
	})
}

func TestAFactFromRedisServesAnHourAfterAnHour(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		d := dbtest.SQLite(t)
		here, there := r.open(t, d), r.open(t, d)
		facts, elsewhere := NewFacts[tenant](here, "tenant", 100, nil), NewFacts[tenant](there, "tenant", 100, nil)
		here.clock = func() time.Time { return time.Now().Add(-2*time.Hour - rereadEvery) }
		want(t, facts, func(context.Context, string) (tenant, error) { return tenant{Name: "A"}, nil }, "A")
		want(t, elsewhere, away, "A")
		here.clock = func() time.Time { return time.Now().Add(-factAge - time.Second) }
		here.epoch.Add(1)
		want(t, facts, func(context.Context, string) (tenant, error) { return tenant{Name: "A"}, nil }, "A")
		elsewhere = NewFacts[tenant](there, "tenant", 100, nil)
		if got, err := elsewhere.get(t.Context(), "a", away); !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("got %v, %v, want ErrUnavailable", got, err)
		}
	})
}

func TestAnAbsenceDropsWhatWasKnown(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		m := r.open(t, dbtest.SQLite(t))
		facts := NewFacts[tenant](m, "tenant", 100, nil)
		want(t, facts, func(context.Context, string) (tenant, error) { return tenant{Name: "A"}, nil }, "A")
		m.epoch.Add(1)
		if _, err := facts.get(t.Context(), "a", absent); !errors.Is(err, errAbsent) {
			t.Errorf("got %v, want the absence as it is", err)
		}
		if got, err := facts.get(t.Context(), "a", away); !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("got %v, %v after the absence, want ErrUnavailable", got, err)
		}
		if _, err := facts.get(t.Context(), "never", absent); !errors.Is(err, errAbsent) {
			t.Errorf("got %v, want the absence", err)
		}
		if n := m.redis.client.Exists(t.Context(), m.redis.key(facts.kind, "never")).Val(); n != 0 {
			t.Error("got an absence stored for what never was, want Redis left empty")
		}
	})
}

func TestAfterAnOutageEverythingIsReadAgain(t *testing.T) {
	d := dbtest.SQLite(t)
	m := open(t, "", d)
	before, generation := m.stamp(), m.generation.Load()
	exec(t, d, `ALTER TABLE meta RENAME TO away`)
	m.poll(t.Context())
	if !m.SQLUnavailable() || m.stamp() == before {
		t.Error("got SQL taken for present, or facts not compared with Redis's, want both")
	}
	before = m.stamp()
	exec(t, d, `ALTER TABLE away RENAME TO meta`)
	m.poll(t.Context())
	if m.SQLUnavailable() || m.stamp() == before || m.generation.Load() == generation {
		t.Error("got facts and tokens kept as fresh, want them read again")
	}
}

func TestFactsMustSurviveRedis(t *testing.T) {
	m := open(t, "", dbtest.SQLite(t))
	for name, make := range map[string]func(){
		"unexported": func() { NewFacts[struct{ hidden bool }](m, "x", 1, nil) },
		"secret":     func() { NewFacts[struct{ S seal.Secret }](m, "x", 1, nil) },
		"deep":       func() { NewFacts[map[string][]*struct{ F func() }](m, "x", 1, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("got it accepted, want a panic")
				}
			}()
			make()
		})
	}
	NewFacts[[]struct{ At time.Time }](m, "fine", 1, nil)
	NewFacts[spelled](m, "value", 1, nil)
	NewFacts[*spelled](m, "pointer", 1, nil)
}

func TestAFactMayEncodeItself(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		t.Run("value", func(t *testing.T) {
			spell(t, r, spelled{seal.NewSecret("canary-77")}, func(s spelled) string { return s.secret.Reveal() })
		})
		t.Run("pointer", func(t *testing.T) {
			spell(t, r, &spelled{seal.NewSecret("canary-77")}, func(s *spelled) string { return s.secret.Reveal() })
		})
	})
}

func spell[T any](t *testing.T, r *redisUnderTest, v T, reveal func(T) string) {
	d := dbtest.SQLite(t)
	facts, elsewhere := NewFacts[T](r.open(t, d), "key", 100, nil), NewFacts[T](r.open(t, d), "key", 100, nil)
	_, _ = facts.get(t.Context(), "k", func(context.Context, string) (T, error) { return v, nil })
	got, err := elsewhere.get(t.Context(), "k", func(_ context.Context, _ string) (none T, err error) { return none, db.ErrUnavailable })
	if err != nil || reveal(got) != "canary-77" {
		t.Errorf("got %v, %v, want the secret back", got, err)
	}
	if dump := r.dump(t, d); strings.Contains(dump, "canary-77") {
		t.Error("got the secret in Redis in plain, want it sealed")
	}
}

func TestLocalIsBounded(t *testing.T) {
	l, h := NewLocal[string, int](100), NewHashed[int](100)
	for i := range 10_000 {
		l.Set(strconv.Itoa(i), i)
		h.Set([32]byte{byte(i), byte(i >> 8)}, i)
	}
	inBounded(l.cache).CleanUp()
	inByHash(h.cache).CleanUp()
	if n, hashed := inBounded(l.cache).EstimatedSize(), inByHash(h.cache).EstimatedSize(); n > 100 || hashed > 100 {
		t.Errorf("got %d and %d entries, want at most 100", n, hashed)
	}
	l.Set("x", 7)
	h.Set([32]byte{1, 2, 3}, 7)
	if v, ok := l.Get("x"); !ok || v != 7 {
		t.Errorf("got %d, %v, want 7", v, ok)
	}
	if v, ok := h.Get([32]byte{1, 2, 3}); !ok || v != 7 {
		t.Errorf("got %d, %v, want 7", v, ok)
	}
	l.Delete("x")
	h.Delete([32]byte{1, 2, 3})
	_, kept := l.Get("x")
	if _, hashed := h.Get([32]byte{1, 2, 3}); kept || hashed {
		t.Error("got a deleted entry, want none")
	}
}

func TestCloseCancelsAndWaitsForWorkInFlight(t *testing.T) {
	m, err := Open(t.Context(), seal.Secret{}, dbtest.SQLite(t), dbtest.Ring(t))
	if err != nil {
		t.Fatal(err)
	}
	flights := NewFlights[string, int](m, time.Minute)
	var ended atomic.Bool
	flights.Start(t.Context(), "a", func(ctx context.Context) (int, error) {
		<-ctx.Done()
		ended.Store(true)
		return 0, ctx.Err()
	})
	if err := m.Close(); err != nil || !ended.Load() {
		t.Errorf("got %v, ended %v, want what was under way ended", err, ended.Load())
	}
	if _, err := flights.Do(t.Context(), "a", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

func TestABadRedisURLIsRefusedWithoutShowingIt(t *testing.T) {
	_, err := Open(t.Context(), seal.NewSecret("redis://user:canary-11@host:port"), dbtest.SQLite(t), dbtest.Ring(t))
	if err == nil || strings.Contains(err.Error(), "canary-11") {
		t.Errorf("got %v, want it refused without its password", err)
	}
}

// spelled holds a secret and has its own encoding.
type spelled struct{ secret seal.Secret }

func (s *spelled) MarshalBinary() ([]byte, error) { return []byte(s.secret.Reveal()), nil }
func (s *spelled) UnmarshalBinary(text []byte) error {
	s.secret = seal.NewSecret(string(text))
	return nil
}

func away(context.Context, string) (tenant, error)   { return tenant{}, db.ErrUnavailable }
func absent(context.Context, string) (tenant, error) { return tenant{}, errAbsent }

func counted(n *atomic.Int64, v tenant) func(context.Context, string) (tenant, error) {
	return func(context.Context, string) (tenant, error) { n.Add(1); return v, nil }
}

func want(t *testing.T, facts *Facts[tenant], load func(context.Context, string) (tenant, error), name string) {
	t.Helper()
	if got, err := facts.get(t.Context(), "a", load); err != nil || got.Name != name {
		t.Errorf("got %v, %v, want %s", got, err, name)
	}
}

// patience is how long a test waits for something that must happen.
const patience = time.Minute

func within(t *testing.T, d time.Duration, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Errorf("got nothing within %v", d)
}

// change commits something that raises the change counter.
func change(t *testing.T, d *db.DB) {
	t.Helper()
	if err := d.Tx(t.Context(), func(tx *db.Tx) error { tx.Changed(); return nil }); err != nil {
		t.Fatal(err)
	}
}

func exec(t *testing.T, d *db.DB, text string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), d, text, args...); err != nil {
		t.Fatal(err)
	}
}

// openAgain is another replica's connection to the database of d.
func openAgain(t *testing.T, d *db.DB) *db.DB {
	t.Helper()
	text := `SELECT 'sqlite:' || file FROM pragma_database_list WHERE name = 'main'`
	if d.Engine() == "postgres" {
		text = `SELECT current_database()`
	}
	where, err := db.One(t.Context(), d, db.Value[string], text)
	if err != nil {
		t.Fatal(err)
	}
	if d.Engine() == "postgres" {
		where = postgresURL(t, where)
	}
	return dbtest.Open(t, where)
}

func open(t *testing.T, redisURL string, d *db.DB) *Mirror {
	t.Helper()
	m, err := Open(t.Context(), seal.NewSecret(redisURL), d, dbtest.Ring(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func run(t *testing.T, m *Mirror) {
	t.Helper()
	background(t, m.Run)
}

// background runs work until the test ends.
func background(t *testing.T, work func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- work(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: got %v, want nil", err)
		}
	})
}

// redisUnderTest is a Redis whose connections can be cut.
type redisUnderTest struct {
	ring  *seal.Ring
	url   string
	mini  *miniredis.Miniredis // nil for a real one
	mu    sync.Mutex
	mode  string // "", "cut" or "hang"
	conns []net.Conn
}

// redises are the real ones besides TEST_REDIS_URL. They are started when they are first used, and
// end with the tests of the package.
var redises = map[string]func() (*redistest.Group, error){
	"sentinel": once(func() (*redistest.Group, error) { return redistest.NewSentinel(context.Background(), 1, time.Hour) }),
	"cluster":  once(func() (*redistest.Group, error) { return redistest.NewCluster(context.Background(), 0, time.Hour) }),
}

// eachRedis runs test against an in-process Redis and against real ones: one server, one behind a
// Sentinel, and a cluster.
func eachRedis(t *testing.T, test func(t *testing.T, r *redisUnderTest)) {
	t.Parallel()
	for _, server := range dbtest.RedisURLs(t) {
		name := "real"
		if server == "" {
			name = "miniredis"
		}
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t, newRedis(t, server)) })
	}
	if testenv.Get("TEST_REDIS_URL") == "" {
		return
	}
	for name := range redises {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t, newRedis(t, name)) })
	}
}

// newRedis returns the Redis with that URL, one of redises, or an in-process one.
func newRedis(t *testing.T, server string) *redisUnderTest {
	t.Helper()
	r := &redisUnderTest{ring: dbtest.Ring(t), url: server + "?"}
	switch start := redises[server]; {
	case start != nil:
		group, err := start()
		if err != nil {
			t.Fatal(err)
		}
		r.url = group.URL
	case server == "":
		r.mini = miniredis.RunT(t)
		r.url = "redis://" + r.mini.Addr() + "?"
	}
	r.url += "&read_timeout=1s" // a busy machine is not a Redis that failed
	return r
}

func (r *redisUnderTest) open(t *testing.T, d *db.DB) *Mirror {
	t.Helper()
	m, err := openWrapped(t.Context(), seal.NewSecret(r.url), d, r.ring, r.wrap)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func (r *redisUnderTest) wrap(dial dialer) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if r.is("cut") {
			return nil, errors.New("cut")
		}
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return r.admit(conn)
	}
}

func (r *redisUnderTest) admit(conn net.Conn) (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mode == "cut" {
		return nil, errors.Join(errors.New("cut"), conn.Close())
	}
	r.conns = append(r.conns, conn)
	return hanging{conn, r}, nil
}

// hanging loses what is sent either way while Redis hangs.
type hanging struct {
	net.Conn
	r *redisUnderTest
}

func (h hanging) Read(p []byte) (int, error) {
	for {
		n, err := h.Conn.Read(p)
		if err != nil || !h.r.is("hang") {
			return n, err
		}
	}
}

func (h hanging) Write(p []byte) (int, error) {
	if h.r.is("hang") {
		return len(p), nil
	}
	return h.Conn.Write(p)
}

func (r *redisUnderTest) is(mode string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mode == mode
}

func (r *redisUnderTest) cut() {
	r.set("cut")
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
}

func (r *redisUnderTest) set(mode string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mode = mode
}

// direct is a client whose connections are not cut.
func (r *redisUnderTest) direct(t *testing.T) redis.UniversalClient {
	t.Helper()
	client, _, err := connect(r.url, func(dial dialer) dialer { return dial })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// keys calls visit with each key that a database has in Redis.
func (r *redisUnderTest) keys(t *testing.T, d *db.DB, visit func(client redis.UniversalClient, key string)) {
	t.Helper()
	client := r.direct(t)
	list := func(ctx context.Context, one *redis.Client) error {
		keys, err := one.Keys(ctx, d.ID()+":*").Result()
		for _, key := range keys {
			visit(one, key)
		}
		return err
	}
	var err error
	if cluster, ok := client.(*redis.ClusterClient); ok {
		var one sync.Mutex
		err = cluster.ForEachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error {
			one.Lock()
			defer one.Unlock()
			return list(ctx, node)
		})
	} else {
		err = list(t.Context(), client.(*redis.Client))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// flush deletes a database's keys in Redis.
func (r *redisUnderTest) flush(t *testing.T, d *db.DB) {
	t.Helper()
	r.keys(t, d, func(client redis.UniversalClient, key string) { client.Del(t.Context(), key) })
}

// dump returns all that a database has in Redis.
func (r *redisUnderTest) dump(t *testing.T, d *db.DB) string {
	t.Helper()
	var all strings.Builder
	r.keys(t, d, func(client redis.UniversalClient, key string) {
		all.WriteString(key)
		for field, value := range client.HGetAll(t.Context(), key).Val() {
			all.WriteString(field + value)
		}
	})
	if all.Len() == 0 {
		t.Error("got nothing in Redis, want something to look through")
	}
	return all.String()
}

func name() string { return strings.ToLower(rand.Text()[:8]) }
