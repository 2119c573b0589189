package wechatsim

import (
	"crypto/subtle"
	"time"
)

// preAuth is the state of a pre-auth code.
type preAuth struct {
	expires time.Time
	used    bool
}

// startPushTicket has component_secret as the secret's name, where component_token has
// component_appsecret.
func (s *Sim) startPushTicket(c *call) (any, error) {
	if err := s.checkSecret(c.body.ComponentSecret); err != nil {
		return nil, err
	}
	running := !s.ticketsStopped
	s.ticketsStopped = false
	s.pushTicket()
	if running {
		return plainAnswer{0, "in a normal state"}, nil
	}
	return okAnswer, nil
}

func (s *Sim) checkSecret(secret string) error {
	if secret == "" {
		return refuse(41004)
	}
	if subtle.ConstantTimeCompare([]byte(secret), []byte(s.secret)) != 1 {
		return refuse(40125)
	}
	return nil
}

func (s *Sim) componentToken(c *call) (any, error) {
	if err := s.checkSecret(c.body.ComponentAppSecret); err != nil {
		return nil, err
	}
	if err := s.checkTicket(c.body.Ticket); err != nil {
		return nil, err
	}
	life := s.config.Times.ComponentToken
	s.componentTokens.issue(s.nextNumber(), s.now(), life, s.config.Times.Overlap)
	return struct {
		Token     string `json:"component_access_token"`
		ExpiresIn int    `json:"expires_in"`
	}{s.lastComponentToken(), seconds(life)}, nil
}

func (s *Sim) checkTicket(ticket string) error {
	c, genuine := s.codes.read(ticket, ticketCode)
	if !genuine {
		return refuse(61006)
	}
	if s.now().Sub(time.UnixMilli(int64(c.number))) > s.config.Times.Ticket {
		return refuse(61005)
	}
	return nil
}

// ticket returns the current ticket, which stays the same for a while, as WeChat's does. Its number
// is the start of that time.
func (s *Sim) ticket() string {
	renewal := min(s.config.Times.TicketRenewal, s.config.Times.Ticket/2)
	made := s.now().Truncate(renewal).UnixMilli()
	return s.codes.write(code{kind: ticketCode, number: uint64(made)})
}

func (s *Sim) lastComponentToken() string {
	return s.codes.write(code{kind: componentToken, number: s.componentTokens.newest.number})
}

func (s *Sim) createPreAuthCode(*call) (any, error) {
	life := s.config.Times.PreAuthCode
	number := s.nextNumber()
	s.preAuthCodes.put(number, &preAuth{expires: s.now().Add(life)}, s.now())
	return struct {
		Code      string `json:"pre_auth_code"`
		ExpiresIn int    `json:"expires_in"`
	}{s.codes.write(code{kind: preAuthCode, number: number}), seconds(life)}, nil
}

func (s *Sim) addresses(*call) (any, error) {
	return map[string][]string{"ip_list": {"127.0.0.1", "::1"}}, nil
}

func seconds(d time.Duration) int { return int(d / time.Second) }

// LastComponentToken returns the newest component token, or "" if none was issued.
func (s *Sim) LastComponentToken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.componentTokens.newest.number == 0 {
		return ""
	}
	return s.lastComponentToken()
}

// Ticket returns the ticket that would be pushed now.
func (s *Sim) Ticket() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ticket()
}

// PushTicket pushes a ticket now, even if tickets are stopped.
func (s *Sim) PushTicket() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pushTicket()
}

// StopTickets stops the regular push of tickets until the component calls api_start_push_ticket.
func (s *Sim) StopTickets() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ticketsStopped = true
}

func (s *Sim) pushDueTicket() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ticketsStopped {
		s.pushTicket()
	}
}

const ticketEvent = "component_verify_ticket"

func (s *Sim) pushTicket() {
	s.pushEvent(ticketEvent, s.config.AppID, element{"ComponentVerifyTicket", s.ticket()})
}
