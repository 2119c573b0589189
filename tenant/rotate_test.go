package tenant

import (
	"errors"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

// rotated gives the world's client a new secret.
func (w *world) rotated(overlap time.Duration) seal.Secret {
	w.t.Helper()
	_, secret, err := w.RotateSecret(w.t.Context(), tester, w.tenant.ID, w.client.ID, overlap)
	must(w.t, err)
	return secret
}

func (w *world) acceptsSecret(secret seal.Secret, want error) {
	w.t.Helper()
	if _, err := w.BySecret(w.t.Context(), secret); !errors.Is(err, want) {
		w.t.Errorf("got %v, want %v", err, want)
	}
}

func TestBothSecretsAreAcceptedUntilTheOverlapEnds(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		young := w.rotated(24 * time.Hour)
		for _, r := range []*Registry{w.Registry, w.replica(t)} {
			for _, secret := range []seal.Secret{w.secret, young} {
				got(r.Token(t.Context(), w.client.ID, secret, ""))(t)
				got(r.BySecret(t.Context(), secret))(t)
			}
		}
		if c := got(w.ListClients(t.Context(), w.tenant.ID))(t)[0]; !c.OldSecretUntil.Equal(w.clock.Now().Add(24 * time.Hour)) {
			t.Errorf("got the old secret listed until %s, want in 24 hours", c.OldSecretUntil)
		}
		w.clock.Move(24*time.Hour - time.Millisecond)
		w.acceptsSecret(w.secret, nil)
		w.clock.Move(time.Millisecond)
		w.acceptsSecret(w.secret, ErrWrongSecret)
		w.acceptsSecret(young, nil)
	})
}

func TestAnOldSecretCanBeEndedBefore(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		must(t, w.EndOldSecret(t.Context(), tester, w.tenant.ID, w.client.ID))
		w.acceptsSecret(w.secret, nil)
		young := w.rotated(time.Hour)
		must(t, w.EndOldSecret(t.Context(), tester, w.tenant.ID, w.client.ID))
		w.acceptsSecret(w.secret, ErrWrongSecret)
		w.acceptsSecret(young, nil)
		if c := got(w.ListClients(t.Context(), w.tenant.ID))(t)[0]; c != w.client {
			t.Errorf("got %+v, want no old secret", c)
		}
	})
}

func TestASecretRotatedWithoutOverlapEndsTheOldOneAtOnce(t *testing.T) {
	w := newWorld(t)
	young := w.rotated(0)
	w.acceptsSecret(w.secret, ErrWrongSecret)
	w.acceptsSecret(young, nil)
}

// A third secret would end the first one, which some program may still use.
func TestAClientHasTwoSecretsAtMost(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		young := w.rotated(time.Hour)
		_, secret, err := w.RotateSecret(t.Context(), tester, w.tenant.ID, w.client.ID, time.Hour)
		wantErr(t, err, ErrInvalid)
		if !secret.IsZero() {
			t.Error("got a secret that is not stored")
		}
		w.acceptsSecret(w.secret, nil)
		w.acceptsSecret(young, nil)
		w.clock.Move(time.Hour)
		third := w.rotated(time.Hour)
		w.acceptsSecret(w.secret, ErrWrongSecret)
		w.acceptsSecret(young, nil)
		w.acceptsSecret(third, nil)
	})
}

func TestASecretThatWasRotatedMeanwhileIsNotRotated(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := got(selectClient(t.Context(), w.db, w.client.ID))(t)
		young := w.rotated(time.Hour)
		wantErr(t, rotateSecret(t.Context(), w.db, c, "other"), ErrInvalid)
		w.acceptsSecret(young, nil)
	})
}

func TestOnlyATenantsOwnClientThatIsNotRevokedIsRotated(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		other := got(w.CreateTenant(t.Context(), tester, "other", nil))(t)
		for _, c := range []struct {
			owner ID
			id    ClientID
		}{{other.ID, w.client.ID}, {w.tenant.ID, "cnobody"}} {
			_, _, err := w.RotateSecret(t.Context(), tester, c.owner, c.id, 0)
			wantErr(t, err, ErrUnknownClient)
			wantErr(t, w.EndOldSecret(t.Context(), tester, c.owner, c.id), ErrUnknownClient)
			wantErr(t, w.SetScopes(t.Context(), tester, c.owner, c.id, NewScopes(KFSessionRead)), ErrUnknownClient)
		}
		for _, overlap := range []time.Duration{-time.Second, 90*24*time.Hour + 1} {
			_, _, err := w.RotateSecret(t.Context(), tester, w.tenant.ID, w.client.ID, overlap)
			wantErr(t, err, ErrInvalid)
		}
		w.acceptsSecret(w.secret, nil)
		must(t, w.RevokeClient(t.Context(), tester, w.tenant.ID, w.client.ID))
		_, _, err := w.RotateSecret(t.Context(), tester, w.tenant.ID, w.client.ID, 0)
		wantErr(t, err, ErrInvalid)
	})
}

func TestARevocationEndsBothSecrets(t *testing.T) {
	w := newWorld(t)
	young := w.rotated(time.Hour)
	must(t, w.RevokeClient(t.Context(), tester, w.tenant.ID, w.client.ID))
	w.acceptsSecret(w.secret, ErrWrongSecret)
	w.acceptsSecret(young, ErrWrongSecret)
}

func TestARotationAffectsNoJWT(t *testing.T) {
	w := newWorld(t)
	token := w.token()
	w.rotated(0)
	w.accepts(token)
}

func TestNewScopesAreThoseOfJWTsThatWereIssuedBefore(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		free, bound := w.token(), w.bound()
		asked := got(w.Token(t.Context(), w.client.ID, w.secret, "kfsession:write"))(t).Token.Reveal()
		scopes := NewScopes(AuthorizersRead, KFSessionRead)
		must(t, w.SetScopes(t.Context(), tester, w.tenant.ID, w.client.ID, scopes))
		if c := got(w.ListClients(t.Context(), w.tenant.ID))(t)[0]; c.Scopes != scopes {
			t.Errorf("got %q listed, want %q", c.Scopes, scopes)
		}
		for name, c := range map[string]struct {
			token string
			want  Scopes
		}{"all": {free, scopes}, "bound": {bound, scopes}, "asked for another": {asked, 0}} {
			if caller := w.accepts(c.token); caller.Scopes != c.want {
				t.Errorf("%s: got %q, want %q", name, caller.Scopes, c.want)
			}
		}
		wantErr(t, w.SetScopes(t.Context(), tester, w.tenant.ID, w.client.ID, 0), ErrInvalid)
	})
}

func TestANewClientHasOneSecret(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		row := got(db.One(t.Context(), w.db, scanCredential, `SELECT `+clientColumns+` FROM clients`))(t)
		if row.OldSecretHash != "" || !row.OldSecretUntil.IsZero() {
			t.Errorf("got %+v, want no old secret", row)
		}
		w.acceptsSecret(seal.NewSecret(""), ErrWrongSecret)
	})
}
