// Package inbox receives WeChat's pushes: it decrypts and checks them, stores the events, and hands
// each to the package that it concerns.
//
// WeChat calls its two routes, and serve calls Run. While SQL is unavailable a push is answered
// with an error, never with success, so that WeChat repeats it; a ticket is kept all the same.
package inbox

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"wxplatform/authorizer"
	"wxplatform/component"
	"wxplatform/internal/db"
	"wxplatform/internal/queue"
	"wxplatform/internal/seal"
	"wxplatform/invitation"
	"wxplatform/wechat"
)

// ErrNotAuthentic says that a push is not WeChat's, is for another component, or has a wrong
// timestamp. Such a push changes nothing.
var ErrNotAuthentic = errors.New("push is not authentic")

// ErrClock says that a push is authentic except for its timestamp, which is more than ten minutes
// off. WeChat's clock or ours may be wrong.
var ErrClock = fmt.Errorf("%w: its timestamp is more than 10 minutes off", ErrNotAuthentic)

// DefaultKeepDone is the default of Inbox.KeepDone.
const DefaultKeepDone = 24 * time.Hour

const timestampSlack = 10 * time.Minute

// Inbox receives, stores and handles WeChat's pushes. It is safe for concurrent use.
type Inbox struct {
	Counts Counts
	// KeepDone is how long an event that was handled is kept, so that a repeated push is recognized.
	// It is set before the first call.
	KeepDone time.Duration

	appid       wechat.AppID
	envelope    *wechat.Envelope
	db          *db.DB
	ring        *seal.Ring // encrypts the stored events
	component   *component.Component
	invitations *invitation.Service
	authorizers *authorizer.Registry
	releaseTest bool
	queue       *queue.Queue[event]
}

// New makes the inbox of the component c, whose pushes envelope decrypts. If releaseTest is set,
// the inbox answers WeChat's release test (docs/wechat.md, "Release test").
func New(
	envelope *wechat.Envelope, d *db.DB, ring *seal.Ring, c *component.Component,
	invitations *invitation.Service, authorizers *authorizer.Registry, releaseTest bool,
) *Inbox {
	b := &Inbox{
		Counts:   Counts{refused: noneRefused()},
		KeepDone: DefaultKeepDone,
		appid:    c.AppID,
		envelope: envelope,
		db:       d, ring: ring,
		component: c, invitations: invitations, authorizers: authorizers,
		releaseTest: releaseTest,
	}
	b.queue = queue.New(events{b}, atOnce, round, patience)
	return b
}

// open decrypts the message in a push, or fails with ErrNotAuthentic.
func (b *Inbox) open(p wechat.Push) ([]byte, error) {
	message, err := b.envelope.Open(p)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotAuthentic, err)
	}
	if !recent(p.Timestamp, time.Now()) {
		return nil, ErrClock
	}
	b.Counts.authentic.Store(time.Now().UnixNano())
	return message, nil
}

// recent reports whether the timestamp of a push is within ten minutes of now. The signature covers
// timestamp and nonce without a separator, so only a timestamp in WeChat's own form, ten digits, is
// believed: a longer one may hold part of the nonce.
func recent(timestamp string, now time.Time) bool {
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || len(timestamp) != 10 {
		return false
	}
	return now.Sub(time.Unix(seconds, 0)).Abs() <= timestampSlack
}

// The events that are acted on (docs/wechat.md, "Authorization events"). The last is about a mini
// program that was registered through this component.
const (
	ticketPushed = "component_verify_ticket"
	authorized   = "authorized"
	updated      = "updateauthorized"
	withdrawn    = "unauthorized"
	registered   = "notify_third_fasteregister"
)

// notice is the content of a push: a component event, or a message of WeChat's release test. Fields
// that the push does not have are empty.
type notice struct {
	AppID           wechat.AppID // the component's
	CreateTime      string
	InfoType        string
	Ticket          string
	AuthorizerAppID wechat.AppID
	Code            string
	PreAuthCode     string
	Status          string // of a registration
	message                // events and messages share no field
}

// read takes the fields that are needed from a decrypted push, and ignores the rest.
func read(plain []byte) notice {
	fields := wechat.ParsePush(plain)
	n := notice{
		AppID:           wechat.AppID(fields.Text("AppId")),
		CreateTime:      fields.Text("CreateTime"),
		InfoType:        fields.Text("InfoType"),
		Ticket:          fields.Text("ComponentVerifyTicket"),
		AuthorizerAppID: wechat.AppID(fields.Text("AuthorizerAppid")),
		Code:            fields.Text("AuthorizationCode"),
		PreAuthCode:     fields.Text("PreAuthCode"),
		message:         readMessage(fields),
	}
	if n.InfoType == registered { // this event has names of its own for its fields
		n.AuthorizerAppID = wechat.AppID(fields.Text("appid"))
		n.Code, n.Status = fields.Text("auth_code"), fields.Text("status")
	}
	return n
}

// action is what a push asks for.
type action int

const (
	nothing action = iota
	keepTicket
	exchangeCode // or read the profile again, if there is no code
	endAuthorization
	answerTester
)

// action says what a push asks for, by its type alone.
func (n notice) action() action {
	if n.Type != "" {
		return answerTester
	}
	switch n.InfoType {
	case ticketPushed:
		return keepTicket
	case authorized, updated, registered:
		return exchangeCode
	case withdrawn:
		return endAuthorization
	}
	return nothing
}

// ignored says why an authentic event changes nothing, or "".
func (n notice) ignored() Reason {
	switch {
	case n.InfoType == registered && (n.Code == "" || !isZero(n.Status)):
		return NotRegistered
	case !n.AuthorizerAppID.Plausible():
		return BadAppID
	}
	return ""
}

// isZero reports whether a status is WeChat's success. A missing status counts as success.
func isZero(status string) bool {
	number, err := strconv.ParseFloat(status, 64)
	return status == "" || err == nil && number == 0
}

// of reports whether n is an event of this component. A message is not an event, whatever the
// customer wrote into it: WeChat puts the type of a message before its text.
func (n notice) of(component wechat.AppID) bool { return n.AppID == component && n.Type == "" }

// pushAge is far more than the time for which WeChat repeats a push.
const pushAge = 24 * time.Hour

// created is when WeChat made the push. It is zero if CreateTime is not a number, is more than ten
// minutes after received, or more than a day before it. A time in milliseconds would be after
// everything that it is compared with, and one of years ago before everything.
func (n notice) created(received time.Time) time.Time {
	seconds, err := strconv.ParseInt(n.CreateTime, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return wechat.PlausibleTime(seconds, received.Add(-pushAge), received.Add(timestampSlack))
}

// Component receives a push to the authorization-event URL. It keeps a ticket at once, and stores
// every other event sealed, to be handled later. It fails with ErrNotAuthentic, or with
// db.ErrUnavailable if the event could not be stored: WeChat must not be told success then.
func (b *Inbox) Component(ctx context.Context, p wechat.Push) error {
	message, err := b.open(p)
	if err != nil {
		return err
	}
	n := read(message)
	if !n.of(b.appid) {
		return fmt.Errorf("%w: %w", ErrNotAuthentic, errContent)
	}
	switch n.action() {
	case keepTicket:
		return b.ticket(ctx, n)
	case exchangeCode, endAuthorization:
		return b.event(ctx, n, message)
	}
	b.Counts.Unknown.Add(1)
	return nil
}

// event stores an event, unless it changes nothing.
func (b *Inbox) event(ctx context.Context, n notice, message []byte) error {
	if why := n.ignored(); why != "" {
		b.Counts.Unknown.Add(1)
		b.Counts.refuse(why)
		return nil
	}
	b.Counts.Events.Add(1)
	return b.store(ctx, n.AuthorizerAppID, message)
}

// ticket keeps a ticket. If SQL is unavailable, the process goes on with the ticket in memory, and
// WeChat pushes the next one in ten minutes.
func (b *Inbox) ticket(ctx context.Context, n notice) error {
	if n.Ticket == "" {
		b.Counts.Unknown.Add(1)
		return nil
	}
	b.Counts.Tickets.Add(1)
	now := time.Now()
	ticket := component.Ticket{Value: seal.NewSecret(n.Ticket), Created: n.created(now), Received: now}
	err := b.component.Keep(ctx, ticket)
	if errors.Is(err, db.ErrUnavailable) {
		return nil
	}
	return err
}

// Message receives a push to the message URL of the account that the path names, and counts it. It
// returns what to answer to WeChat: success, or a reply to WeChat's release test. It fails with
// ErrNotAuthentic, or with db.ErrUnavailable if a message of the test could not be stored.
func (b *Inbox) Message(ctx context.Context, path wechat.AppID, p wechat.Push) (answer []byte, err error) {
	plain, err := b.open(p)
	if err != nil {
		return nil, err
	}
	m := read(plain).message
	if m.To == "" || m.Type == "" {
		b.Counts.Unknown.Add(1)
		return success, nil
	}
	b.Counts.Messages.Add(1)
	if !b.releaseTest || !m.fromTester(path) {
		return success, nil
	}
	reply, later := m.release()
	switch {
	case reply != "":
		return b.passive(m, reply), nil
	case later:
		return nil, b.store(ctx, "", plain) // an empty answer: the reply is sent by another call
	}
	return success, nil
}

// success is the answer that WeChat expects to a push. If it gets another one it repeats a message,
// and raises an alarm for an event (docs/wechat.md, "Component verify ticket").
var success = []byte("success")

// handle does what a stored push asks for; received is when it came. If it fails, it is tried
// again.
func (b *Inbox) handle(ctx context.Context, n notice, received time.Time) error {
	what := n.action()
	if what == answerTester {
		return b.answerQuery(ctx, n.message)
	}
	if n.ignored() != "" {
		return nil // stored by an older version
	}
	switch what {
	case exchangeCode:
		return b.invitations.Authorized(ctx, n.authorization(received))
	case endAuthorization:
		return b.authorizers.Withdrawn(ctx, n.AuthorizerAppID)
	}
	return nil
}

func (n notice) authorization(received time.Time) invitation.Event {
	return invitation.Event{
		AppID: n.AuthorizerAppID, Code: seal.NewSecret(n.Code), PreAuthCode: seal.NewSecret(n.PreAuthCode),
		Created: n.created(received),
	}
}
