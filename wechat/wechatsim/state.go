package wechatsim

import (
	"maps"
	"time"

	"wxplatform/wechat"
)

// State is the state of the simulator, without secrets.
type State struct {
	Component  wechat.AppID     `json:"component"`
	EventURL   string           `json:"event_url"`
	MessageURL string           `json:"message_url"`
	Now        time.Time        `json:"now"`
	Behaviour  Behaviour        `json:"behaviour"`
	Quotas     map[string]Quota `json:"quotas"`
	Accounts   int              `json:"accounts"`
	Authorized int              `json:"authorized"`
	Synthetic  int              `json:"synthetic"`
	Queued     int              `json:"pushes_queued"`
	Held       int              `json:"pushes_held"`
	Calls      map[string]int   `json:"calls"`
	Faults     []Fault          `json:"faults"`
	Sample     []AccountState   `json:"account_list"` // those that were added one by one
}

// AccountState is an account, what it granted, and how many customers it has.
type AccountState struct {
	Account
	Authorized bool                   `json:"authorized"`
	Exchanged  bool                   `json:"exchanged"`
	Sets       []wechat.PermissionSet `json:"sets,omitempty"`
	Waiting    int                    `json:"waiting"`
	Served     int                    `json:"served"`
}

// State returns the current state.
func (s *Sim) State() State {
	state := State{
		Component: s.config.AppID, EventURL: s.config.EventURL, MessageURL: s.config.MessageURL, Now: s.now(),
		Behaviour: s.Behaviour(), Calls: s.CallCounts(), Faults: s.Faults(),
	}
	for _, a := range s.Accounts() {
		if one, err := s.AccountState(a.AppID); err == nil {
			state.Sample = append(state.Sample, one)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	state.Quotas = maps.Clone(s.quotas)
	state.Accounts, state.Authorized, state.Synthetic = len(s.accounts), len(s.authorized), len(s.synthetic)
	state.Queued = s.queued
	for _, held := range s.held {
		state.Held += len(held)
	}
	return state
}

// AccountState returns the state of one account, or ErrUnknownAccount.
func (s *Sim) AccountState(id wechat.AppID) (AccountState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.find(id)
	if a == nil {
		return AccountState{}, ErrUnknownAccount
	}
	state := AccountState{Account: a.details().filled(a.place)}
	if a.grant != nil {
		state.Authorized, state.Exchanged, state.Sets = true, a.grant.exchanged, a.grant.sets
	}
	if a.service != nil {
		state.Waiting = a.service.waiting.Len()
		for _, queue := range a.service.serving {
			state.Served += queue.Len()
		}
	}
	return state, nil
}
