package tenant

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestATenantIsLimitedByItsOwnRateOrTheDefault(t *testing.T) {
	w := newWorld(t)
	gate := Gate{Tenants: w.Registry}
	jwt, other := w.token(), w.another()
	w.DefaultLimit = Limit{PerSecond: 1, Burst: 2}
	tenant := w.tenant.ID
	ask := func(jwt string, want error) error {
		t.Helper()
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+jwt)
		_, err := gate.Caller(r)
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
		return err
	}
	ask(jwt, nil)
	ask(jwt, nil)
	err := ask(jwt, ErrRate)
	if rate := (*RateError)(nil); !errors.As(err, &rate) || rate.Wait <= 0 || rate.Seconds() != 1 {
		t.Errorf("got %v, want it to say that a second is enough", err)
	}
	ask(other, nil)
	if got := w.Refused()[tenant]; got != 1 {
		t.Errorf("got %d refused, want 1", got)
	}
	w.clock.Move(time.Second)
	ask(jwt, nil)
	ask(jwt, ErrRate)

	if err := w.SetLimit(t.Context(), tester, tenant, Limit{PerSecond: 1, Burst: 4}); err != nil {
		t.Fatal(err)
	}
	w.clock.Move(10 * time.Second)
	for range 4 {
		ask(jwt, nil)
	}
	ask(jwt, ErrRate)
	if err := w.SetLimit(t.Context(), tester, tenant, Limit{}); err != nil {
		t.Fatal(err)
	}
	w.clock.Move(10 * time.Second)
	ask(jwt, nil)
	ask(jwt, nil)
	ask(jwt, ErrRate)
}

func TestRequestsForAJWTCountToo(t *testing.T) {
	w := newWorld(t)
	w.DefaultLimit = Limit{PerSecond: 1, Burst: 1}
	if _, err := w.Token(t.Context(), w.client.ID, w.secret, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Token(t.Context(), w.client.ID, w.secret, ""); !errors.Is(err, ErrRate) {
		t.Errorf("got %v, want ErrRate", err)
	}
}

func TestALimitThatCannotBeIsRefused(t *testing.T) {
	w := newWorld(t)
	for _, l := range []Limit{{0, 1}, {-1, 1}, {1, 0}, {1, -1}, {MostPerSecond + 1, 1}, {1, MostPerSecond + 1}} {
		if err := w.SetLimit(t.Context(), tester, w.tenant.ID, l); !errors.Is(err, ErrInvalid) {
			t.Errorf("got %v for %+v, want ErrInvalid", err, l)
		}
	}
	if err := w.SetLimit(t.Context(), tester, "t-nobody", Limit{1, 1}); !errors.Is(err, ErrUnknownTenant) || !strings.Contains(err.Error(), "t-nobody") {
		t.Errorf("got %v, want ErrUnknownTenant", err)
	}
}

// another is a JWT of another tenant's client.
func (w *world) another() string {
	w.t.Helper()
	other := got(w.CreateTenant(w.t.Context(), tester, "quiet", nil))(w.t)
	client, secret, err := w.CreateClient(w.t.Context(), tester, other.ID, "back end", Every)
	must(w.t, err)
	return got(w.Token(w.t.Context(), client.ID, secret, ""))(w.t).Token.Reveal()
}
