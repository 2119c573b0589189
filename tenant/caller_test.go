package tenant

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"wxplatform/internal/db"
)

func TestOnlyABearerTokenIsRead(t *testing.T) {
	w := newWorld(t)
	token := w.token()
	for _, header := range []string{"", "Bearer", "Bearer ", "Bearer   ", token, "Basic " + token, "Bearer\t" + token} {
		_, err := w.Authenticate(t.Context(), header)
		wantErr(t, err, ErrNoToken)
	}
	for _, header := range []string{"Bearer " + token, "bearer " + token, "BEARER   " + token} {
		_, err := w.Authenticate(t.Context(), header)
		must(t, err)
	}
}

func TestAJWTExpiresWhileItIsCached(t *testing.T) {
	w := newWorld(t)
	token := w.token()
	w.accepts(token)
	w.clock.Move(time.Hour + 30*time.Second - time.Millisecond)
	w.accepts(token)
	w.clock.Move(time.Millisecond)
	w.refuses(token, ErrTokenExpired, "")
}

func TestARevokedClientsJWTIsRefusedWhileItIsCached(t *testing.T) {
	w := newWorld(t)
	token := w.token()
	w.accepts(token)
	must(t, w.RevokeClient(t.Context(), tester, w.tenant.ID, w.client.ID))
	w.refuses(token, ErrInvalidToken, "its client was revoked")
}

func TestASuspendedTenantsCallerIsKnownAndTold(t *testing.T) {
	w := newWorld(t)
	token := w.token()
	w.accepts(token)
	must(t, w.Suspend(t.Context(), tester, w.tenant.ID))
	caller := w.accepts(token)
	wantErr(t, caller.May(KFSessionWrite), ErrSuspended)
	wantErr(t, caller.May(AuthorizersRead), ErrInsufficientScope)
	must(t, w.Resume(t.Context(), tester, w.tenant.ID))
	must(t, w.accepts(token).May(KFSessionWrite))
}

func TestTheScopesAreThoseOfTheJWTThatTheClientStillHas(t *testing.T) {
	w := newWorld(t)
	asked := got(w.Token(t.Context(), w.client.ID, w.secret, "kfsession:read"))(t)
	if got := w.accepts(asked.Token.Reveal()).Scopes; got != NewScopes(KFSessionRead) {
		t.Errorf("got %q, want only what was asked for", got)
	}
	p := newPen(w)
	for scope, want := range map[string]Scopes{
		"":                                 0,
		"authorizers:write":                0,
		"later:write kfsession:read":       NewScopes(KFSessionRead),
		"authorizers:read kfsession:write": NewScopes(KFSessionWrite),
	} {
		if got := w.accepts(p.write(nil, map[string]any{"scope": scope})).Scopes; got != want {
			t.Errorf("scope %q: got %q, want %q", scope, got, want)
		}
	}
}

func TestTheCachedJWTsAreBounded(t *testing.T) {
	w := newWorld(t)
	w.CacheJWTs(2)
	for range 5 {
		w.accepts(w.token())
	}
	if n := w.verified.Len(); n != 2 {
		t.Errorf("got %d JWTs cached, want 2", n)
	}
}

func TestARefusedJWTIsNotCached(t *testing.T) {
	p := newPen(newWorld(t))
	now := p.clock.Now().Unix()
	early := p.write(nil, map[string]any{"iat": now + 100, "exp": now + 1000})
	p.refuses(early, ErrInvalidToken, "used before issued")
	p.clock.Move(100 * time.Second)
	p.accepts(early)
	must(t, p.RevokeClient(t.Context(), tester, p.tenant.ID, p.client.ID))
	late := p.write(nil, map[string]any{"jti": "late"})
	p.refuses(late, ErrInvalidToken, "its client was revoked")
	if _, cached := p.verified.Get(sha256.Sum256([]byte(late))); cached {
		t.Error("got a refused JWT cached")
	}
}

func TestAnOutageIsNeverAnInvalidToken(t *testing.T) {
	for name, learn := range map[string]func(*testing.T, *world, *Registry){
		"nothing is known": func(*testing.T, *world, *Registry) {},
		"only the keys":    func(t *testing.T, w *world, r *Registry) { got(r.Keys.known(t.Context()))(t) },
		"all but the tenant": func(t *testing.T, w *world, r *Registry) {
			got(r.Keys.known(t.Context()))(t)
			got(r.credential(t.Context(), w.client.ID))(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			token, stranger := w.token(), w.replica(t)
			learn(t, w, stranger)
			must(t, w.db.Close())
			_, err := stranger.Authenticate(t.Context(), "Bearer "+token)
			wantErr(t, err, db.ErrUnavailable)
			if errors.Is(err, ErrInvalidToken) {
				t.Errorf("got %v, want no ErrInvalidToken", err)
			}
		})
	}
}

func TestAKnownCallerIsServedWhileSQLIsDown(t *testing.T) {
	w := newWorld(t)
	seen := w.token()
	w.accepts(seen)
	must(t, w.db.Close())
	w.accepts(seen)
	w.accepts(w.token())
}

func TestAnUnknownKidIsNotInvalidWhileSQLIsDown(t *testing.T) {
	p := newPen(newWorld(t))
	p.accepts(p.write(nil, nil))
	must(t, p.db.Close())
	p.refuses(p.write(map[string]any{"kid": "unknown1"}, nil), db.ErrUnavailable, "")
}

// run has a replica follow the change counter as serve does.
func (w *world) run(t *testing.T) *Registry {
	t.Helper()
	r, m := w.process(t)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = m.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return r
}

func TestWhatOneReplicaEndsAnotherRefusesWithinASecond(t *testing.T) {
	for name, end := range map[string]func(*world) error{
		"its client was revoked": func(w *world) error { return w.RevokeClient(w.t.Context(), tester, w.tenant.ID, w.client.ID) },
		"key revoked":            func(w *world) error { return w.Keys.Revoke(w.t.Context(), tester, newPen(w).kid) },
		"tenant suspended": func(w *world) error {
			return w.Suspend(w.t.Context(), tester, w.tenant.ID)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			other, token := w.run(t), w.token()
			refused := func() bool {
				caller, err := other.Authenticate(t.Context(), "Bearer "+token)
				return errors.Is(err, ErrInvalidToken) || caller.Suspended
			}
			if refused() {
				t.Fatal("got it refused before it ended")
			}
			must(t, end(w))
			for began := time.Now(); !refused(); time.Sleep(10 * time.Millisecond) {
				if time.Since(began) > time.Minute {
					t.Fatal("got it accepted for a minute, want it refused after about a second")
				}
			}
		})
	}
}

func TestMayNamesTheScopeThatIsMissing(t *testing.T) {
	err := Caller{Scopes: NewScopes(KFSessionRead)}.May(KFSessionWrite)
	if err == nil || !strings.Contains(err.Error(), "kfsession:write") {
		t.Errorf("got %v, want kfsession:write named", err)
	}
	wantErr(t, err, ErrInsufficientScope)
}

func TestEveryDoesNotHaveAScopeThatDoesNotExist(t *testing.T) {
	if (Caller{Scopes: Every}).May("later:write") == nil {
		t.Error("got an unknown scope granted")
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	w := newWorld(b)
	header := "Bearer " + w.token()
	b.Run("hit", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := w.Authenticate(b.Context(), header); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("miss", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := w.verify(b.Context(), header[len("Bearer "):]); err != nil {
				b.Fatal(err)
			}
		}
	})
}
