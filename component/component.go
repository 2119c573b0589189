// Package component keeps the third-party platform's own credentials at WeChat: it stores the
// ticket that WeChat pushes, gets the component token with it, and sends calls with that token.
//
// Package inbox calls Keep for a pushed ticket, and every package that calls WeChat as the
// component calls it through here. While SQL is unavailable, tickets are kept in memory and in
// Redis, and the last component token is used until it expires.
package component

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/failpoint"
	"wxplatform/internal/mirror"
	"wxplatform/internal/seal"
	"wxplatform/internal/trace"
	"wxplatform/token"
	"wxplatform/wechat"
)

// ErrNoTicket means that WeChat has not pushed a ticket yet. Nothing can be requested before it
// does.
var ErrNoTicket = errors.New("no component_verify_ticket yet")

// ErrUnopened means that the stored ticket cannot be decrypted: its row was corrupted. The next
// ticket that WeChat pushes replaces it.
var ErrUnopened = errors.New("the stored ticket does not open")

// ErrTokenReplaced means that WeChat rejected the component token, which is replaced now. WeChat
// did nothing, so the same call may be made again.
var ErrTokenReplaced = errors.New("WeChat rejected the component token, which is replaced now")

// TicketLife is how long a ticket is valid (docs/wechat.md, "Component verify ticket").
const TicketLife = 12 * time.Hour

// ticketAhead is the largest clock skew that is accepted, with WeChat's clock ahead of ours.
const ticketAhead = 10 * time.Minute

// Component is the third-party platform that this program runs. It is safe for concurrent use.
type Component struct {
	AppID wechat.AppID

	secret seal.Secret
	db     *db.DB
	ring   *seal.Ring
	tokens *token.Store
	shared *mirror.Newest // the ticket in Redis, for when SQL cannot take it
	wechat *wechat.Client
	pushed chan struct{} // wakes the keeper: nothing can be requested before the first ticket

	mu     sync.Mutex
	newest Ticket // the newest that this process has seen, used also while SQL is unavailable
}

// New returns the component appid with its secret. tokens stores its token, and tickets holds its
// ticket while SQL is unavailable.
func New(appid wechat.AppID, secret seal.Secret, d *db.DB, ring *seal.Ring, tokens *token.Store, tickets *mirror.Newest, client *wechat.Client) *Component {
	return &Component{AppID: appid, secret: secret, db: d, ring: ring, tokens: tokens, shared: tickets, wechat: client, pushed: make(chan struct{}, 1)}
}

// Ticket is what WeChat pushes every ten minutes, valid for TicketLife.
type Ticket struct {
	Value    seal.Secret
	Created  time.Time // by WeChat's clock
	Received time.Time // by ours
}

// plausible returns t, with Created replaced by the time of receipt if it cannot be true: there is
// none, the ticket would have been dead when it came, or it is ahead of our clock by more than
// ticketAhead. Otherwise a time in milliseconds would be newer than every ticket to come, and
// tickets whose time stands still would all be older than the last good one, which dies.
func (t Ticket) plausible(now time.Time) Ticket {
	if t.Created.Before(t.Received.Add(-TicketLife)) || t.Created.After(now.Add(ticketAhead)) {
		t.Created = t.Received.Truncate(time.Second) // WeChat's times are whole seconds, and the next ticket may come in this one
	}
	return t
}

// Keep stores a pushed ticket, unless a newer one is known. If SQL cannot store it
// (db.ErrUnavailable), it is still kept in memory and in Redis.
func (c *Component) Keep(ctx context.Context, ticket Ticket) error {
	ticket = ticket.plausible(time.Now())
	c.takePushed(ticket)
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

// Refresh reads a ticket that another replica may have stored. If SQL is unavailable or the row
// cannot be decrypted, it takes a newer ticket from Redis, and returns db.ErrUnavailable or
// ErrUnopened.
func (c *Component) Refresh(ctx context.Context) error {
	ticket, err := c.loadTicket(ctx)
	if errors.Is(err, db.ErrNone) {
		return nil
	}
	if err != nil {
		c.readShared(ctx)
		return fmt.Errorf("read the ticket: %w", err)
	}
	c.takeStored(ticket.plausible(time.Now()))
	return nil
}

func (c *Component) readShared(ctx context.Context) {
	if v, ok := c.shared.Shared(ctx, string(c.AppID)); ok {
		created := time.Unix(v.Version, 0)
		if !created.After(time.Now().Add(ticketAhead)) { // Redis may hold a ticket with an implausible time
			c.takeStored(Ticket{Value: v.Secret, Created: created, Received: created})
		}
	}
}

// takePushed makes a ticket that was just pushed the newest, unless a later one is known.
func (c *Component) takePushed(ticket Ticket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.newest.Value.IsZero() || !ticket.Created.Before(c.newest.Created) {
		c.newest = ticket
	}
}

// takeStored is takePushed for a stored ticket. Of two tickets of the same second the pushed one
// stays, because the stored one may be older.
func (c *Component) takeStored(ticket Ticket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.newest.Value.IsZero() || ticket.Created.After(c.newest.Created) {
		c.newest = ticket
	}
}

// Newest returns the newest ticket that this process knows. Its Value is zero if there is none.
func (c *Component) Newest() Ticket {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newest
}

// Token returns the component token, and asks WeChat for one only if none is usable. It fails with
// ErrNoTicket, db.ErrUnavailable, or an error of package wechat or token.
func (c *Component) Token(ctx context.Context) (token.Token, error) {
	ctx, span := trace.Begin(ctx, trace.ComponentToken)
	got, err := c.tokens.Get(ctx, c.AppID, &tokenRequest{c: c})
	span.End(err != nil)
	return got, err
}

// Replace returns a component token that is newer than bad, which WeChat rejected. It fails as
// Token does, or with token.ErrLimited.
func (c *Component) Replace(ctx context.Context, bad token.Version) (token.Token, error) {
	ctx, span := trace.Begin(ctx, trace.ComponentToken)
	got, err := c.tokens.Replace(ctx, c.AppID, bad, &tokenRequest{c: c})
	span.End(err != nil)
	return got, err
}

// lookForTicket reads the first ticket from SQL: another replica may have received it a moment ago.
func (c *Component) lookForTicket(ctx context.Context) {
	if c.Newest().Value.IsZero() {
		_ = c.Refresh(ctx)
	}
}

// send sends call with the token. As may be wechat.ComponentTokenForTenant.
func (c *Component) send(ctx context.Context, with token.Token, call wechat.Call) (wechat.Answer, error) {
	call.As, call.Token = cmp.Or(call.As, wechat.ComponentToken), with.Access
	return c.wechat.Do(ctx, call)
}

// Call sends call with the component token, and once more if WeChat rejected that token: it did not
// execute a call that it rejected.
func (c *Component) Call(ctx context.Context, call wechat.Call) (wechat.Answer, error) {
	with, err := c.Token(ctx)
	if err != nil {
		return wechat.Answer{}, fmt.Errorf("component token: %w", err)
	}
	answer, err := c.send(ctx, with, call)
	if !RejectsToken(err) {
		return answer, err
	}
	with, replacing := c.Replace(ctx, with.Version)
	if replacing != nil {
		return wechat.Answer{}, fmt.Errorf("replace the component token: %w", replacing)
	}
	return c.send(ctx, with, call.Again())
}

// CallOnce is Call for what is never sent twice, such as a code that can be used once. If WeChat
// rejected the token, CallOnce replaces it and fails with ErrTokenReplaced.
func (c *Component) CallOnce(ctx context.Context, call wechat.Call) (wechat.Answer, error) {
	with, err := c.Token(ctx)
	if err != nil {
		return wechat.Answer{}, fmt.Errorf("component token: %w", err)
	}
	answer, err := c.send(ctx, with, call)
	if !RejectsToken(err) {
		return answer, err
	}
	if _, replacing := c.Replace(ctx, with.Version); replacing != nil {
		return wechat.Answer{}, fmt.Errorf("replace the component token: %w", replacing)
	}
	return answer, fmt.Errorf("%w: %w", ErrTokenReplaced, err)
}

// RejectsToken reports whether WeChat refused a component call because of the component token.
func RejectsToken(err error) bool {
	return wechat.IsRejectedToken(err) || wechat.Refused(err) == wechat.ComponentTokenExpired
}
