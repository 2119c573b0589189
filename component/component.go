// Package component is who we are to WeChat: the ticket that it pushes, the component token that the ticket buys, and the calls that are made with that token.
package component

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/failpoint"
	"wxplatform/internal/mirror"
	"wxplatform/internal/seal"
	"wxplatform/token"
	"wxplatform/wechat"
)

// ErrNoTicket says that WeChat has not pushed a ticket yet: nothing can be asked of it before.
var ErrNoTicket = errors.New("no component_verify_ticket yet")

// TicketLife is how long a ticket is good for (docs/wechat.md, "Component verify ticket").
const TicketLife = 12 * time.Hour

// ticketAhead is by how much WeChat's clock may be ahead of ours.
const ticketAhead = 10 * time.Minute

// ticketEpoch is before WeChat had components.
var ticketEpoch = time.Date(2011, 1, 1, 0, 0, 0, 0, time.UTC)

// Component is the third-party platform that this program speaks for. It is safe for concurrent use.
type Component struct {
	AppID wechat.AppID

	secret seal.Secret
	db     *db.DB
	ring   *seal.Ring
	tokens *token.Store
	shared *mirror.Newest // the ticket in Redis, for when SQL cannot take it
	wechat *wechat.Client
	pushed chan struct{} // wakes the keeper: with the first ticket everything begins

	mu     sync.Mutex
	newest Ticket // the newest that this process has seen: what it asks with, also while SQL is away
}

// New is the component appid with its secret. tokens keeps its token, and tickets its ticket while SQL is away.
func New(appid wechat.AppID, secret seal.Secret, d *db.DB, ring *seal.Ring, tokens *token.Store, tickets *mirror.Newest, client *wechat.Client) *Component {
	return &Component{AppID: appid, secret: secret, db: d, ring: ring, tokens: tokens, shared: tickets, wechat: client, pushed: make(chan struct{}, 1)}
}

// Ticket is what WeChat pushes every ten minutes, valid for TicketLife.
type Ticket struct {
	Value    seal.Secret
	Created  time.Time // by WeChat's clock
	Received time.Time // by ours
}

// sane is t, created when it was received where the time that it names cannot be: there is none, it lies before WeChat had components,
// or it is ahead of our clock by more than ticketAhead. Milliseconds for seconds would otherwise be newer than every ticket to come.
func (t Ticket) sane(now time.Time) Ticket {
	if t.Created.Before(ticketEpoch) || t.Created.After(now.Add(ticketAhead)) {
		t.Created = t.Received.Truncate(time.Second) // WeChat's times are whole seconds: the next ticket may come in this one
	}
	return t
}

// Keep stores a pushed ticket, unless a newer one is known. Where SQL cannot take it (db.ErrUnavailable) it is in the process and in Redis all the same.
func (c *Component) Keep(ctx context.Context, ticket Ticket) error {
	ticket = ticket.sane(time.Now())
	c.take(ticket)
	select {
	case c.pushed <- struct{}{}:
	default:
	}
	failpoint.Hit("ticket", "received")
	if err := c.saveTicket(ctx, ticket); err != nil {
		c.shared.Put(ctx, string(c.AppID), mirror.Versioned{Secret: ticket.Value, Version: ticket.Created.Unix(), Expires: ticket.Created.Add(TicketLife)})
		return fmt.Errorf("store the ticket: %w", err)
	}
	failpoint.Hit("ticket", "stored")
	return nil
}

// Refresh reads what another replica may have stored, from Redis while SQL is away. It fails with db.ErrUnavailable and keeps what is known.
func (c *Component) Refresh(ctx context.Context) error {
	ticket, err := c.loadTicket(ctx)
	if errors.Is(err, db.ErrNone) {
		return nil
	}
	if err != nil {
		c.seeShared(ctx)
		return fmt.Errorf("read the ticket: %w", err)
	}
	c.see(ticket.sane(time.Now()))
	return nil
}

func (c *Component) seeShared(ctx context.Context) {
	if v, ok := c.shared.Shared(ctx, string(c.AppID)); ok {
		created := time.Unix(v.Version, 0)
		if !created.After(time.Now().Add(ticketAhead)) { // an older build shared any
			c.see(Ticket{Value: v.Secret, Created: created, Received: created})
		}
	}
}

// take makes a ticket that was pushed now the newest, unless a later one is known.
func (c *Component) take(ticket Ticket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.newest.Value.IsZero() || !ticket.Created.Before(c.newest.Created) {
		c.newest = ticket
	}
}

// see is take for a ticket that was stored before, perhaps a moment before the newest one was pushed: of two of the same second the one pushed stays.
func (c *Component) see(ticket Ticket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.newest.Value.IsZero() || ticket.Created.After(c.newest.Created) {
		c.newest = ticket
	}
}

// Newest is the newest ticket that this process knows; its Value is zero where there is none.
func (c *Component) Newest() Ticket {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newest
}

// Token returns the component token, and asks WeChat for one only if none is usable. It fails with
// ErrNoTicket, db.ErrUnavailable, or an error of package wechat or token.
func (c *Component) Token(ctx context.Context) (token.Token, error) {
	return c.tokens.Get(ctx, c.AppID, &tokenRequest{c: c})
}

// Replace returns a component token that is newer than bad, which WeChat rejected. It fails as Token
// does, or with token.ErrLimited.
func (c *Component) Replace(ctx context.Context, bad token.Version) (token.Token, error) {
	return c.tokens.Replace(ctx, c.AppID, bad, &tokenRequest{c: c})
}

// lookForTicket reads the first ticket from SQL: another replica may have received it a moment ago.
func (c *Component) lookForTicket(ctx context.Context) {
	if c.Newest().Value.IsZero() {
		_ = c.Refresh(ctx)
	}
}

// Send sends call with the given component token, once.
func (c *Component) Send(ctx context.Context, with token.Token, call wechat.Call) (wechat.Answer, error) {
	call.As, call.Token = wechat.ComponentToken, with.Access
	return c.wechat.Do(ctx, call)
}

// Call sends call with the component token, and once more if WeChat rejected that token: a call that was rejected was not executed.
func (c *Component) Call(ctx context.Context, call wechat.Call) (wechat.Answer, error) {
	with, err := c.Token(ctx)
	if err != nil {
		return wechat.Answer{}, fmt.Errorf("component token: %w", err)
	}
	answer, err := c.Send(ctx, with, call)
	if !RejectsToken(err) {
		return answer, err
	}
	with, replacing := c.Replace(ctx, with.Version)
	if replacing != nil {
		return wechat.Answer{}, fmt.Errorf("replace the component token: %w", replacing)
	}
	return c.Send(ctx, with, call)
}

// RejectsToken reports whether WeChat refused a component call because of the component token.
func RejectsToken(err error) bool {
	return wechat.IsRejectedToken(err) || wechat.Refused(err) == wechat.ComponentTokenExpired
}
