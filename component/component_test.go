package component

import (
	"errors"
	"fmt"
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

func TestATicketStoredByAnotherReplicaIsUsedAtOnce(t *testing.T) {
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

// A ticket is pushed every ten minutes. The process that gets it while SQL is unavailable may have
// ended when another one needs it.
func TestATicketThatSQLDidNotStoreIsInRedis(t *testing.T) {
	ring, server := dbtest.Ring(t), miniredis.RunT(t)
	d := dbtest.SQLite(t)
	one, other := replicaOn(t, d, ring, "", "redis://"+server.Addr()+"?read_timeout=1s"), replicaOn(t, d, ring, "", "redis://"+server.Addr()+"?read_timeout=1s")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	pushed := Ticket{Value: seal.NewSecret("canary-31c7"), Created: time.Now().Truncate(time.Second), Received: time.Now()}
	if err := one.Keep(t.Context(), pushed); !errors.Is(err, db.ErrUnavailable) {
		t.Fatalf("got %v, want ErrUnavailable", err)
	}
	if err := other.Refresh(t.Context()); !errors.Is(err, db.ErrUnavailable) {
		t.Fatalf("got %v, want ErrUnavailable", err)
	}
	if got := other.Newest(); !got.Value.Equal(pushed.Value) || !got.Created.Equal(pushed.Created) {
		t.Errorf("got a ticket of %v, want the one that was pushed to another replica", got.Created)
	}
	if dump := server.Dump(); strings.Contains(dump, "canary") || !strings.Contains(dump, "newest-ticket") {
		t.Errorf("got %s, want it there and sealed", dump)
	}
}

func TestAnImpossibleTicketTimeCountsAsNow(t *testing.T) {
	received := time.Date(2026, 11, 28, 12, 0, 0, 5e8, time.UTC)
	now := received.Truncate(time.Second)
	for name, c := range map[string]struct{ created, want time.Time }{
		"now":                   {now, now},
		"ten minutes ahead":     {received.Add(10 * time.Minute), received.Add(10 * time.Minute)},
		"further ahead":         {received.Add(10*time.Minute + time.Second), now},
		"milliseconds (B21)":    {time.Unix(received.UnixMilli(), 0), now},
		"the end of time":       {time.Unix(1<<62, 0), now},
		"eleven hours ago":      {received.Add(-11 * time.Hour), received.Add(-11 * time.Hour)},
		"twelve hours ago":      {received.Add(-12 * time.Hour), received.Add(-12 * time.Hour)},
		"longer ago":            {received.Add(-12*time.Hour - time.Second), now},
		"years ago":             {time.Unix(1413192605, 0), now},
		"none":                  {time.Time{}, now},
		"zero":                  {time.Unix(0, 0), now},
		"before 1970":           {time.Unix(-1413192605, 0), now},
		"a counter, not a time": {time.Unix(17, 0), now},
	} {
		if got := (Ticket{Created: c.created, Received: received}).plausible(received).Created; !got.Equal(c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestATicketWithAnImpossibleTimeReplacesTheOneBefore(t *testing.T) {
	d := dbtest.SQLite(t)
	c, start := replica(t, d, dbtest.Ring(t), ""), time.Now().Add(-time.Hour)
	first := Ticket{Value: seal.NewSecret("first"), Created: start, Received: start}
	if err := c.Keep(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	for n, seconds := range []int64{1413192605, 1413192605, time.Now().Add(-TicketLife - time.Minute).Unix(), 0, time.Now().UnixMilli(), 1413192605} {
		pushed := Ticket{Value: seal.NewSecret(fmt.Sprint("ticket ", n)), Created: time.Unix(seconds, 0), Received: time.Now()}
		if err := c.Keep(t.Context(), pushed); err != nil {
			t.Fatal(err)
		}
		stored, err := c.loadTicket(t.Context())
		if err != nil || !stored.Value.Equal(pushed.Value) || !c.Newest().Value.Equal(pushed.Value) {
			t.Errorf("CreateTime %d: got the ticket of %v stored, %v, want the one that was pushed", seconds, stored.Created, err)
		}
	}
}

// An older build stored a ticket's time as WeChat had sent it: one in milliseconds is newer than
// every ticket to come.
func TestAStoredTicketWithAFutureTimeIsReplaced(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ring, received := dbtest.Ring(t), time.Now().Add(-time.Minute)
		bad := Ticket{Value: seal.NewSecret("bad"), Created: time.Unix(received.UnixMilli(), 0), Received: received}
		if err := replica(t, d, ring, "").saveTicket(t.Context(), bad); err != nil {
			t.Fatal(err)
		}
		one, other := replica(t, d, ring, ""), replica(t, d, ring, "")
		for _, c := range []*Component{one, other} {
			if err := c.Refresh(t.Context()); err != nil || !c.Newest().Value.Equal(bad.Value) {
				t.Fatalf("got %v and a ticket of %v, want what is stored, for there is no other", err, c.Newest().Created)
			}
		}
		now := time.Now().Truncate(time.Second)
		if err := one.Keep(t.Context(), Ticket{Value: seal.NewSecret("good"), Created: now, Received: time.Now()}); err != nil {
			t.Fatal(err)
		}
		restarted := replica(t, d, ring, "")
		for name, c := range map[string]*Component{"it was pushed to": one, "it was not": other, "restarted": restarted} {
			if err := c.Refresh(t.Context()); err != nil || c.Newest().Value.Reveal() != "good" {
				t.Errorf("%s: got %v and a ticket of %v, want the good one", name, err, c.Newest().Created)
			}
		}
		if err := one.Keep(t.Context(), Ticket{Value: seal.NewSecret("late"), Created: now.Add(-time.Second), Received: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if stored, err := one.loadTicket(t.Context()); err != nil || stored.Value.Reveal() != "good" {
			t.Errorf("got a ticket of %v, %v, want a late one not stored", stored.Created, err)
		}
	})
}

func TestAStoredTicketDoesNotReplaceAPushedOneOfTheSameSecond(t *testing.T) {
	d := dbtest.SQLite(t)
	c := replica(t, d, dbtest.Ring(t), "")
	now := time.Now().Truncate(time.Second)
	if err := c.Keep(t.Context(), Ticket{Value: seal.NewSecret("first"), Created: now, Received: now}); err != nil {
		t.Fatal(err)
	}
	c.takePushed(Ticket{Value: seal.NewSecret("second"), Created: now, Received: now}) // and not yet saved
	if err := c.Refresh(t.Context()); err != nil || c.Newest().Value.Reveal() != "second" {
		t.Errorf("got %v and the ticket %s, want the one pushed last", err, c.Newest().Value.Reveal())
	}
}

// An older build may have shared it.
func TestASharedTicketWithAFutureTimeIsIgnored(t *testing.T) {
	server, ring, d := miniredis.RunT(t), dbtest.Ring(t), dbtest.SQLite(t)
	c := replicaOn(t, d, ring, "", "redis://"+server.Addr()+"?read_timeout=1s")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	ahead := time.Unix(time.Now().UnixMilli(), 0)
	c.shared.Put(t.Context(), string(c.AppID), mirror.Versioned{Secret: seal.NewSecret("bad"), Version: ahead.Unix(), Expires: time.Now().Add(time.Hour)})
	if err := c.Refresh(t.Context()); !errors.Is(err, db.ErrUnavailable) || !c.Newest().Value.IsZero() {
		t.Errorf("got %v and a ticket of %v, want none", err, c.Newest().Created)
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
