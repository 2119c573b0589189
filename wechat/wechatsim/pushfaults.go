package wechatsim

import (
	"errors"
	"fmt"
	"slices"

	"wxplatform/wechat"
)

// PushEffect is what goes wrong with a push.
type PushEffect string

const (
	Lose   PushEffect = "lose"
	Repeat PushEffect = "repeat" // it is sent twice
	Hold   PushEffect = "hold"   // it is sent after the next push of the same account, or when Release is called
)

// PushFault is something that goes wrong with pushes.
type PushFault struct {
	Kind  string       `json:"kind,omitempty"`  // as in PushRecord, or a prefix that ends with *; empty matches all
	AppID wechat.AppID `json:"appid,omitempty"` // the authorizer that it is about, or the component for its ticket
	Count int          `json:"count,omitempty"` // 0 means one
	Do    PushEffect   `json:"do"`
}

// FaultPushes makes something go wrong with pushes from now on.
func (s *Sim) FaultPushes(f PushFault) error {
	if !slices.Contains([]PushEffect{Lose, Repeat, Hold}, f.Do) {
		return fmt.Errorf("wechatsim: pushes have no fault %q", f.Do)
	}
	if f.Count == 0 {
		f.Count = 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pushFaults = append(s.pushFaults, &f)
	return nil
}

// Release sends the pushes that a fault holds back.
func (s *Sim) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, held := range s.held {
		delete(s.held, id)
		s.send(id, held)
	}
}

// afterFaults returns what is left to send of a push, after the ones that were held.
func (s *Sim) afterFaults(p *push) []*push {
	switch s.takePushFault(p) {
	case Lose:
		s.record(p, 0, errors.New("lost by a fault"))
		return nil
	case Hold:
		s.held[p.appID] = append(s.held[p.appID], p)
		return nil
	case Repeat:
		return s.withHeld(p, p)
	}
	if p.odd != nil && p.odd.twice {
		return s.withHeld(p, p)
	}
	return s.withHeld(p)
}

func (s *Sim) withHeld(pushes ...*push) []*push {
	id := pushes[0].appID
	held := s.held[id]
	delete(s.held, id)
	return append(pushes, held...)
}

func (s *Sim) takePushFault(p *push) PushEffect {
	i := slices.IndexFunc(s.pushFaults, func(f *PushFault) bool { return matches(f.Kind, p.kind) && (f.AppID == "" || f.AppID == p.appID) })
	if i < 0 {
		return ""
	}
	f := s.pushFaults[i]
	effect := f.Do
	if f.Count > 0 {
		f.Count--
	}
	if f.Count == 0 {
		s.pushFaults = slices.Delete(s.pushFaults, i, i+1)
	}
	return effect
}
