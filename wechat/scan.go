package wechat

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
)

// member is a name and its value in an object.
type member struct {
	name string
	value
}

// value is the text of a JSON value. It may be malformed.
type value struct {
	raw []byte
	cut bool // the text ended before the value did
}

// text returns the value if it is a string, without control characters.
func (v value) text() (text string, scrubbed, ok bool) {
	if v.cut || len(v.raw) == 0 || v.raw[0] != '"' || json.Unmarshal(v.raw, &text) != nil {
		return "", false, false
	}
	text, scrubbed = scrubText(text)
	return text, scrubbed, true
}

func (v value) isNumber() bool {
	return !v.cut && len(v.raw) > 0 && (v.raw[0] == '-' || '0' <= v.raw[0] && v.raw[0] <= '9') && json.Valid(v.raw)
}

// scanner walks through JSON text that may be broken. In strings it looks only for their end.
type scanner struct {
	text     []byte
	at       int
	names    int  // strings that toMember came across
	most     int  // of them, after which it finds no more
	anywhere bool // the members of all objects are wanted, and brackets are ignored
}

// scanMembers returns the members of the object that text begins with. After a malformed member it
// goes on with the next thing that looks like a member.
func scanMembers(text []byte) []member {
	members, _ := scanSomeMembers(text, math.MaxInt)
	return members
}

// scanSomeMembers is scanMembers, but stops and returns false if the object has more strings than
// most that may be names.
func scanSomeMembers(text []byte, most int) (_ []member, all bool) {
	s := scanner{text: text, at: 1, most: most}
	var members []member
	for s.toMember() {
		if members == nil {
			members = make([]member, 0, usualMembers)
		}
		members = append(members, s.member())
	}
	return members, s.names <= s.most
}

const usualMembers = 8

// looseLimit and mostLoose limit scanAnywhere: it scans a nested value again for each object around
// it.
const (
	looseLimit = 64 << 10 // bytes of text
	mostLoose  = 1024     // strings
)

// scanAnywhere returns the members of all objects in the first 64 KiB of text, which need not begin
// with one. A name that occurs with different values is left out, because it is not known which one
// counts; null and "" are no values.
func scanAnywhere(text []byte) []member {
	s := scanner{text: text[:min(len(text), looseLimit)], most: mostLoose, anywhere: true}
	var members []member
	disputed := map[string]bool{}
	for s.toMember() {
		found := s.member()
		s.stepInto(found.value)
		at := slices.IndexFunc(members, func(other member) bool { return other.name == found.name })
		switch {
		case found.isNothing():
		case at < 0:
			members = append(members, found)
		case !bytes.Equal(members[at].raw, found.raw):
			disputed[found.name] = true
		}
	}
	return slices.DeleteFunc(members, func(m member) bool { return disputed[m.name] })
}

// stepInto moves back into the value that was just passed. An object or a list may hold members. A
// string may have passed its real end, if a stray backslash hid that, and then its last quote opens
// the next name.
func (s *scanner) stepInto(passed value) {
	switch {
	case passed.isNested():
		s.at -= len(passed.raw) - 1
	case passed.isString():
		s.at--
	}
}

func (v value) isNested() bool { return len(v.raw) > 0 && (v.raw[0] == '{' || v.raw[0] == '[') }

func (v value) isString() bool { return len(v.raw) > 0 && v.raw[0] == '"' }

func (v value) isNothing() bool {
	return v.cut && !v.isNested() || len(v.raw) == 0 || string(v.raw) == "null" || string(v.raw) == `""`
}

// mostEntries is far more than WeChat ever lists at once. A longer list is refused: its entries
// would take a hundred times its size in memory.
const mostEntries = 10_000

// scanEntries returns the entries of the list that text begins with, or false if there are more
// than mostEntries.
func scanEntries(text []byte) (entries []value, ok bool) {
	s := scanner{text: text, at: 1}
	for len(entries) <= mostEntries {
		s.space()
		switch {
		case s.done(), s.text[s.at] == ']':
			return entries, true
		case s.text[s.at] == ',', s.text[s.at] == '}':
			s.at++
		default:
			entries = append(entries, s.value())
		}
	}
	return nil, false
}

func (s *scanner) done() bool { return s.at >= len(s.text) }

func (s *scanner) space() {
	for !s.done() && s.text[s.at] == ' ' {
		s.at++
	}
}

// toMember moves to the next name that is followed by a colon. It returns false at the end of the
// object (of the text, with anywhere), at a string without an end, and after most strings.
func (s *scanner) toMember() bool {
	for ; !s.done() && (s.anywhere || s.text[s.at] != '}'); s.at++ {
		if s.text[s.at] != '"' {
			continue
		}
		if s.names++; s.names > s.most {
			return false
		}
		ahead := *s
		if ahead.string().cut {
			return false
		}
		before := ahead.at - 2
		ahead.space()
		if !ahead.done() && ahead.text[ahead.at] == ':' {
			return true
		}
		// The closing quote may open another string. The quotes inside are escaped, and trying each
		// of them would take quadratic time.
		s.at = before
	}
	return false
}

// member moves past the member that begins here.
func (s *scanner) member() member {
	name := s.string()
	s.space()
	s.at++ // the colon
	s.space()
	return member{unquoted(name), s.value()}
}

// string moves past the string that begins here and returns it with its quotes.
func (s *scanner) string() value {
	began := s.at
	for s.at++; !s.done(); s.at++ {
		switch s.text[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			return value{raw: s.text[began:s.at]}
		}
	}
	s.at = len(s.text)
	return value{s.text[began:], true}
}

// value moves past the value that begins here.
func (s *scanner) value() value {
	if s.done() {
		return value{cut: true}
	}
	switch s.text[s.at] {
	case '"':
		return s.string()
	case '{', '[':
		return s.nested()
	}
	began := s.at
	for ; !s.done(); s.at++ {
		switch s.text[s.at] {
		case ',', '}', ']', '"', ' ':
			return value{raw: s.text[began:s.at]}
		}
	}
	return value{s.text[began:], true}
}

// nested moves past the object or list that begins here.
func (s *scanner) nested() value {
	began := s.at
	for depth := 0; !s.done(); {
		switch s.text[s.at] {
		case '"':
			s.string()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		s.at++
		if depth == 0 {
			return value{raw: s.text[began:s.at]}
		}
	}
	return value{s.text[began:], true}
}

// unquoted returns a member's name, or "" if it cannot be read.
func unquoted(v value) string {
	if len(v.raw) >= 2 && !bytes.ContainsRune(v.raw, '\\') {
		return string(v.raw[1 : len(v.raw)-1])
	}
	var name string
	_ = json.Unmarshal(v.raw, &name)
	return name
}
