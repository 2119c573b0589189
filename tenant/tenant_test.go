package tenant

import (
	"slices"
	"strings"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/seal"
)

// each runs test on a world in every engine.
func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, d *db.DB) { test(t, newWorldOn(t, d, dbtest.Ring(t))) })
}

func TestATenantIsShownAndListedAsItWasMade(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		plain := got(w.CreateTenant(t.Context(), tester, "茶馆 Nº 1", nil))(t)
		for _, want := range []Tenant{w.tenant, plain} {
			sameTenant(t, got(w.ShowTenant(t.Context(), want.ID))(t), want)
			sameTenant(t, got(w.Tenant(t.Context(), want.ID))(t), want)
		}
		if list := got(w.ListTenants(t.Context(), "", 10))(t); len(list) != 2 || list[0].ID > list[1].ID {
			t.Errorf("got %v, want both in the order of their ids", list)
		}
	})
}

func TestTenantsAreListedByPages(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for range 4 {
			got(w.CreateTenant(t.Context(), tester, "one more", nil))(t)
		}
		all := got(w.ListTenants(t.Context(), "", 10))(t)
		first := got(w.ListTenants(t.Context(), "", 3))(t)
		rest := got(w.ListTenants(t.Context(), first[2].ID, 3))(t)
		for i, listed := range append(first, rest...) {
			sameTenant(t, listed, all[i])
		}
		if len(rest) != 2 {
			t.Errorf("got %d on the second page, want 2", len(rest))
		}
	})
}

func TestASuspensionKeepsItsFirstTimeUntilItIsLifted(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		at := w.clock.Now()
		must(t, w.Suspend(t.Context(), tester, w.tenant.ID))
		w.clock.Move(time.Hour)
		must(t, w.Suspend(t.Context(), tester, w.tenant.ID))
		if since := got(w.ShowTenant(t.Context(), w.tenant.ID))(t).Suspended; !since.Equal(at) {
			t.Errorf("got suspended since %s, want %s", since, at)
		}
		must(t, w.Resume(t.Context(), tester, w.tenant.ID))
		must(t, w.Resume(t.Context(), tester, w.tenant.ID))
		sameTenant(t, got(w.Tenant(t.Context(), w.tenant.ID))(t), w.tenant)
	})
}

func TestOneTenantsSuspensionLeavesOthersAlone(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		other := got(w.CreateTenant(t.Context(), tester, "other", nil))(t)
		must(t, w.Suspend(t.Context(), tester, other.ID))
		sameTenant(t, got(w.ShowTenant(t.Context(), w.tenant.ID))(t), w.tenant)
		must(t, w.Suspend(t.Context(), tester, w.tenant.ID))
		must(t, w.Resume(t.Context(), tester, w.tenant.ID))
		if got(w.ShowTenant(t.Context(), other.ID))(t).Suspended.IsZero() {
			t.Error("got another tenant resumed")
		}
	})
}

func TestAnUnknownTenantIsUnknownToEveryFunction(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		_, err := w.ShowTenant(t.Context(), "tnobody")
		wantErr(t, err, ErrUnknownTenant)
		_, err = w.Tenant(t.Context(), "tnobody")
		wantErr(t, err, ErrUnknownTenant)
		wantErr(t, w.Suspend(t.Context(), tester, "tnobody"), ErrUnknownTenant)
		wantErr(t, w.Resume(t.Context(), tester, "tnobody"), ErrUnknownTenant)
		_, err = w.ListClients(t.Context(), "tnobody")
		wantErr(t, err, ErrUnknownTenant)
		_, _, err = w.CreateClient(t.Context(), tester, "tnobody", "x", NewScopes(KFSessionRead))
		wantErr(t, err, ErrUnknownTenant)
	})
}

func TestEveryWriteRaisesTheChangeCounter(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		young, _, err := w.CreateClient(t.Context(), tester, w.tenant.ID, "young", NewScopes(KFSessionRead))
		must(t, err)
		for name, write := range map[string]func() error{
			"CreateTenant": func() error { _, err := w.CreateTenant(t.Context(), tester, "x", nil); return err },
			"Suspend":      func() error { return w.Suspend(t.Context(), tester, w.tenant.ID) },
			"Resume":       func() error { return w.Resume(t.Context(), tester, w.tenant.ID) },
			"CreateClient": func() error {
				_, _, err := w.CreateClient(t.Context(), tester, w.tenant.ID, "x", NewScopes(KFSessionRead))
				return err
			},
			"RevokeClient": func() error { return w.RevokeClient(t.Context(), tester, w.tenant.ID, w.client.ID) },
			"SetScopes": func() error {
				return w.SetScopes(t.Context(), tester, w.tenant.ID, w.client.ID, NewScopes(KFSessionRead))
			},
			"RotateSecret": func() error {
				_, _, err := w.RotateSecret(t.Context(), tester, w.tenant.ID, young.ID, time.Hour)
				return err
			},
			"EndOldSecret": func() error { return w.EndOldSecret(t.Context(), tester, w.tenant.ID, young.ID) },
			"Keys.Rotate":  func() error { _, err := w.Keys.Rotate(t.Context(), tester); return err },
			"Keys.Revoke":  func() error { return w.Keys.Revoke(t.Context(), tester, w.keyIDs()[0]) },
		} {
			before := got(w.db.Counter(t.Context()))(t)
			must(t, write())
			if after := got(w.db.Counter(t.Context()))(t); after <= before {
				t.Errorf("%s: got the change counter at %d, want more than %d", name, after, before)
			}
		}
	})
}

func TestRedirectsAreExactHTTPSURLsOrLoopback(t *testing.T) {
	w := newWorld(t)
	for _, good := range []string{"https://a.example", "https://a.example:8443/x?y=1", "http://localhost:3000/x", "http://127.0.0.1/x", "http://[::1]:8080/x"} {
		if _, err := w.CreateTenant(t.Context(), tester, "x", []string{good}); err != nil {
			t.Errorf("%s: got %v, want it accepted", good, err)
		}
	}
	for _, bad := range []string{
		"", "/x", "a.example", "http://a.example/x", "http://localhost.example.com/", "http://127.0.0.1.example.com/", "ftp://a.example", "javascript:alert(1)", "https:a.example", "https:///x",
		"https://:443/x", "https://a.example/#x", "https://a.example/#", "https://u:p@a.example/", "https://u@a.example", "https://a.example/ x", "https://a.example/é", "https://a.example\\@b.example/", "https://a.example/x\\y",
		"https://a.example/\n", "https://a.example/" + strings.Repeat("x", 2048),
	} {
		_, err := w.CreateTenant(t.Context(), tester, "x", []string{"https://a.example", bad})
		if wantErr(t, err, ErrInvalid); err == nil || !strings.Contains(err.Error(), "redirect 2") {
			t.Errorf("%q: got %v, want redirect 2 named", bad, err)
		}
	}
	_, err := w.CreateTenant(t.Context(), tester, "x", slices.Repeat([]string{"https://a.example"}, 21))
	wantErr(t, err, ErrInvalid)
}

func TestNamesAreShortAndPrintable(t *testing.T) {
	w := newWorld(t)
	for _, good := range []string{"x", "茶馆", "Tea House (Beijing)", strings.Repeat("茶", 100)} {
		if _, err := w.CreateTenant(t.Context(), tester, good, nil); err != nil {
			t.Errorf("%q: got %v, want it accepted", good, err)
		}
	}
	for _, bad := range []string{"", " ", " x", "x ", "a\nb", "a\x00b", "a\u202eb", "a\u00a0b", "\xff", strings.Repeat("茶", 101)} {
		_, err := w.CreateTenant(t.Context(), tester, bad, nil)
		if wantErr(t, err, ErrInvalid); err == nil || !strings.Contains(err.Error(), "name") {
			t.Errorf("%q: got %v, want the name named", bad, err)
		}
		_, _, err = w.CreateClient(t.Context(), tester, w.tenant.ID, bad, NewScopes(KFSessionRead))
		wantErr(t, err, ErrInvalid)
	}
}

func TestAnOutageIsNoUnknownTenant(t *testing.T) {
	w := newWorld(t)
	stranger := w.replica(t)
	must(t, w.db.Close())
	_, err := stranger.Tenant(t.Context(), w.tenant.ID)
	wantErr(t, err, db.ErrUnavailable)
	_, err = stranger.ShowTenant(t.Context(), w.tenant.ID)
	wantErr(t, err, db.ErrUnavailable)
	wantErr(t, stranger.Suspend(t.Context(), tester, w.tenant.ID), db.ErrUnavailable)
}

func TestAClientIsListedAsItWasMadeWithoutItsSecret(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		list := got(w.ListClients(t.Context(), w.tenant.ID))(t)
		if len(list) != 1 || list[0] != w.client {
			t.Errorf("got %+v, want %+v", list, w.client)
		}
		stored := got(selectClient(t.Context(), w.db, w.client.ID))(t)
		if stored.SecretHash != w.secret.Hash() || strings.Contains(stored.SecretHash, w.secret.Reveal()) {
			t.Error("got the secret stored otherwise than as its SHA-256")
		}
	})
}

func TestATenantsClientsAreNoneOfAnothers(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		other := got(w.CreateTenant(t.Context(), tester, "other", nil))(t)
		if list := got(w.ListClients(t.Context(), other.ID))(t); len(list) != 0 {
			t.Errorf("got %v listed for another tenant", list)
		}
		wantErr(t, w.RevokeClient(t.Context(), tester, other.ID, w.client.ID), ErrUnknownClient)
		w.accepts(w.token())
	})
}

func TestARevocationIsForGoodAndKeepsItsFirstTime(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		kept, keptSecret, err := w.CreateClient(t.Context(), tester, w.tenant.ID, "other", NewScopes(KFSessionRead))
		must(t, err)
		at := w.clock.Now()
		must(t, w.RevokeClient(t.Context(), tester, w.tenant.ID, w.client.ID))
		w.clock.Move(time.Hour)
		must(t, w.RevokeClient(t.Context(), tester, w.tenant.ID, w.client.ID))
		for _, c := range got(w.ListClients(t.Context(), w.tenant.ID))(t) {
			if c.ID == w.client.ID && !c.Revoked.Equal(at) || c.ID == kept.ID && !c.Revoked.IsZero() {
				t.Errorf("got %s revoked at %s", c.Name, c.Revoked)
			}
		}
		_, err = w.Token(t.Context(), w.client.ID, w.secret, "")
		wantErr(t, err, ErrWrongSecret)
		got(w.Token(t.Context(), kept.ID, keptSecret, ""))(t)
		wantErr(t, w.RevokeClient(t.Context(), tester, w.tenant.ID, "cnobody"), ErrUnknownClient)
	})
}

func TestAClientHasScopesThatExist(t *testing.T) {
	w := newWorld(t)
	_, _, err := w.CreateClient(t.Context(), tester, w.tenant.ID, "x", 0)
	wantErr(t, err, ErrInvalid)
	_, err = ParseScopes("kfsession:read nosuch")
	wantErr(t, err, ErrInvalid)
	if set := got(ParseScopes(" authorizers:write  kfsession:read "))(t); set != NewScopes(KFSessionRead, AuthorizersWrite) {
		t.Errorf("got %q", set)
	}
}

func TestSigningKeysComeBackAsTheyWereStored(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		young := got(w.Keys.Rotate(t.Context(), tester))(t)
		keys := got(w.Keys.List(t.Context()))(t)
		if len(keys) != 2 || keys[1].ID != young || keys[1].SignsFrom.Sub(keys[1].Published) != publishAhead || !keys[0].Ends.Equal(keys[1].SignsFrom.Add(longestLifetime+skew)) {
			t.Errorf("got %+v", keys)
		}
		w.clock.Move(publishAhead)
		w.accepts(w.token())
		must(t, w.Keys.Revoke(t.Context(), tester, young))
		stored := got(w.Keys.load(t.Context(), w.db))(t).byID[young]
		if stored.Revoked.IsZero() || len(stored.Private) != 0 {
			t.Errorf("got %d bytes of a revoked key's private half, want none", len(stored.Private))
		}
	})
}

func TestASecretIsNeverGivenOutAsText(t *testing.T) {
	w := newWorld(t)
	var _ seal.Secret = w.secret
	_, err := w.Token(t.Context(), w.client.ID, seal.NewSecret(w.secret.Reveal()+"x"), "")
	if err == nil || strings.Contains(err.Error(), w.secret.Reveal()) {
		t.Errorf("got %v, want an error without the secret", err)
	}
}

func sameTenant(t *testing.T, got, want Tenant) {
	t.Helper()
	if got.ID != want.ID || got.Name != want.Name || !slices.Equal(got.Redirects, want.Redirects) || !got.Created.Equal(want.Created) || !got.Suspended.Equal(want.Suspended) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
