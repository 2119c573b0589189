package wechatsim

import (
	"maps"
	"time"

	"wxplatform/wechat"
)

// Call is a line of the call log. It never holds a token.
type Call struct {
	At      time.Time    `json:"at"`
	Method  string       `json:"method"`
	Path    string       `json:"path"`
	AppID   wechat.AppID `json:"appid,omitempty"` // of the authorizer that it was about
	ErrCode int          `json:"errcode"`
	Fault   string       `json:"fault,omitempty"` // the fault that struck it; then errcode is what would have been answered
}

// Calls returns how many calls of a path arrived since the start or ResetCalls, including refused
// and cut ones.
func (s *Sim) Calls(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[path]
}

// CallCounts returns Calls for every path.
func (s *Sim) CallCounts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts)
}

// CallLog returns the last few thousand calls, oldest first.
func (s *Sim) CallLog() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.callLog.all()
}

// ResetCalls clears counts and log.
func (s *Sim) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.counts)
	s.callLog.clear()
}

// note logs a call that was not carried out.
func (s *Sim) note(c *call, errCode int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log(c, errCode)
}

func (s *Sim) log(c *call, errCode int) {
	s.callLog.add(Call{At: s.now(), Method: c.used, Path: c.url, AppID: c.appID, ErrCode: errCode, Fault: c.fault})
}

// maxCountedPaths limits the memory for counts if a client invents paths.
const maxCountedPaths = 1000
