package wechatsim

import (
	"maps"
	"time"

	"wxplatform/wechat"
)

// Call is one line of the call log. It never holds a token.
type Call struct {
	At      time.Time    `json:"at"`
	Method  string       `json:"method"`
	Path    string       `json:"path"`
	AppID   wechat.AppID `json:"appid,omitempty"` // of the authorizer that it concerned
	ErrCode int          `json:"errcode"`
	Fault   string       `json:"fault,omitempty"` // what was done to it; the errcode is then what was not told
}

// Calls counts the calls of a path since the start or ResetCalls, refused and cut ones too.
func (s *Sim) Calls(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[path]
}

// CallCounts has the calls of every path.
func (s *Sim) CallCounts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts)
}

// CallLog has the last few thousand calls, oldest first.
func (s *Sim) CallLog() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.callLog.all()
}

// ResetCalls forgets counts and log.
func (s *Sim) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.counts)
	s.callLog.clear()
}

// note logs a call that was not performed.
func (s *Sim) note(c *call, errCode int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log(c, errCode)
}

func (s *Sim) log(c *call, errCode int) {
	s.callLog.add(Call{At: s.now(), Method: c.used, Path: c.url, AppID: c.appID, ErrCode: errCode, Fault: c.fault})
}

// maxCountedPaths bounds the counts against a client that invents paths.
const maxCountedPaths = 1000
