package tenant

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"wxplatform/audit"
	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/mirror"
	"wxplatform/internal/seal"
	"wxplatform/internal/testenv"
)

const (
	publicURL = "https://wx.example.com"
	tester    = audit.Actor("operator:tester@host")
	shop      = "wx00000000000000aa" // an account
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testenv.Clean{M: m}) }

// world is a registry on a real database, with one tenant and one client that may write and read
// sessions.
type world struct {
	*Registry
	t      testing.TB
	db     *db.DB
	url    string // of the database, where the world is newWorld's
	ring   *seal.Ring
	clock  *clock
	tenant Tenant
	client Client
	secret seal.Secret
}

// clock stands still until it is moved.
type clock struct{ ms atomic.Int64 }

func (c *clock) Now() time.Time       { return time.UnixMilli(c.ms.Load()) }
func (c *clock) Move(d time.Duration) { c.ms.Add(d.Milliseconds()) }

func newWorld(t testing.TB) *world {
	t.Helper()
	url := dbtest.SQLiteURL(t)
	w := newWorldOn(t, dbtest.Open(t, url), dbtest.Ring(t))
	w.url = url
	return w
}

func newWorldOn(t testing.TB, d *db.DB, ring *seal.Ring) *world {
	t.Helper()
	c := &clock{}
	c.ms.Store(time.Now().Truncate(time.Second).UnixMilli())
	d.Clock = c.Now
	w := &world{t: t, db: d, ring: ring, clock: c}
	w.Registry = w.replica(t)
	must(t, w.Keys.Ensure(t.Context(), tester))
	w.tenant = got(w.CreateTenant(t.Context(), tester, "Tea House", []string{"https://shop.example.com/done"}))(t)
	var err error
	w.client, w.secret, err = w.CreateClient(t.Context(), tester, w.tenant.ID, "back end", NewScopes(KFSessionWrite, KFSessionRead))
	must(t, err)
	return w
}

// replica is another registry in this process, with a mirror of its own.
func (w *world) replica(t testing.TB) *Registry {
	t.Helper()
	r, _ := w.mirrored(t, w.db)
	return r
}

// process is a registry as another process has it, which this one's writes do not reach by
// themselves.
func (w *world) process(t testing.TB) (*Registry, *mirror.Mirror) {
	t.Helper()
	d := dbtest.Open(t, w.url)
	d.Clock = w.clock.Now
	return w.mirrored(t, d)
}

func (w *world) mirrored(t testing.TB, d *db.DB) (*Registry, *mirror.Mirror) {
	t.Helper()
	m := got(mirror.Open(context.Background(), seal.NewSecret(""), d, w.ring))(t)
	t.Cleanup(func() { _ = m.Close() })
	r := New(d, m, w.ring, publicURL+"/")
	r.Now = w.clock.Now
	return r, m
}

// token is a fresh JWT of the world's client.
func (w *world) token() string {
	w.t.Helper()
	return got(w.Token(w.t.Context(), w.client.ID, w.secret, ""))(w.t).Token.Reveal()
}

// bound is a fresh JWT of the world's client for one account.
func (w *world) bound() string {
	w.t.Helper()
	return got(w.Bind(w.t.Context(), w.client, shop))(w.t).Token.Reveal()
}

func (w *world) authenticate(token string) (Caller, error) {
	return w.Authenticate(w.t.Context(), "Bearer "+token)
}

func (w *world) accepts(token string) Caller {
	w.t.Helper()
	caller, err := w.authenticate(token)
	if err != nil {
		w.t.Errorf("got %v, want the JWT accepted", err)
	}
	return caller
}

func (w *world) refuses(token string, want error, reason string) {
	w.t.Helper()
	_, err := w.authenticate(token)
	if !errors.Is(err, want) || !strings.Contains(err.Error(), reason) {
		w.t.Errorf("got %v, want %v for the reason %q", err, want, reason)
	}
	if err != nil && len(token) > 40 && strings.Contains(err.Error(), token[:20]) {
		w.t.Errorf("got %v, want no part of the JWT in it", err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// got ends the test unless err is nil: got(f())(t).
func got[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		must(t, err)
		return v
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func waitFor(t testing.TB, what func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !what(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("got nothing within a minute")
			return
		}
	}
}
