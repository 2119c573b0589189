package wechat

import (
	"errors"
	"fmt"
	"regexp"
)

// Code is an errcode of WeChat's.
type Code int

// The codes that this module acts on (docs/wechat.md, "Error codes"). What each one causes is said
// where it is used.
const (
	OutcomeUnknown        Code = -1000
	Busy                  Code = -1    // a system error
	InvalidCredential     Code = 40001 // the token was replaced, or is of the wrong kind
	InvalidOpenID         Code = 40003
	InvalidToken          Code = 40014
	InvalidSecret         Code = 40125
	TokenExpired          Code = 42001
	ComponentTokenExpired Code = 42006
	PasswordChanged       Code = 42007 // access and refresh token are both invalid
	DayQuota              Code = 45009
	MinuteQuota           Code = 45011
	Unauthorized          Code = 48001 // the account does not have the API
	KFSystemError         Code = 61450 // the system error of the older APIs
	NotAuthorized         Code = 61003 // not authorized to this component, perhaps only for a moment
	UnknownAddress        Code = 61004 // our IP address is not on the component's list
	TicketExpired         Code = 61005
	TicketInvalid         Code = 61006
	NotGranted            Code = 61007 // the merchant did not grant the permission set
	AuthCodeInvalid       Code = 61009
	AuthCodeExpired       Code = 61010
	RefreshTokenInvalid   Code = 61023
	InvalidComponent      Code = 61011
	NoSession             Code = 65413
	ServedByAnother       Code = 65414
)

type outcome int

const (
	unknown outcome = iota // WeChat may have acted
	notSent                // no byte left this machine
	refused                // WeChat refused, with a code
)

// Error says why a call failed. It holds no URL, no header and no body, because those carry tokens.
type Error struct {
	Code   Code   // WeChat's errcode, or 0; with Busy, KFSystemError or OutcomeUnknown it may have acted
	Msg    string // WeChat's errmsg without its request id; at most 256 characters
	RID    string // WeChat's request id, if it sent one
	path   string
	result outcome
	cause  error
}

// Error returns which call failed and why, without secrets.
func (e *Error) Error() string {
	switch e.result {
	case refused:
		return fmt.Sprintf("wechat %s: refused with %d %s (rid %s)", e.path, e.Code, e.Msg, e.RID)
	case notSent:
		return fmt.Sprintf("wechat %s: not sent: %v", e.path, e.cause)
	default:
		return fmt.Sprintf("wechat %s: outcome unknown: %v", e.path, e.cause)
	}
}

// Unwrap returns why the call was not sent or its outcome is unknown, or nil if it was refused.
func (e *Error) Unwrap() error { return e.cause }

// Refusal returns the *Error in err if WeChat definitely refused the call, or nil.
func Refusal(err error) *Error {
	if e := asError(err); e != nil && e.result == refused {
		return e
	}
	return nil
}

// Refused returns the code with which WeChat definitely refused the call, or 0.
func Refused(err error) Code {
	if e := Refusal(err); e != nil {
		return e.Code
	}
	return 0
}

// NotSent reports whether the call failed before a byte of it left this machine.
func NotSent(err error) bool {
	e := asError(err)
	return e != nil && e.result == notSent
}

// MayHaveActed reports whether WeChat may have done what the call asked although it failed: a
// time-out or a lost connection after the first byte, the codes -1, 61450 and -1000, a status other
// than 200, or an answer that cannot be read or lacks something required.
func MayHaveActed(err error) bool {
	e := asError(err)
	return e != nil && e.result == unknown
}

// IsRejectedToken reports whether WeChat refused the token. Then it did not carry out the call, and
// a newer token may help.
func IsRejectedToken(err error) bool {
	switch Refused(err) {
	case InvalidCredential, InvalidToken, TokenExpired:
		return true
	}
	return false
}

// asError returns the *Error in err, or nil.
func asError(err error) *Error {
	e, _ := errors.AsType[*Error](err)
	return e
}

// rid matches the request id that WeChat appends to errmsg: " rid: 666188b4-774b1b9f-5cbb8e23"
// (docs/wechat.md, "Common rules").
var rid = regexp.MustCompile(`[, ]*\brid: ?([0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8})`)

// answered returns the error for an answer with an errcode. -1, 61450 and -1000 are not refusals:
// WeChat may have acted.
func answered(path string, code Code, msg string) *Error {
	e := &Error{Code: code, Msg: msg, path: path, result: refused}
	if m := rid.FindStringSubmatchIndex(msg); m != nil {
		e.RID, e.Msg = msg[m[2]:m[3]], msg[:m[0]]
	}
	e.Msg, _ = cutName(e.Msg)
	if code == Busy || code == KFSystemError || code == OutcomeUnknown {
		e.result, e.cause = unknown, fmt.Errorf("answered %d %s", code, e.Msg)
	}
	return e
}
