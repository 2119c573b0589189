package component

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/seal"
)

// pushing is a WeChat that records the tickets of token requests, and how often it is asked to
// push.
type pushing struct {
	mu      sync.Mutex
	tickets []string
	nudges  int
}

func (p *pushing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Ticket string `json:"component_verify_ticket"`
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	p.mu.Lock()
	defer p.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, "api_start_push_ticket") {
		p.nudges++
		_, _ = w.Write([]byte(`{"errcode":0,"errmsg":"ok"}`))
		return
	}
	p.tickets = append(p.tickets, body.Ticket)
	_, _ = w.Write([]byte(`{"component_access_token":"c1","expires_in":7200}`))
}

func (p *pushing) nudged() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.nudges
}

// WeChat sometimes stops pushing without notice. That is reported, and WeChat is asked to push,
// once in ten minutes. Meanwhile the last ticket is valid for twelve hours.
func TestWeChatIsAskedForAnOverdueTicketAndTheLastOneIsUsed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		wx := &pushing{}
		host := httptest.NewServer(wx)
		defer host.Close()
		c := replica(t, d, dbtest.Ring(t), host.URL)
		keep := func(created time.Time, nudged *time.Time) error {
			t.Helper()
			c.newest = Ticket{}
			if err := c.Keep(t.Context(), Ticket{Value: seal.NewSecret("ticket"), Created: created, Received: created}); err != nil {
				t.Fatal(err)
			}
			return c.keep(t.Context(), nudged)
		}
		var last time.Time
		if err := keep(time.Now().Add(time.Minute-TicketLife), &last); err == nil || !strings.Contains(err.Error(), "no ticket for 11h59m") || wx.nudged() != 1 {
			t.Errorf("got %v and WeChat asked %d times, want it said and asked", err, wx.nudged())
		}
		if len(wx.tickets) != 1 || wx.tickets[0] != "ticket" {
			t.Errorf("got %q, want a token by the last ticket", wx.tickets)
		}
		if err := c.keep(t.Context(), &last); err != nil || wx.nudged() != 1 {
			t.Errorf("got %v and WeChat asked %d times, want it left alone for ten minutes", err, wx.nudged())
		}
		last = last.Add(-nudgeEvery)
		if err := c.keep(t.Context(), &last); err == nil || wx.nudged() != 2 {
			t.Errorf("got %v and WeChat asked %d times, want it asked again", err, wx.nudged())
		}
		last = time.Time{}
		if err := keep(time.Now().Add(time.Minute-TicketMissing), &last); err != nil || wx.nudged() != 2 {
			t.Errorf("got %v and WeChat asked %d times, want nothing missed after 24 minutes", err, wx.nudged())
		}
	})
}

func TestWeChatIsAskedForTheFirstTicket(t *testing.T) {
	wx := &pushing{}
	host := httptest.NewServer(wx)
	defer host.Close()
	var last time.Time
	err := replica(t, dbtest.SQLite(t), dbtest.Ring(t), host.URL).keep(t.Context(), &last)
	if err == nil || !strings.Contains(err.Error(), "no ticket yet") || wx.nudged() != 1 {
		t.Errorf("got %v and WeChat asked %d times, want it said and asked", err, wx.nudged())
	}
}
