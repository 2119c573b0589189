// Package sdk is what the suite asks of every WeChat SDK. Each SDK has a package that maps these
// calls to the SDK's own, with nothing of it changed but the host and the credential.
package sdk

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
)

// Settings are what a merchant's engineer puts into the SDK's configuration.
type Settings struct {
	Base   string // of the platform, instead of https://api.weixin.qq.com, without a slash at its end
	AppID  string // the merchant's
	Secret string // of a client of the platform, instead of the appsecret
	Stable bool   // use WeChat's stable_token
	Dir    string // for the SDK's files, empty at first
	CA     string // file with the certificate of Base, if Base is https
}

// SessionCall is one of WeChat's calls about customer-service sessions.
type SessionCall string

// The calls about sessions, in the order of a session's life.
const (
	CreateSession SessionCall = "create"
	GetSession    SessionCall = "get"
	ListSessions  SessionCall = "list"
	WaitingCases  SessionCall = "waiting"
	CloseSession  SessionCall = "close"
)

// SessionCalls are all of them.
var SessionCalls = []SessionCall{CreateSession, GetSession, ListSessions, WaitingCases, CloseSession}

// Client is an SDK with an empty token cache, for one account. Its calls return ErrNotOffered if
// the SDK has no such call, and a *Refused if the SDK told its caller an errcode.
type Client interface {
	Addresses() error // of WeChat's servers
	Send(customer, text string) error
	CreateMenu(name string) error
	Upload(file string) (mediaID string, err error)
	Download(mediaID string) ([]byte, error)
	Session(call SessionCall, agent, customer string) error
	// LogIn logs a user of a web page in, and reads the user's profile.
	LogIn(code string) (openid string, err error)
	// LogInMini logs a user of a mini program in; Settings.AppID is the mini program's.
	LogInMini(code string) (openid string, err error)
	Close()
}

// ErrNotOffered says that the SDK has no such call.
var ErrNotOffered = errors.New("the SDK has no such call")

// Refused is an errcode that the SDK told its caller.
type Refused struct {
	Code int
	Text string
}

// Error returns the SDK's text.
func (r *Refused) Error() string { return fmt.Sprintf("errcode %d: %s", r.Code, r.Text) }

var inText = regexp.MustCompile(`(?i)err_?code"?\s*[:=]?\s*"?(-?[0-9]+)`)

// Told returns err as a *Refused if the SDK put an errcode into its text, which is where most SDKs
// leave it.
func Told(err error) error {
	if err == nil {
		return nil
	}
	found := inText.FindStringSubmatch(err.Error())
	if found == nil {
		return err
	}
	code, _ := strconv.Atoi(found[1])
	return &Refused{code, err.Error()}
}

// Code returns err as a *Refused if code is not 0.
func Code(code int, text string, err error) error {
	if err == nil && code != 0 {
		return &Refused{code, text}
	}
	return Told(err)
}
