package invitation

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"wxplatform/component"
	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/mirror"
	"wxplatform/internal/seal"
	"wxplatform/token"
	"wxplatform/wechat"
)

// A process that reads the time and then waits for a lock must not take the lease that it finds for
// one of a clock that was set back: two processes would exchange one code.
func TestAClaimThatWaitedForALockFindsTheLeaseHeld(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		service := &Service{db: d, table: table{d}, exchanges: newLimit(queryAuth, exchangesEach)}
		var claims [2]claim
		dbtest.TimeReadEarly(d, func(who int) {
			var err error
			if claims[who], err = service.claim(context.Background(), "hash", source{}); err != nil {
				t.Error(err)
			}
		})
		if claims[0].busy == claims[1].busy {
			t.Errorf("got both busy %v, want one to have it", claims[0].busy)
		}
	})
}

// asks returns a service whose WeChat gives component tokens, and how many codes it was sent.
func asks(t *testing.T) (*Service, *atomic.Int64) {
	t.Helper()
	sent := &atomic.Int64{}
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == queryAuth {
			sent.Add(1)
		}
		_, _ = io.WriteString(w, `{"component_access_token":"componenttoken","expires_in":7200}`)
	}))
	t.Cleanup(host.Close)
	client := wechat.NewClient(host.URL, wechat.Observer{})
	t.Cleanup(client.CloseIdle)
	d, ring := dbtest.SQLite(t), dbtest.Ring(t)
	m, err := mirror.Open(t.Context(), seal.Secret{}, d, ring)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	tokens, err := token.New(token.Component, d, m, ring, token.DefaultTimes())
	if err != nil {
		t.Fatal(err)
	}
	c := component.New(dbtest.Component, seal.NewSecret("secret"), d, ring, tokens, mirror.NewNewest(m, "ticket", 1), client)
	if err := c.Keep(t.Context(), component.Ticket{Value: seal.NewSecret("ticket"), Created: time.Now(), Received: time.Now()}); err != nil {
		t.Fatal(err)
	}
	return New(d, m, nil, nil, c, "", ""), sent
}

// A call, a new component token and another call may take longer than the lease on the code.
func TestACodeIsNotSentOnceItsLeaseIsOver(t *testing.T) {
	service, sent := asks(t)
	began := time.Now()
	code := seal.NewSecret("queryauthcode@@@1")
	claimed, err := service.waitForClaim(t.Context(), code, source{patience: time.Minute})
	if err != nil || claimed.busy {
		t.Fatalf("got %+v and %v, want the lease", claimed, err)
	}
	if claimed.until.Before(began.Add(exchangeLease)) || claimed.until.After(time.Now().Add(exchangeLease)) {
		t.Errorf("got a lease until %v, which began after %v, want it to last %v", claimed.until, began, exchangeLease)
	}
	over := claimed
	over.until = time.Now()
	if _, err := service.ask(t.Context(), code, source{}, over); err == nil || sent.Load() != 0 {
		t.Errorf("got %v and %d codes sent after the lease, want none", err, sent.Load())
	}
	if _, err := service.ask(t.Context(), code, source{}, claimed); !wechat.MayHaveActed(err) || sent.Load() != 1 {
		t.Errorf("got %v and %d codes sent within the lease, want one", err, sent.Load())
	}
}
