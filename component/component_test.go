package component

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

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

// A ticket is pushed every ten minutes, and whoever gets it while SQL is away may be gone when it is wanted.
func TestATicketThatSQLCannotTakeIsInRedis(t *testing.T) {
	ring, server := dbtest.Ring(t), miniredis.RunT(t)
	d := dbtest.SQLite(t)
	one, other := replicaOn(t, d, ring, "", "redis://"+server.Addr()), replicaOn(t, d, ring, "", "redis://"+server.Addr())
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	pushed := Ticket{Value: seal.NewSecret("canary-31c7"), Created: time.Now().Truncate(time.Second)}
	if err := one.Keep(t.Context(), pushed); !errors.Is(err, db.ErrUnavailable) {
		t.Fatalf("got %v, want SQL away", err)
	}
	if err := other.Refresh(t.Context()); !errors.Is(err, db.ErrUnavailable) {
		t.Fatalf("got %v, want SQL away", err)
	}
	if got := other.Newest(); !got.Value.Equal(pushed.Value) || !got.Created.Equal(pushed.Created) {
		t.Errorf("got a ticket of %v, want that which another replica was pushed", got.Created)
	}
	if dump := server.Dump(); strings.Contains(dump, "canary") || !strings.Contains(dump, "newest-ticket") {
		t.Errorf("got %s, want it there and sealed", dump)
	}
}

func replica(t *testing.T, d *db.DB, ring *seal.Ring, host string) *Component {
	t.Helper()
	return replicaOn(t, d, ring, host, "")
}

func replicaOn(t *testing.T, d *db.DB, ring *seal.Ring, host, redisURL string) *Component {
	t.Helper()
	m, err := mirror.Open(t.Context(), seal.NewSecret(redisURL), d, ring)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	tokens, err := token.New(token.Component, d, m, ring, token.DefaultTimes())
	if err != nil {
		t.Fatal(err)
	}
	client := wechat.NewClient(host, wechat.Observer{})
	t.Cleanup(client.CloseIdle)
	return New(dbtest.Component, seal.NewSecret("s"), d, ring, tokens, mirror.NewNewest(m, "ticket", 1), client)
}
