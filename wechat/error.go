package wechat

import (
	"errors"
	"fmt"
	"regexp"
)

// Code is WeChat's errcode.
type Code int

// The codes that decide something here. Source: wechat-protocol §6 and §5.6; what each means is said where it is used.
const (
	Busy                  Code = -1    // system error
	InvalidCredential     Code = 40001 // token replaced, or the wrong kind
	InvalidOpenID         Code = 40003
	InvalidToken          Code = 40014
	InvalidSecret         Code = 40125
	TokenExpired          Code = 42001
	ComponentTokenExpired Code = 42006
	PasswordChanged       Code = 42007 // access and refresh token both dead
	DayQuota              Code = 45009
	MinuteQuota           Code = 45011
	Unauthorized          Code = 48001 // the account lacks the API
	KFSystemError         Code = 61450 // the old generation's -1
	NotAuthorized         Code = 61003 // no authorization for this component, perhaps only for a moment
	UnknownAddress        Code = 61004 // our address is not on the component's list
	TicketExpired         Code = 61005
	TicketInvalid         Code = 61006
	NotGranted            Code = 61007 // the permission set is not granted
	AuthCodeInvalid       Code = 61009
	AuthCodeExpired       Code = 61010
	RefreshTokenInvalid   Code = 61023
	InvalidComponent      Code = 61011
	NoSession             Code = 65413
	ServedByAnother       Code = 65414
	firstKFCode           Code = 65400
	lastKFCode            Code = 65417
)

// IsKF reports whether c is one of the customer-service family's own refusals, 65400…65417.
func (c Code) IsKF() bool { return c >= firstKFCode && c <= lastKFCode }

type outcome int

const (
	unknown outcome = iota // WeChat may have acted
	notSent                // no byte of it left
	refused                // WeChat said no, with a code
)

// Error is why a call failed. It holds no URL, no header and no body, for those carry tokens.
type Error struct {
	Code   Code   // where refused
	Msg    string // WeChat's errmsg without its rid, where refused
	RID    string // WeChat's own request id, where it gave one
	path   string
	result outcome
	cause  error
}

// Error says which call failed and why.
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

// Unwrap gives the cause where the call was not refused.
func (e *Error) Unwrap() error { return e.cause }

// Refusal is the definite refusal in err, or nil.
func Refusal(err error) *Error {
	if e := wire(err); e != nil && e.result == refused {
		return e
	}
	return nil
}

// Refused is the code with which WeChat definitely refused, or 0.
func Refused(err error) Code {
	if e := Refusal(err); e != nil {
		return e.Code
	}
	return 0
}

// NotSent reports whether the call failed before a byte of it left.
func NotSent(err error) bool {
	e := wire(err)
	return e != nil && e.result == notSent
}

// MayHaveActed reports whether WeChat may have done what it was asked although the call failed: a time-out or a cut after the first byte, -1, 61450, a 5xx, an answer nobody can read.
func MayHaveActed(err error) bool {
	e := wire(err)
	return e != nil && e.result == unknown
}

// IsRejectedToken reports whether WeChat refused because of the token: the call was not executed, and a newer token may help.
func IsRejectedToken(err error) bool {
	switch Refused(err) {
	case InvalidCredential, InvalidToken, TokenExpired:
		return true
	}
	return false
}

func wire(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// WeChat appends its request id to errmsg: " rid: 666188b4-774b1b9f-5cbb8e23" (wechat-protocol §3, common rules).
var rid = regexp.MustCompile(`[, ]*\brid: ?([0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8})`)

// answered makes the error of an answer with an errcode. -1 and 61450 are no refusal: WeChat may have acted.
func answered(path string, code Code, msg string) *Error {
	e := &Error{Code: code, Msg: msg, path: path, result: refused}
	if m := rid.FindStringSubmatchIndex(msg); m != nil {
		e.RID, e.Msg = msg[m[2]:m[3]], msg[:m[0]]
	}
	if code == Busy || code == KFSystemError || code == -1000 {
		e.result, e.cause = unknown, fmt.Errorf("answered %d %s", code, e.Msg)
	}
	return e
}
