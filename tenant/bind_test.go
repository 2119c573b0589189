package tenant

import (
	"errors"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/seal"
)

func TestASecretAloneNamesItsClient(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for name, r := range map[string]*Registry{"a process that knows the client": w.Registry, "one that does not": w.replica(t)} {
			if c := got(r.BySecret(t.Context(), w.secret))(t); c != w.client {
				t.Errorf("%s: got %+v, want %+v", name, c, w.client)
			}
		}
	})
}

func TestASecretOfNoClientNamesNone(t *testing.T) {
	w := newWorld(t)
	revoked, revokedSecret, err := w.CreateClient(t.Context(), tester, w.tenant.ID, "old", NewScopes(KFSessionRead))
	must(t, err)
	must(t, w.RevokeClient(t.Context(), tester, w.tenant.ID, revoked.ID))
	for name, secret := range map[string]seal.Secret{
		"none":              seal.NewSecret(""),
		"its beginning":     seal.NewSecret(w.secret.Reveal()[:10]),
		"mistyped":          seal.NewSecret(w.secret.Reveal() + "x"),
		"another":           newSecret(w.client.ID),
		"a stranger's":      newSecret(ClientID(newID("c", idLength))),
		"a revoked client":  revokedSecret,
		"WeChat's":          seal.NewSecret("0123456789abcdef0123456789abcdef"),
		"one that SQL hurt": seal.NewSecret("wxs_\x00\xff"),
	} {
		if c, err := w.BySecret(t.Context(), secret); !errors.Is(err, ErrWrongSecret) || c != (Client{}) {
			t.Errorf("%s: got %+v, %v, want ErrWrongSecret", name, c, err)
		}
	}
}

func TestASecretAloneCostsAsMuchSQLAsOneWithItsClient(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorldOn(t, d, dbtest.Ring(t))
		w.token() // so that w knows the client
		statements := counted(d)
		cost := func(secret seal.Secret) int64 {
			before := statements.Load()
			_, err := w.BySecret(t.Context(), secret)
			wantErr(t, err, ErrWrongSecret)
			return statements.Load() - before
		}
		wrong, ghosts := newSecret(w.client.ID), newSecret(ClientID(newID("c", idLength)))
		if first, unknown := cost(wrong), cost(ghosts); first != 1 || unknown != 1 {
			t.Errorf("got %d statements for a wrong secret and %d for an unknown client, want 1", first, unknown)
		}
		if again, unknown := cost(wrong), cost(ghosts); again != 0 || unknown != 0 {
			t.Errorf("got %d and %d statements when tried again, want none", again, unknown)
		}
	})
}

func TestASecretAloneCountsAgainstItsTenantsLimit(t *testing.T) {
	w := newWorld(t)
	must(t, w.SetLimit(t.Context(), tester, w.tenant.ID, Limit{PerSecond: 1, Burst: 1}))
	got(w.BySecret(t.Context(), w.secret))(t)
	_, err := w.BySecret(t.Context(), w.secret)
	wantErr(t, err, ErrRate)
}

func TestASuspendedTenantsSecretIsRefused(t *testing.T) {
	w := newWorld(t)
	must(t, w.Suspend(t.Context(), tester, w.tenant.ID))
	_, err := w.BySecret(t.Context(), w.secret)
	wantErr(t, err, ErrSuspended)
}

func TestAnOutageIsNoWrongSecret(t *testing.T) {
	w := newWorld(t)
	stranger := w.replica(t)
	must(t, w.db.Close())
	_, err := stranger.BySecret(t.Context(), w.secret)
	wantErr(t, err, db.ErrUnavailable)
}

func TestABoundJWTSaysExactlyWhatIsDesigned(t *testing.T) {
	w := newWorld(t)
	_, said := decode(t, w.bound())
	wantMembers(t, said, "appid", "aud", "client_id", "exp", "iat", "iss", "jti", "sub", "tenant")
	if now := float64(w.clock.Now().Unix()); said["appid"] != shop || said["iat"] != now || said["exp"] != now+7500 {
		t.Errorf("got %v, want it for %s and for 7500 s", said, shop)
	}
}

func TestABoundJWTIsForItsAccountWithTheClientsScopes(t *testing.T) {
	w := newWorld(t)
	caller := w.accepts(w.bound())
	want := Caller{w.tenant.ID, "Tea House", w.client.ID, shop, w.client.Scopes, false, Limit{}}
	if caller != want {
		t.Errorf("got %+v, want %+v", caller, want)
	}
}

func TestABoundJWTLivesWhenAnotherIsIssued(t *testing.T) {
	w := newWorld(t)
	first := w.bound()
	w.clock.Move(7499 * time.Second)
	w.accepts(w.bound())
	w.accepts(first)
	w.clock.Move(32 * time.Second)
	w.refuses(first, ErrTokenExpired, "")
}

func TestNoJWTIsBoundToNoAccount(t *testing.T) {
	w := newWorld(t)
	_, err := w.Bind(t.Context(), w.client, "")
	wantErr(t, err, ErrInvalid)
}
