package wechatsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"wxplatform/wechat"
)

// When says whether a fault strikes before or after WeChat carries out the call.
type When string

const (
	Before When = "before" // WeChat does not carry it out, unless the fault only delays. An upload's body is not read before
	After  When = "after"  // WeChat has carried it out
)

// Effect is what is sent instead of the true answer.
type Effect string

const (
	Nothing      Effect = ""       // the true answer: only the delay or the Wire is a fault
	AnswerCode   Effect = "code"   // an answer with Code
	AnswerStatus Effect = "status" // an HTML page with Status, as from a broken gateway
	AnswerHTML   Effect = "html"   // an HTML page with 200
	AnswerEmpty  Effect = "empty"  // 200 without a body
	AnswerEdited Effect = "edit"   // the true answer with some members set or dropped, and Header changed
	AnswerGzip   Effect = "gzip"   // the true answer, compressed
	AnswerBody   Effect = "body"   // Body with Status and Header
	AnswerRaw    Effect = "raw"    // Body instead of an HTTP answer, byte for byte; the connection is kept
	Cut          Effect = "cut"    // the connection is closed without an answer
	Reset        Effect = "reset"  // the connection is reset without an answer
)

var effects = []Effect{Nothing, AnswerCode, AnswerStatus, AnswerHTML, AnswerEmpty, AnswerEdited, AnswerGzip, AnswerBody, AnswerRaw, Cut, Reset}

// Always, as Count, keeps a fault until ClearFaults.
const Always = -1

// Fault is something that goes wrong with calls of the API. A call is struck by the first fault
// that matches it, and by no other. Do chooses what is answered, and Wire what the connection does
// with it.
type Fault struct {
	Path  string // exact, or a prefix if it ends with *; empty matches all
	AppID wechat.AppID
	Skip  int             // how many matching calls are left alone first: 2 strikes the third, whether or not another fault strikes those
	Count int             // how many calls are struck; 0 means one
	When  When            // empty means Before, or After if the true answer is a part of the fault
	Delay time.Duration   // comes first
	Hold  <-chan struct{} // if not nil, the call waits until it is closed: for tests in the same process

	Do     Effect // empty means the one that the fields below belong to
	Code   int    // for AnswerCode; 0 means -1
	Status int    // for AnswerStatus, where 0 means 502, and for AnswerBody, where it means 200
	Body   string // for AnswerBody and AnswerRaw
	// Header changes the header for AnswerBody and AnswerEdited. An empty value removes a field,
	// even Date and Content-Type.
	Header map[string]string
	// Set and Drop are for AnswerEdited. Paths are joined by dots: authorization_info.func_info.0
	// is the first element, and authorization_info.func_info.- a new last one. A value need not be
	// JSON: it is sent as it is.
	Set  map[string]json.RawMessage
	Drop []string

	Wire  Wire          // what the connection does
	Gap   time.Duration // see Wire
	Extra string        // for stray answers: the bytes of the second one; empty means the first one again
}

// faultJSON is a Fault in JSON: its durations are texts like "3s".
type faultJSON struct {
	Path       string                     `json:"path,omitempty"`
	AppID      wechat.AppID               `json:"appid,omitempty"`
	Skip       int                        `json:"skip,omitempty"`
	Count      int                        `json:"count,omitempty"`
	When       When                       `json:"when,omitempty"`
	Delay      string                     `json:"delay,omitempty"`
	Do         Effect                     `json:"do,omitempty"`
	Code       int                        `json:"code,omitempty"`
	Status     int                        `json:"status,omitempty"`
	Body       string                     `json:"body,omitempty"`
	BodyBase64 []byte                     `json:"body_base64,omitempty"` // instead of body, if that is not UTF-8
	Header     map[string]string          `json:"header,omitempty"`
	Set        map[string]json.RawMessage `json:"set,omitempty"`
	SetText    map[string]string          `json:"set_text,omitempty"` // like set, for what is not JSON
	Drop       []string                   `json:"drop,omitempty"`
	Wire       Wire                       `json:"wire,omitempty"`
	Gap        string                     `json:"gap,omitempty"`
	Extra      string                     `json:"extra,omitempty"`
}

// MarshalJSON writes durations as text.
func (f Fault) MarshalJSON() ([]byte, error) {
	j := faultJSON{
		Path: f.Path, AppID: f.AppID, Skip: f.Skip, Count: f.Count, When: f.When, Delay: f.Delay.String(), Do: f.Do, Code: f.Code, Status: f.Status,
		Body: f.Body, Header: f.Header, Drop: f.Drop, Wire: f.Wire, Extra: f.Extra,
	}
	if f.Gap != 0 {
		j.Gap = f.Gap.String()
	}
	if !utf8.ValidString(f.Body) {
		j.Body, j.BodyBase64 = "", []byte(f.Body)
	}
	for path, text := range f.Set {
		if json.Valid(text) {
			j.Set = with(j.Set, path, text)
		} else {
			j.SetText = with(j.SetText, path, string(text))
		}
	}
	return json.Marshal(j)
}

func with[V any](m map[string]V, key string, value V) map[string]V {
	if m == nil {
		m = map[string]V{}
	}
	m[key] = value
	return m
}

// UnmarshalJSON refuses unknown fields and contradictions: a misspelt fault would silently do
// nothing.
func (f *Fault) UnmarshalJSON(text []byte) error {
	j := faultJSON{Delay: "0s", Gap: "0s"}
	if err := strictly(text, &j); err != nil {
		return err
	}
	delay, err := time.ParseDuration(j.Delay)
	if err != nil {
		return err
	}
	gap, err := time.ParseDuration(j.Gap)
	if err != nil {
		return err
	}
	if j.BodyBase64 != nil {
		if j.Body != "" {
			return errors.New("wechatsim: a fault has either body or body_base64")
		}
		j.Body = string(j.BodyBase64)
	}
	for path, text := range j.SetText {
		j.Set = with(j.Set, path, json.RawMessage(text))
	}
	*f = Fault{
		Path: j.Path, AppID: j.AppID, Skip: j.Skip, Count: j.Count, When: j.When, Delay: delay, Do: j.Do, Code: j.Code, Status: j.Status,
		Body: j.Body, Header: j.Header, Set: j.Set, Drop: j.Drop, Wire: j.Wire, Gap: gap, Extra: j.Extra,
	}
	return f.withDefaults().check()
}

// check requires that the defaults are filled.
func (f Fault) check() error {
	does := func(any ...Effect) bool { return slices.Contains(any, f.Do) }
	edits := len(f.Set)+len(f.Drop) > 0
	for _, rule := range []struct {
		broken bool
		why    string
	}{
		{f.When != Before && f.When != After, fmt.Sprintf("a fault is before or after, not %q", f.When)},
		{!slices.Contains(effects, f.Do), fmt.Sprintf("no fault does %q", f.Do)},
		{!slices.Contains(wires, f.Wire), fmt.Sprintf("no fault has the wire %q", f.Wire)},
		{f.Skip < 0 || f.Count < Always, "skip and count are not negative, except for count -1"},
		{f.Delay < 0 || f.Gap < 0, "delay and gap are not negative"},
		{f.Code != 0 && !does(AnswerCode), "code is for do code"},
		{f.Status != 0 && !does(AnswerStatus, AnswerBody), "status is for do status and body"},
		{f.Status != 0 && (f.Status < 100 || f.Status > 999), "status has three digits"},
		{f.Body != "" && !does(AnswerBody, AnswerRaw), "body is for do body and raw"},
		{len(f.Header) > 0 && !does(AnswerBody, AnswerEdited), "header is for do body and edit"},
		{edits && !does(AnswerEdited), "set and drop are for do edit"},
		{does(AnswerEdited) && !edits && len(f.Header) == 0, "an edit needs set, drop or header"},
		{does(AnswerEdited, AnswerGzip) && f.When == Before, "there is no answer to change before WeChat has acted"},
		{f.hasEmptyPath(), "a path of set and drop has no empty part"},
		{f.Wire != "" && does(Cut, Reset), "cut and reset leave no answer for a wire"},
		{f.Wire == LongHeader && does(AnswerRaw), "raw bytes have no header to make long"},
		{f.Extra != "" && !f.Wire.strays(), "extra is for a stray answer"},
		{f.Gap != 0 && !f.Wire.waits(), "gap is for a wire that waits"},
	} {
		if rule.broken {
			return errors.New("wechatsim: " + rule.why)
		}
	}
	return nil
}

func (f Fault) hasEmptyPath() bool {
	paths := slices.Concat(slices.Collect(maps.Keys(f.Set)), f.Drop)
	return slices.ContainsFunc(paths, func(path string) bool { return slices.Contains(strings.Split(path, "."), "") })
}

// Fault makes something go wrong from now on. It panics if the fault's fields contradict each
// other.
func (s *Sim) Fault(f Fault) {
	f = f.withDefaults()
	if err := f.check(); err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

func (f Fault) withDefaults() Fault {
	if f.Do == Nothing {
		f.Do = f.meant()
	}
	if f.When == "" {
		f.When = f.usual()
	}
	if f.Do == Nothing && f.When == Before && f.Wire != "" {
		f.Do = AnswerCode // there is no true answer yet
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
	return f
}

// meant returns the effect that the given fields belong to.
func (f Fault) meant() Effect {
	switch {
	case f.Code != 0:
		return AnswerCode
	case f.Body != "":
		return AnswerBody
	case f.Status != 0:
		return AnswerStatus
	case len(f.Set)+len(f.Drop)+len(f.Header) > 0:
		return AnswerEdited
	}
	return Nothing
}

func (f Fault) usual() When {
	if f.Do == AnswerEdited || f.Do == AnswerGzip || f.Do == Nothing && f.Wire != "" {
		return After
	}
	return Before
}

// Faults returns the faults that are still to come.
func (s *Sim) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := []Fault{}
	for _, f := range s.faults {
		left = append(left, *f)
	}
	return left
}

// ClearFaults ends all faults, including those of pushes.
func (s *Sim) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.pushFaults = nil, nil
}

// takeFault uses up one strike of the first fault that matches, or returns nil. A fault that skips
// the call leaves it to the next fault.
func (s *Sim) takeFault(c *call) *Fault {
	at := -1
	for i, f := range s.faults {
		switch {
		case !f.fits(c.url, c.appID):
		case f.Skip > 0:
			f.Skip--
		case at < 0:
			at = i
		}
	}
	if at < 0 {
		return nil
	}
	f := *s.faults[at]
	if f.Count > 0 {
		s.faults[at].Count--
	}
	if s.faults[at].Count == 0 {
		s.faults = slices.Delete(s.faults, at, at+1)
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

// answers reports whether the fault does more than delay.
func (f *Fault) answers() bool { return f.Do != Nothing || f.Wire != "" }

func (f *Fault) describe() string {
	if f == nil {
		return ""
	}
	return strings.Join(strings.Fields(fmt.Sprintf("%s %s %s", f.When, f.Do, f.Wire)), " ")
}

// Reject makes WeChat refuse the newest access token of an account with 40001 from now on, before
// its time is over. With the component's appid it rejects the component token. Only a newer token
// helps.
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
