package wechatsim

import (
	"cmp"
	"errors"
	"net/http"

	"wxplatform/wechat"
)

// act is what a route does.
type act func(*Sim, *http.Request) (any, error)

// showing returns something that the simulator knows.
func showing[T any](get func(*Sim) T) act {
	return func(s *Sim, _ *http.Request) (any, error) { return get(s), nil }
}

// doing calls a function that takes nothing and cannot fail.
func doing(do func(*Sim)) act {
	return func(s *Sim, _ *http.Request) (any, error) {
		do(s)
		return nil, nil
	}
}

// onAccount calls a function with the appid in the path.
func onAccount(do func(*Sim, wechat.AppID) error) act {
	return func(s *Sim, r *http.Request) (any, error) { return nil, do(s, appIDOf(r)) }
}

// taking decodes a body.
func taking[B any](do func(*Sim, *http.Request, B) (any, error)) act {
	return func(s *Sim, r *http.Request) (any, error) {
		var body B
		if err := read(r, &body); err != nil {
			return nil, err
		}
		return do(s, r, body)
	}
}

func showAccount(s *Sim, r *http.Request) (any, error) { return s.AccountState(appIDOf(r)) }

func showSession(s *Sim, r *http.Request) (any, error) {
	return s.Session(appIDOf(r), openIDOf(r)), nil
}

func settle(s *Sim, r *http.Request) (any, error) { return nil, s.Settle(r.Context()) }

func addAccount(s *Sim, _ *http.Request, a Account) (any, error) { return s.AddAccount(a) }

// changeAccount decodes the body over the account as it is, so that fields that are not given stay.
func changeAccount(s *Sim, r *http.Request) (any, error) {
	a, err := s.Account(appIDOf(r))
	if err == nil {
		err = read(r, &a)
	}
	if err != nil {
		return nil, err
	}
	if err := s.ChangeAccount(appIDOf(r), func(old *Account) { *old = a }); err != nil {
		return nil, err
	}
	return s.Account(appIDOf(r))
}

func setAgent(s *Sim, r *http.Request, agent Agent) (any, error) {
	if agent.KFAccount == "" {
		return nil, errors.New("kf_account is missing")
	}
	return nil, s.SetAgent(appIDOf(r), agent)
}

type setsBody struct {
	Sets []wechat.PermissionSet `json:"sets"`
}

func authorizeAccount(s *Sim, r *http.Request, b setsBody) (any, error) {
	_, err := s.Authorize(appIDOf(r), b.Sets...)
	return nil, err
}

func changeSets(s *Sim, r *http.Request, b setsBody) (any, error) {
	return nil, s.ChangeSets(appIDOf(r), b.Sets...)
}

type loginBody struct {
	OpenID wechat.OpenID `json:"openid"`
	Scope  string        `json:"scope"`
}

func logIn(s *Sim, r *http.Request, b loginBody) (any, error) {
	given, err := s.LogIn(appIDOf(r), cmp.Or(b.OpenID, SampleCustomer), b.Scope)
	return map[string]string{"code": given}, err
}

type messageBody struct {
	OpenID wechat.OpenID `json:"openid"`
	Text   string        `json:"text"`
}

func customerWrites(s *Sim, r *http.Request, b messageBody) (any, error) {
	return nil, s.CustomerMessage(appIDOf(r), b.OpenID, b.Text)
}

func forward(s *Sim, r *http.Request, b messageBody) (any, error) {
	return nil, s.Forward(appIDOf(r), b.OpenID)
}

type sessionBody struct {
	KFAccount wechat.KFAccount `json:"kf_account"`
	To        wechat.KFAccount `json:"to"`
}

func openSession(s *Sim, r *http.Request, b sessionBody) (any, error) {
	return nil, s.OpenSession(appIDOf(r), b.KFAccount, openIDOf(r))
}

func switchSession(s *Sim, r *http.Request, b sessionBody) (any, error) {
	return nil, s.SwitchSession(appIDOf(r), b.KFAccount, b.To, openIDOf(r))
}

func closeSession(s *Sim, r *http.Request, b sessionBody) (any, error) {
	return nil, s.CloseSession(appIDOf(r), b.KFAccount, openIDOf(r))
}

const maxSynthetic = 10_000_000

type countBody struct {
	Count int `json:"count"`
}

func addSynthetic(s *Sim, _ *http.Request, b countBody) (any, error) {
	if b.Count < 1 || b.Count > maxSynthetic {
		return nil, errors.New("count must be between 1 and 10000000")
	}
	s.AddSynthetic(b.Count)
	return nil, nil
}

type consentBody struct {
	PreAuthCode string                 `json:"pre_auth_code"`
	AppID       wechat.AppID           `json:"appid"`
	Sets        []wechat.PermissionSet `json:"sets"`
	RedirectURI string                 `json:"redirect_uri"`
}

type consentAnswer struct {
	Redirect
	Location string `json:"location,omitempty"`
}

func consent(s *Sim, r *http.Request, b consentBody) (any, error) {
	redirect, err := s.Consent(r.Context(), b.PreAuthCode, b.AppID, b.Sets...)
	answer := consentAnswer{Redirect: redirect}
	if b.RedirectURI != "" {
		answer.Location = redirect.AppendTo(b.RedirectURI)
	}
	return answer, err
}

type probeBody struct {
	URL   string       `json:"url"`
	AppID wechat.AppID `json:"appid"`
}

func probe(s *Sim, r *http.Request, b probeBody) (any, error) {
	return nil, s.Probe(r.Context(), cmp.Or(b.URL, s.config.EventURL), b.AppID)
}

type callsAnswer struct {
	Counts map[string]int `json:"counts"`
	Log    []Call         `json:"log"`
}

func (s *Sim) calls() callsAnswer { return callsAnswer{s.CallCounts(), s.CallLog()} }

func addFault(s *Sim, _ *http.Request, f Fault) (any, error) {
	s.Fault(f)
	return nil, nil
}

func addPushFault(s *Sim, _ *http.Request, f PushFault) (any, error) { return nil, s.FaultPushes(f) }

// changeBehaviour decodes the body over the behaviour as it is.
func changeBehaviour(s *Sim, r *http.Request) (any, error) {
	b := s.Behaviour()
	if err := read(r, &b); err != nil {
		return nil, err
	}
	s.SetBehaviour(b)
	return b, nil
}

type quotaBody struct {
	Path string `json:"path"`
	Quota
}

func setQuota(s *Sim, _ *http.Request, b quotaBody) (any, error) {
	if _, known := s.apis[b.Path]; !known {
		return nil, errors.New("there is no such API")
	}
	s.SetQuota(b.Path, b.Quota)
	return nil, nil
}

type addressesBody struct {
	IPs []string `json:"ips"`
}

func setAllowedIPs(s *Sim, _ *http.Request, b addressesBody) (any, error) {
	s.SetAllowedIPs(b.IPs...)
	return nil, nil
}

type secretBody struct {
	Secret string `json:"secret"`
}

func setSecret(s *Sim, _ *http.Request, b secretBody) (any, error) {
	if b.Secret == "" {
		return nil, errors.New("secret is missing")
	}
	s.SetSecret(b.Secret)
	return nil, nil
}

type envelopeBody struct {
	Token  string `json:"token"`
	AESKey string `json:"aes_key"`
}

func setEnvelope(s *Sim, _ *http.Request, b envelopeBody) (any, error) {
	return nil, s.SetEnvelope(b.Token, b.AESKey)
}

func releaseTest(s *Sim, r *http.Request) (any, error) {
	lines, err := s.ReleaseTest(r.Context())
	return struct {
		Passed bool     `json:"passed"`
		Cases  []string `json:"cases"`
	}{err == nil, lines}, nil
}
