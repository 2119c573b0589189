// Package session is what we do: the customer-service sessions of an authorizer, and above all closing one.
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

// How a close can end besides the refusals of WeChat.
var (
	ErrUnknownOutcome  = errors.New("nobody knows whether the session was closed") // and sending again could close a new one
	ErrStillOpen       = errors.New("WeChat did not close the session")            // nothing happened, so it may be sent again
	ErrServedByAnother = errors.New("another kf account is serving the customer")  // 65414, found by asking
	granting           = []wechat.PermissionSet{1, 6, 100, 101}                    // any one suffices (wechat-protocol §5.1)
)

// Outcome is how a session came to be closed.
type Outcome int

// A session is Closed when WeChat said so, Inferred when its answer was lost and getsession shows that the session has ended.
const (
	Closed Outcome = iota + 1
	Inferred
)

// clockSlack is how far createtime and our reckoning of WeChat's clock may be apart; within it nobody knows which was first.
const clockSlack = 5 * time.Second

// Session is who serves a customer since when; KFAccount is "" when nobody does.
type Session struct {
	KFAccount wechat.KFAccount
	Created   time.Time // by WeChat's clock, whole seconds
}

// Service reads, opens and closes customer-service sessions. It is safe for concurrent use.
type Service struct{ authorizers *authorizer.Registry }

// New makes a Service that calls WeChat with the tokens of authorizers.
func New(authorizers *authorizer.Registry) *Service { return &Service{authorizers} }

// Close ends the session that kf has with the customer. Whether it may be closed was settled by Admit; what is left is to do it, and to find out when the answer got lost.
// It fails with WeChat's refusal, ErrUnknownOutcome, ErrStillOpen or ErrServedByAnother.
func (s *Service) Close(ctx context.Context, a authorizer.Admitted, p Pair) (Outcome, error) {
	sent := time.Now()
	_, err := s.authorizers.Call(ctx, a, closeSession(p))
	failpoint.Hit("session", "sent")
	if wechat.MayHaveActed(err) {
		return s.settle(ctx, a, p, sent)
	}
	if err != nil {
		return 0, fmt.Errorf("close a session of %s: %w", a.AppID, err)
	}
	return Closed, nil
}

// settle finds out with getsession what became of a close whose answer was lost, and sends it once more only if the very session is still there.
func (s *Service) settle(ctx context.Context, a authorizer.Admitted, p Pair, sent time.Time) (Outcome, error) {
	found, err := s.look(ctx, a, p, sent)
	if err != nil || found == gone {
		return Inferred, err
	}
	_, err = s.authorizers.Call(ctx, a, closeSession(p))
	switch {
	case err == nil:
		return Closed, nil
	case wechat.Refused(err) == wechat.NoSession:
		return Inferred, nil
	case !wechat.MayHaveActed(err):
		return 0, fmt.Errorf("close a session of %s again: %w", a.AppID, err)
	}
	found, err = s.look(ctx, a, p, sent)
	if err == nil && found == there {
		return 0, ErrStillOpen
	}
	return Inferred, err
}

type finding int

const (
	gone finding = iota + 1
	there
)

func (s *Service) look(ctx context.Context, a authorizer.Admitted, p Pair, sent time.Time) (finding, error) {
	now, at, err := s.current(ctx, a, p.OpenID)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	if !at.IsZero() {
		at = at.Add(-time.Since(sent))
	}
	return now.became(sameAgent(a.Profile, p.KFAccount, now.KFAccount), at)
}

// became says what became of the session that a kf account had when a close was sent at the given
// time of WeChat's clock, for s is what there is now, and same says whether that account serves it.
// Our clock may be wrong and a new session must not be closed, so only sessions that are clearly
// older or newer than the send decide.
func (s Session) became(same bool, sent time.Time) (finding, error) {
	if s.KFAccount == "" {
		return gone, nil
	}
	if sent.IsZero() || s.Created.IsZero() {
		return 0, ErrUnknownOutcome
	}
	switch {
	case s.Created.After(sent.Add(clockSlack)):
		return gone, nil
	case !s.Created.Before(sent.Add(-clockSlack)):
		return 0, ErrUnknownOutcome
	case !same:
		return 0, ErrServedByAnother
	}
	return there, nil
}

// sameAgent reports whether two names are one kf account of the account with this profile: WeChat
// names it prefix@alias or prefix@gh_…, in either case of letters (wechat-protocol §5.0).
func sameAgent(of authorizer.Profile, one, other wechat.KFAccount) bool {
	prefix, suffix, _ := strings.Cut(string(one), "@")
	otherPrefix, otherSuffix, _ := strings.Cut(string(other), "@")
	return strings.EqualFold(prefix, otherPrefix) &&
		(strings.EqualFold(suffix, otherSuffix) || names(of, suffix) && names(of, otherSuffix))
}

func names(of authorizer.Profile, suffix string) bool {
	return suffix != "" && (strings.EqualFold(suffix, of.Alias) || strings.EqualFold(suffix, string(of.UserName)))
}

// Create opens a session between kf and the customer. An unknown outcome is repeated once, and may be repeated by the caller too, for the same two in session is success (wechat-protocol §5.1).
// It fails with an error of the wire.
func (s *Service) Create(ctx context.Context, a authorizer.Admitted, p Pair) error {
	_, err := s.authorizers.Call(ctx, a, createSession(p))
	if wechat.MayHaveActed(err) {
		err = again(err, func() error { _, err := s.authorizers.Call(ctx, a, createSession(p)); return err })
	}
	if err != nil {
		return fmt.Errorf("create a session of %s: %w", a.AppID, err)
	}
	return nil
}

// again is how a call ended whose outcome was unknown and that was sent once more: where the second
// one was not sent, the outcome is still that of the first.
func again(first error, send func() error) error {
	second := send()
	if wechat.NotSent(second) {
		return first
	}
	return second
}
