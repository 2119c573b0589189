// Package relay makes every WeChat API of a merchant's account available to its tenant, at two
// doors: below /v1/authorizers/{appid}, and at WeChat's own paths for SDKs.
//
// The catalogue (catalogue.tsv) describes WeChat's APIs. What it does not list is relayed only for
// clients with the scope wechat:any. It stores nothing: while SQL or Redis is unavailable it works
// as long as package authorizer can admit the caller and has a token.
package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"wxplatform/authorizer"
	"wxplatform/wechat"
)

// Errors of a request that was not relayed. Nothing was sent to WeChat.
var (
	ErrUnknownAPI = errors.New("no relayed API of WeChat has this path")
	ErrNotRelayed = errors.New("this API is never relayed, because it needs or returns credentials of the platform")
	// ErrSwitchedOff says that the operator does not let anybody call the API.
	ErrSwitchedOff = errors.New("the operator switched this API off")
	// ErrLength says that a body of unknown length is too long to be kept and measured.
	ErrLength = errors.New("the body has no Content-Length and is over 1 MiB")
	// ErrTooLarge says that a body is over UploadLimit.
	ErrTooLarge = errors.New("the body is over 100 MB")
)

// ErrUnknownOutcome says that WeChat may or may not have done what a call that writes asked for.
var ErrUnknownOutcome = errors.New("it is not known whether WeChat acted")

// MethodError says that an API does not have the method that was used.
type MethodError struct{ Allowed []string }

// Error names the methods.
func (e *MethodError) Error() string {
	return "the API is called with " + strings.Join(e.Allowed, " or ")
}

// RefusalError is a refusal of WeChat's with the whole answer, because some refusals have members
// that a caller needs. It wraps the error that the refusal means.
type RefusalError struct {
	Answer wechat.Answer
	err    error
}

// Error returns the text of the wrapped error.
func (e *RefusalError) Error() string { return e.err.Error() }

// Unwrap returns the wrapped error.
func (e *RefusalError) Unwrap() error { return e.err }

// Refused returns err, as a *RefusalError if it is a refusal of WeChat's in answer.
func Refused(answer wechat.Answer, err error) error {
	if wechat.Refusal(err) == nil {
		return err
	}
	return &RefusalError{answer, err}
}

// Request is a call as its caller sent it.
type Request struct {
	API         API
	Query       string // raw, without the token
	ContentType string // "" if the caller sent none
	Header      []wechat.Field
	Body        []byte    // nil if there is none, or if it is an upload
	Upload      io.Reader // a body that is too large to be kept, or nil
	Length      int64     // of Upload
	// Check is wechat.Call.Read: whether an answer is one to this call. It may be nil.
	Check func(wechat.Object) (lacks string)
}

// Service relays calls to WeChat. It is safe for concurrent use.
type Service struct {
	// Disproved is told of an API whose call succeeded although the merchant granted none of the
	// permission sets that the catalogue guesses for it. It may be nil. Set it before the service is
	// used.
	Disproved func(API)

	authorizers *authorizer.Registry
}

// New makes a Service that calls WeChat with the tokens of authorizers.
func New(authorizers *authorizer.Registry) *Service { return &Service{authorizers: authorizers} }

// Need is what the API requires of its caller and of the account. Only documented facts refuse a
// call; a guess explains WeChat's refusal.
func (a API) Need() authorizer.Need {
	return authorizer.Need{Scope: a.Scope(), AnyOf: a.AnyOf, Guessed: a.Sets != Required, Official: a.onlyOfficial()}
}

// onlyOfficial reports whether WeChat's page says that mini programs do not have the API.
func (a API) onlyOfficial() bool {
	for _, kind := range a.Kinds {
		if kind != Subscription && kind != ServiceAccount {
			return false
		}
	}
	return a.KindsSure && len(a.Kinds) > 0 && a.Certainty == Documented
}

// known reports whether the catalogue lists the API.
func (a API) known() bool { return a.Family != "" || a.OperatorOnly }

// streams reports whether a request or an answer of the API may be large or binary.
func (a API) streams() bool {
	return a.Body == MultipartBody || a.Body == RawBody || a.Answer == EitherAnswer
}

// Whole reports whether an API takes and returns text that is kept in memory, and does not use up a
// code.
func (c *Catalogue) Whole(method, path string) bool {
	api, found := c.Find(method, path)
	return found && !api.streams() && !api.SingleUse
}

// Call relays a request to WeChat, and returns WeChat's answer as it came. It fails like
// authorizer.Registry.Begin and authorizer.Turn.Call, with wechat.ErrBody, with a *RefusalError, or
// with ErrUnknownOutcome after a call that writes or uses up a code. If the answer has a Stream,
// the caller closes it and then calls end; otherwise end has been called.
func (s *Service) Call(ctx context.Context, a authorizer.Admitted, r Request) (answer wechat.Answer, end func(), err error) {
	begin := s.authorizers.Begin
	if r.streams() {
		begin = s.authorizers.BeginStream
	}
	t, err := begin(ctx, a)
	if err != nil {
		return wechat.Answer{}, func() {}, err
	}
	answer, err = t.Call(ctx, r.Sent())
	if err == nil && s.Disproved != nil && r.API.isDisproved(a.PermissionSets) {
		s.Disproved(r.API)
	}
	if answer.Stream != nil && err == nil {
		return answer, t.End, nil
	}
	t.End()
	return answer, func() {}, r.meaning(answer, err)
}

// streams reports whether the request or its answer may be large or binary.
func (r Request) streams() bool { return r.API.streams() || r.Upload != nil }

// isDisproved reports whether a success with these sets shows that the guessed ones are not needed.
func (a API) isDisproved(granted wechat.PermissionSets) bool {
	return a.Sets == Guessed && len(granted) > 0 && !granted.HasAny(a.AnyOf)
}

// Sent describes the request to package wechat. A call that uses up a code is sent like an upload,
// which is never repeated.
func (r Request) Sent() wechat.Call {
	call := wechat.Call{
		Method: r.API.Method, Path: r.API.Path, Query: r.Query, Header: r.Header,
		ContentType: r.ContentType, Body: r.Body, Upload: r.Upload, UploadLength: r.Length,
		Streamed: r.streams(), Repeatable: !r.API.Write && r.API.Safe && !r.API.SingleUse,
		Read: r.Check,
	}
	if r.ContentType == "" {
		call.ContentType = wechat.NoContentType
	}
	if !r.API.known() {
		call.Name = "uncatalogued"
	}
	if r.API.SingleUse && r.Body != nil {
		call.Body, call.Upload, call.UploadLength, call.Streamed = nil, bytes.NewReader(r.Body), int64(len(r.Body)), true
	}
	return call
}

// meaning adds to a failed call what the caller needs: the whole refusal, or that a write may have
// been done.
func (r Request) meaning(answer wechat.Answer, err error) error {
	switch {
	case err == nil || errors.Is(err, wechat.ErrBody):
		return err
	case wechat.MayHaveActed(err) && (r.API.Write || r.API.SingleUse):
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return Refused(answer, err)
}
