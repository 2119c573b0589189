package wechatsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"wxplatform/wechat"
)

// When says on which side of the act a fault strikes.
type When string

const (
	Before When = "before" // WeChat has not acted and will not, unless the fault only delays
	After  When = "after"  // WeChat has acted, and nobody is told
)

// Effect is what a fault does.
type Effect string

const (
	Nothing      Effect = ""       // only the delay
	AnswerCode   Effect = "code"   // answer Code
	Cut          Effect = "cut"    // close the connection without an answer
	AnswerStatus Effect = "status" // answer an HTML page with Status, as a broken gateway would
	AnswerHTML   Effect = "html"   // answer an HTML page with 200
	AnswerEmpty  Effect = "empty"  // answer 200 and no body
)

// Always, as Count, keeps a fault until ClearFaults.
const Always = -1

// Fault is something that goes wrong with calls of the API. The first fault that fits a call strikes it, and no other.
type Fault struct {
	Path   string // exact, or a prefix if it ends with *; empty fits all
	AppID  wechat.AppID
	Count  int           // how many calls; 0 means one
	When   When          // empty means Before
	Delay  time.Duration // comes first
	Do     Effect
	Code   int // for AnswerCode; 0 means -1
	Status int // for AnswerStatus; 0 means 502
}

// faultJSON is how a fault is written outside of Go: its delay is "3s".
type faultJSON struct {
	Path   string       `json:"path,omitempty"`
	AppID  wechat.AppID `json:"appid,omitempty"`
	Count  int          `json:"count,omitempty"`
	When   When         `json:"when,omitempty"`
	Delay  string       `json:"delay,omitempty"`
	Do     Effect       `json:"do,omitempty"`
	Code   int          `json:"code,omitempty"`
	Status int          `json:"status,omitempty"`
}

// MarshalJSON writes the delay as text.
func (f Fault) MarshalJSON() ([]byte, error) {
	return json.Marshal(faultJSON{f.Path, f.AppID, f.Count, f.When, f.Delay.String(), f.Do, f.Code, f.Status})
}

// UnmarshalJSON refuses effects that do not exist, for a misspelt fault would silently do nothing.
func (f *Fault) UnmarshalJSON(text []byte) error {
	j := faultJSON{Delay: "0s"}
	if err := strictly(text, &j); err != nil {
		return err
	}
	delay, err := time.ParseDuration(j.Delay)
	if err != nil {
		return err
	}
	*f = Fault{j.Path, j.AppID, j.Count, j.When, delay, j.Do, j.Code, j.Status}
	return f.check()
}

func (f *Fault) check() error {
	if f.When != "" && f.When != Before && f.When != After {
		return fmt.Errorf("wechatsim: a fault is before or after, not %q", f.When)
	}
	if !slices.Contains([]Effect{Nothing, AnswerCode, Cut, AnswerStatus, AnswerHTML, AnswerEmpty}, f.Do) {
		return fmt.Errorf("wechatsim: no fault does %q", f.Do)
	}
	return nil
}

// Fault makes something go wrong from now on. A Code alone means AnswerCode, a Status alone AnswerStatus.
func (s *Sim) Fault(f Fault) {
	f = f.withDefaults()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

func (f Fault) withDefaults() Fault {
	switch {
	case f.Do == Nothing && f.Code != 0:
		f.Do = AnswerCode
	case f.Do == Nothing && f.Status != 0:
		f.Do = AnswerStatus
	}
	if f.Do == AnswerCode && f.Code == 0 {
		f.Code = -1
	}
	if f.Do == AnswerStatus && f.Status == 0 {
		f.Status = http.StatusBadGateway
	}
	if f.Count == 0 {
		f.Count = 1
	}
	if f.When == "" {
		f.When = Before
	}
	return f
}

// Faults are those still to come.
func (s *Sim) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := []Fault{}
	for _, f := range s.faults {
		left = append(left, *f)
	}
	return left
}

// ClearFaults ends all faults, those of pushes too.
func (s *Sim) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.pushFaults = nil, nil
}

// takeFault uses up one strike of the first fault that fits, or is nil.
func (s *Sim) takeFault(c *call) *Fault {
	i := slices.IndexFunc(s.faults, func(f *Fault) bool { return f.fits(c.url, c.appID) })
	if i < 0 {
		return nil
	}
	f := *s.faults[i]
	if f.Count > 0 {
		s.faults[i].Count--
	}
	if s.faults[i].Count == 0 {
		s.faults = slices.Delete(s.faults, i, i+1)
	}
	return &f
}

func (f *Fault) fits(path string, appID wechat.AppID) bool {
	return matches(f.Path, path) && (f.AppID == "" || f.AppID == appID)
}

func matches(pattern, text string) bool {
	if prefix, open := strings.CutSuffix(pattern, "*"); open {
		return strings.HasPrefix(text, prefix)
	}
	return pattern == "" || pattern == text
}

func (f *Fault) strikes(when When) bool { return f != nil && f.When == when }

func (f *Fault) describe() string {
	if f == nil {
		return ""
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s", f.When, f.Do))
}

const gatewayPage = "<html><head><title>%d</title></head><body><center><h1>%d</h1></center><hr><center>nginx</center></body></html>\n"

// strike sends what comes in place of an answer.
func (s *Sim) strike(w http.ResponseWriter, f *Fault) {
	switch f.Do {
	case Cut:
		panic(http.ErrAbortHandler) // This is net/http's way to close a connection without an answer.
	case AnswerCode:
		s.writeAnswer(w, s.refusalAnswer(&Refusal{Code: f.Code}).body)
	case AnswerStatus:
		s.writePage(w, f.Status)
	case AnswerHTML:
		s.writePage(w, http.StatusOK)
	case AnswerEmpty:
		s.writeDate(w)
	}
}

func (s *Sim) writePage(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html")
	s.writeDate(w)
	w.WriteHeader(status)
	fmt.Fprintf(w, gatewayPage, status, status)
}

// Reject makes WeChat refuse the newest access token of an account with 40001 from now on, although its time is not over.
// With the component's appid, the same happens to its component token. Only a newer token helps.
func (s *Sim) Reject(id wechat.AppID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == s.config.AppID {
		s.componentTokens.newest.rejected = true
		return nil
	}
	g, err := s.grantOf(id)
	if err != nil {
		return err
	}
	g.access.newest.rejected = true
	return nil
}
