package wechatsim

import (
	"regexp"

	"wxplatform/wechat"
)

// openIDFormat is the form of all openids that were seen.
var openIDFormat = regexp.MustCompile(`^o[A-Za-z0-9_-]{27}$`)

func checkOpenID(id wechat.OpenID) error {
	if !openIDFormat.MatchString(string(id)) {
		return refuse(40003)
	}
	return nil
}

func checkDesk(a *account) error {
	if !a.details().CustomerService {
		return refuse(65400)
	}
	return nil
}

// boundAgent returns the agent, if a person's WeChat is bound to it.
func (s *Sim) boundAgent(a *account, kf wechat.KFAccount) (Agent, error) {
	profile := a.details()
	agent, known := profile.agent(s.sameAgent(profile, kf))
	if !known {
		return Agent{}, refuse(65401)
	}
	if agent.Unbound {
		return Agent{}, refuse(65402)
	}
	return agent, nil
}

// pair does the checks that creating and closing a session have in common.
func (s *Sim) pair(a *account, kf wechat.KFAccount, id wechat.OpenID) (Agent, *customer, error) {
	if err := checkDesk(a); err != nil {
		return Agent{}, nil, err
	}
	if err := checkOpenID(id); err != nil {
		return Agent{}, nil, err
	}
	agent, err := s.boundAgent(a, kf)
	return agent, s.current(a, id), err
}

func (s *Sim) createSession(c *call) (any, error) {
	return okAnswer, s.open(c.account, c.body.KFAccount, c.body.OpenID, !s.behaviour.SilentSessions)
}

// open changes nothing and succeeds if this agent already serves this customer.
func (s *Sim) open(a *account, kf wechat.KFAccount, id wechat.OpenID, tell bool) error {
	agent, customer, err := s.pair(a, kf, id)
	switch {
	case err != nil:
		return err
	case !agent.Online:
		return refuse(65415)
	case customer != nil && customer.agent == agent.KFAccount:
		return nil
	case customer != nil && customer.agent != "":
		return refuse(65414)
	}
	s.startSession(a, a.ownService().customer(id), agent.KFAccount, tell)
	return nil
}

func (s *Sim) closeSession(c *call) (any, error) {
	return okAnswer, s.shut(c.account, c.body.KFAccount, c.body.OpenID, !s.behaviour.SilentSessions)
}

// shut ends an established session only, not a customer's waiting.
func (s *Sim) shut(a *account, kf wechat.KFAccount, id wechat.OpenID, tell bool) error {
	agent, customer, err := s.pair(a, kf, id)
	switch {
	case err != nil:
		return err
	case customer == nil || customer.agent == "":
		return refuse(65413)
	case customer.agent != agent.KFAccount:
		return refuse(65414)
	}
	s.endSession(a, customer, tell)
	return nil
}

type sessionAnswer struct {
	CreateTime int64            `json:"createtime"`
	KFAccount  wechat.KFAccount `json:"kf_account"` // empty if nobody serves the customer
}

func (s *Sim) getSession(c *call) (any, error) {
	if err := checkDesk(c.account); err != nil {
		return nil, err
	}
	id := wechat.OpenID(c.query.Get("openid"))
	if err := checkOpenID(id); err != nil {
		return nil, err
	}
	customer := s.current(c.account, id)
	if customer == nil || customer.agent == "" {
		return sessionAnswer{}, nil
	}
	return sessionAnswer{customer.since.Unix(), customer.agent}, nil
}

type agentSession struct {
	CreateTime int64         `json:"createtime"`
	OpenID     wechat.OpenID `json:"openid"`
}

func (s *Sim) getSessionList(c *call) (any, error) {
	if err := checkDesk(c.account); err != nil {
		return nil, err
	}
	agent, err := s.boundAgent(c.account, wechat.KFAccount(c.query.Get("kf_account")))
	if err != nil {
		return nil, err
	}
	sessions := []agentSession{}
	for _, customer := range s.served(c.account, agent.KFAccount) {
		sessions = append(sessions, agentSession{customer.since.Unix(), customer.openID})
	}
	return map[string][]agentSession{"sessionlist": sessions}, nil
}

type waitCase struct {
	LatestTime int64         `json:"latest_time"`
	OpenID     wechat.OpenID `json:"openid"`
}

// maxWaitCases limits the list; its count has no limit.
const maxWaitCases = 100

func (s *Sim) getWaitCase(c *call) (any, error) {
	if err := checkDesk(c.account); err != nil {
		return nil, err
	}
	waiting := &c.account.ownService().waiting
	cases := []waitCase{}
	for e := waiting.Front(); e != nil && len(cases) < maxWaitCases; e = e.Next() {
		customer := e.Value.(*customer)
		cases = append(cases, waitCase{customer.latest.Unix(), customer.openID})
	}
	return struct {
		Count int        `json:"count"`
		List  []waitCase `json:"waitcaselist"`
	}{waiting.Len(), cases}, nil
}

// Session says which agent serves a customer. The zero value means none.
type Session struct {
	KFAccount wechat.KFAccount `json:"kf_account"`
	Created   int64            `json:"createtime"`
	Waiting   bool             `json:"waiting"`
}

// Session returns which agent serves a customer now.
func (s *Sim) Session(id wechat.AppID, customer wechat.OpenID) Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.find(id)
	if a == nil {
		return Session{}
	}
	c := s.current(a, customer)
	if c == nil {
		return Session{}
	}
	if c.agent == "" {
		return Session{Waiting: c.queue != nil}
	}
	return Session{KFAccount: c.agent, Created: c.since.Unix()}
}

// OpenSession accepts a customer, waiting or not, as an agent does. It fails with a *Refusal as the
// API would.
func (s *Sim) OpenSession(id wechat.AppID, kf wechat.KFAccount, customer wechat.OpenID) error {
	return s.atDesk(id, func(a *account) error { return s.open(a, kf, customer, true) })
}

// CloseSession ends a session as its agent does. It fails with a *Refusal as the API would.
func (s *Sim) CloseSession(id wechat.AppID, kf wechat.KFAccount, customer wechat.OpenID) error {
	return s.atDesk(id, func(a *account) error { return s.shut(a, kf, customer, true) })
}

// SwitchSession passes a customer from one agent to another.
func (s *Sim) SwitchSession(id wechat.AppID, from, to wechat.KFAccount, customer wechat.OpenID) error {
	return s.atDesk(id, func(a *account) error {
		agent, err := s.boundAgent(a, to)
		if err == nil && !agent.Online {
			err = refuse(65415)
		}
		if err == nil {
			err = s.shut(a, from, customer, false)
		}
		if err != nil {
			return err
		}
		s.startSession(a, a.ownService().customer(customer), agent.KFAccount, false)
		s.pushSession(a, customer, "kf_switch_session", element{"FromKfAccount", string(from)}, element{"ToKfAccount", string(to)})
		return nil
	})
}

func (s *Sim) atDesk(id wechat.AppID, act func(*account) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.find(id)
	if a == nil {
		return ErrUnknownAccount
	}
	return act(a)
}
