// Package session opens, reads and closes the customer-service sessions of merchants' accounts.
//
// It stores nothing: WeChat keeps the sessions. While SQL or Redis is unavailable it works as long
// as package authorizer can admit the caller and has a token.
package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"wxplatform/authorizer"
	"wxplatform/internal/failpoint"
	"wxplatform/wechat"
)

// What Close can fail with, besides a refusal of WeChat.
var (
	// ErrUnknownOutcome says that the session may or may not have been closed. Sending the close again
	// could close a newer session.
	ErrUnknownOutcome = errors.New("it is not known whether the session was closed")
	// ErrStillOpen says that WeChat did not close the session; the close may be sent again.
	ErrStillOpen = errors.New("WeChat did not close the session")
	// ErrServedByAnother says what errcode 65414 says, found out with getsession.
	ErrServedByAnother = errors.New("another kf account is serving the customer")
)

// Outcome is how a session came to be closed.
type Outcome int

// A session is Closed if WeChat said so, and Inferred to be closed if WeChat's answer was lost and
// getsession shows that the session has ended.
const (
	Closed Outcome = iota + 1
	Inferred
)

// clockSlack is by how much a session's createtime and our estimate of WeChat's clock may differ.
// Within it, the order of two events is not known.
const clockSlack = 5 * time.Second

// Session says who serves a customer and since when. KFAccount is "" if nobody does.
type Session struct {
	KFAccount wechat.KFAccount
	Created   time.Time // by WeChat's clock, in whole seconds; zero if WeChat did not say
}

// Service reads, opens and closes customer-service sessions. It is safe for concurrent use.
type Service struct{ authorizers *authorizer.Registry }

// New makes a Service that calls WeChat with the tokens of authorizers.
func New(authorizers *authorizer.Registry) *Service { return &Service{authorizers} }

// Close ends the session between a kf account and a customer. If WeChat's answer is lost, Close
// finds out with getsession what happened, and sends the close once more only if the same session
// is still open. It fails like authorizer.Registry.Begin and authorizer.Turn.Call, and with
// ErrUnknownOutcome, ErrStillOpen or ErrServedByAnother.
func (s *Service) Close(ctx context.Context, a authorizer.Admitted, p Pair) (Outcome, error) {
	t, err := s.authorizers.Begin(ctx, a)
	if err != nil {
		return 0, err
	}
	defer t.End()
	sent := time.Now()
	err = call(ctx, t, closeSession(p))
	failpoint.Hit("session", "sent")
	switch {
	case wechat.MayHaveActed(err):
		return settle(ctx, t, p, sent)
	case err != nil:
		return 0, fmt.Errorf("close a session of %s: %w", a.AppID, err)
	}
	return Closed, nil
}

// answeredError is a refusal of WeChat's with its answer, which an SDK gets as it came.
type answeredError struct {
	error
	answer wechat.Answer
}

// Unwrap returns the refusal.
func (e *answeredError) Unwrap() error { return e.error }

// call makes a call of the turn, and keeps the answer if WeChat refuses.
func call(ctx context.Context, t authorizer.Turn, c wechat.Call) error {
	answer, err := t.Call(ctx, c)
	if wechat.Refusal(err) == nil {
		return err
	}
	return &answeredError{err, answer}
}

// settle finds out what became of a close whose answer was lost, and sends it once more if the same
// session is still open.
func settle(ctx context.Context, t authorizer.Turn, p Pair, sent time.Time) (Outcome, error) {
	found, err := look(ctx, t, p, sent)
	if err != nil {
		return 0, err
	}
	if found == ended {
		return Inferred, nil
	}
	err = call(ctx, t, closeSession(p).Again())
	next, err := settled(err)
	switch {
	case err != nil:
		return 0, fmt.Errorf("close a session of %s again: %w", t.AppID, err)
	case next != 0:
		return next, nil
	}
	found, err = look(ctx, t, p, sent)
	if err != nil {
		return 0, err
	}
	if found == stillOpen {
		return 0, ErrStillOpen
	}
	return Inferred, nil
}

// settled says what the second close of a session settles, given the error it ended with. An
// outcome of 0 without an error says that the answer was lost again.
func settled(second error) (Outcome, error) {
	switch {
	case second == nil:
		return Closed, nil
	case wechat.Refused(second) == wechat.NoSession: // the first one closed it
		return Inferred, nil
	case wechat.MayHaveActed(second):
		return 0, nil
	}
	return 0, second
}

// finding is what getsession shows about the session that a lost close was sent for.
type finding int

const (
	ended finding = iota + 1
	stillOpen
)

// look asks WeChat what became of the session of p, whose close was sent at the given time of this
// process. It fails with ErrUnknownOutcome or ErrServedByAnother.
func look(ctx context.Context, t authorizer.Turn, p Pair, sent time.Time) (finding, error) {
	now, at, err := current(ctx, t, p.OpenID)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	if !at.IsZero() {
		at = at.Add(-time.Since(sent)) // when it was sent, by WeChat's clock
	}
	return now.became(sameKFAccount(t.Profile, p.KFAccount, now.KFAccount), at)
}

// became says what became of the session that a kf account had when a close was sent at the given
// time of WeChat's clock. s is the session there is now, and same says whether that kf account
// serves it. A newer session must not be closed, so only a session that is clearly older or clearly
// newer than the close decides.
func (s Session) became(same bool, sent time.Time) (finding, error) {
	if s.KFAccount == "" {
		return ended, nil
	}
	if sent.IsZero() || s.Created.IsZero() {
		return 0, ErrUnknownOutcome
	}
	switch {
	case s.Created.After(sent.Add(clockSlack)):
		return ended, nil
	case !s.Created.Before(sent.Add(-clockSlack)):
		return 0, ErrUnknownOutcome
	case !same:
		return 0, ErrServedByAnother
	}
	return stillOpen, nil
}

// sameKFAccount reports whether two names mean the same kf account of the account with this
// profile. WeChat names it prefix@alias or prefix@gh_…, in either case of letters (docs/wechat.md,
// "Customer-service calls").
func sameKFAccount(of authorizer.Profile, one, other wechat.KFAccount) bool {
	prefix, suffix, _ := strings.Cut(string(one), "@")
	otherPrefix, otherSuffix, _ := strings.Cut(string(other), "@")
	return strings.EqualFold(prefix, otherPrefix) &&
		(strings.EqualFold(suffix, otherSuffix) || names(of, suffix) && names(of, otherSuffix))
}

// names reports whether the suffix of a kf account is a name of the account with this profile.
func names(of authorizer.Profile, suffix string) bool {
	return suffix != "" && (strings.EqualFold(suffix, of.Alias) || strings.EqualFold(suffix, string(of.UserName)))
}

// Create opens a session between a kf account and a customer. If WeChat's answer is lost, Create
// sends it once more, which is harmless: WeChat answers ok for a session that these two have
// already (docs/wechat.md, "Customer-service sessions"). It fails like
// authorizer.Registry.Begin and authorizer.Turn.Call.
func (s *Service) Create(ctx context.Context, a authorizer.Admitted, p Pair) error {
	t, err := s.authorizers.Begin(ctx, a)
	if err != nil {
		return err
	}
	defer t.End()
	err = call(ctx, t, createSession(p))
	if wechat.MayHaveActed(err) {
		err = again(err, func() error {
			err := call(ctx, t, createSession(p).Again())
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("create a session of %s: %w", a.AppID, err)
	}
	return nil
}

// again repeats a call whose outcome was unknown, and returns the error of both. If the second one
// was not sent, or there was no token for it, the outcome is still that of the first.
func again(first error, send func() error) error {
	second := send()
	if wechat.NotSent(second) || errors.Is(second, authorizer.ErrNoToken) {
		return first
	}
	return second
}
