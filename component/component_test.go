package component

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/mirror"
	"wxplatform/internal/seal"
	"wxplatform/token"
	"wxplatform/wechat"
)

func TestATicketThatAnotherReplicaGotIsUsedAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"component_access_token":"c1","expires_in":7200}`))
		}))
		defer host.Close()
		ring := dbtest.Ring(t)
		one, other := replica(t, d, ring, host.URL), replica(t, d, ring, host.URL)
		if err := one.Keep(t.Context(), Ticket{Value: seal.NewSecret("ticket"), Created: time.Now(), Received: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if got, err := other.Token(t.Context()); err != nil || got.Access.Reveal() != "c1" {
			t.Errorf("got %v, want a token by the ticket that the first replica stored", err)
		}
	})
}

func replica(t *testing.T, d *db.DB, ring *seal.Ring, host string) *Component {
	t.Helper()
	m, err := mirror.Open(t.Context(), seal.Secret{}, d, ring)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	tokens, err := token.New(token.Component, d, m, ring, token.DefaultTimes())
	if err != nil {
		t.Fatal(err)
	}
	client := wechat.NewClient(host, func(string, wechat.Code, time.Duration, error) {})
	t.Cleanup(client.CloseIdle)
	return New(dbtest.Component, seal.NewSecret("s"), d, ring, tokens, client)
}
