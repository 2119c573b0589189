package wechat

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Fields are the elements directly below the root of a pushed message, or the members of its JSON
// object, in order.
type Fields []field

type field struct{ name, value string }

// ParsePush reads the fields of a pushed message or of its envelope, in XML or JSON. It never
// fails: it skips what is malformed, so that a bad byte costs only its own field. It does not check
// whether the message is authentic; that is for its signature (see Envelope).
//
// A field is never made from the content of another: CDATA is not parsed and ends where XML says,
// and what is inside a closed element belongs to that element. What is inside an element that is
// never closed counts as following it.
func ParsePush(text []byte) Fields {
	trimmed := trimStart(string(text))
	if strings.HasPrefix(trimmed, "{") {
		object, _ := ParseObject([]byte(trimmed))
		return fieldsOf(object)
	}
	s := newXMLScanner(trimmed)
	return s.scan()
}

// maxEnvelopeParts is how many parts an envelope may have: tags, comments, entities in its Encrypt,
// members. WeChat's have fewer than ten. It limits the work that an attacker's body can cause
// before its signature is checked.
const maxEnvelopeParts = 256

// maxEnvelopeStart is how many bytes may stand before an envelope's root.
const maxEnvelopeStart = 1024

// parseEnvelope is ParsePush for an envelope, of which only Encrypt is read. It returns false, and
// reads no further, where the body has more parts than an envelope.
func parseEnvelope(body []byte) (Fields, bool) {
	start := string(body[:min(len(body), maxEnvelopeStart)])
	body = body[len(start)-len(trimStart(start)):]
	if bytes.HasPrefix(body, []byte("{")) {
		members, ok := scanSomeMembers(scrub(body), maxEnvelopeParts)
		return fieldsOf(Object{members: members}), ok
	}
	s := newXMLScanner(string(body))
	s.only, s.most = "Encrypt", maxEnvelopeParts
	fields := s.scan()
	return fields, s.rest == ""
}

func trimStart(text string) string {
	return strings.TrimLeftFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '\ufeff' })
}

// Text returns the field with exactly this name, without control characters, invalid UTF-8 and
// surrounding blanks, or "" if there is none. If there are several, the first that is not empty
// counts: WeChat writes its own fields before what a customer wrote.
func (f Fields) Text(name string) string {
	for _, one := range f {
		if one.name != name {
			continue
		}
		if text := strings.TrimSpace(strings.Map(printable, strings.ToValidUTF8(one.value, ""))); text != "" {
			return text
		}
	}
	return ""
}

func printable(r rune) rune {
	if unicode.IsControl(r) {
		return -1
	}
	return r
}

// xmlScanner reads elements without requiring a well-formed document. It takes time linear in the
// length of the text.
type xmlScanner struct {
	rest   string
	open   []element       // from the outermost inwards
	last   map[string]int  // by name, the place in open of the innermost, counted from 1
	root   int             // the index in open of the root
	fields Fields          // the closed elements, except those inside another closed one
	absent map[string]bool // delimiters that do not occur in rest
	only   string          // the elements whose text is wanted, with any prefix; "" is all
	parts  int             // how many were read: markup, and entities in wanted text
	most   int             // parts after which scan stops
}

type element struct {
	name  string
	text  []byte
	first int // the number of fields before it: the later ones are inside it
	outer int // the place in open of the one with its name around it, counted from 1
}

func newXMLScanner(text string) xmlScanner {
	return xmlScanner{rest: text, last: map[string]int{}, absent: map[string]bool{}, most: math.MaxInt}
}

// scan returns the fields of rest. If there are more parts than most, it stops and rest is not
// empty.
func (s *xmlScanner) scan() Fields {
	for s.rest != "" && s.parts <= s.most {
		markup := strings.IndexByte(s.rest, '<')
		if markup < 0 {
			markup = len(s.rest)
		}
		if !s.escaped(s.rest[:markup]) {
			break
		}
		s.rest = s.rest[markup:]
		s.parts++
		s.markup()
	}
	for _, unclosed := range s.open[min(s.root+1, len(s.open)):] {
		s.fields = append(s.fields, field{unclosed.name, string(unclosed.text)})
	}
	return s.fields
}

// escaped decodes text and adds it to the innermost open element. It returns false, and adds
// nothing, if the text has too many entities.
func (s *xmlScanner) escaped(text string) bool {
	if !s.wanted() {
		return true
	}
	s.parts += strings.Count(text, "&")
	if s.parts > s.most {
		return false
	}
	s.add(unescape(text))
	return true
}

// wanted reports whether the text of the innermost open element is.
func (s *xmlScanner) wanted() bool {
	n := len(s.open)
	return n > 0 && (s.only == "" || s.open[n-1].name == s.only)
}

// add adds text to the innermost open element.
func (s *xmlScanner) add(text string) {
	if s.wanted() {
		inner := &s.open[len(s.open)-1]
		inner.text = append(inner.text, text...)
	}
}

// markup reads what begins with the < at the start of rest. If it begins nothing, it is text.
func (s *xmlScanner) markup() {
	if s.rest == "" || s.skip("<!--", "-->") || s.cdata() || s.skip("<?", ">") || s.skip("<!", ">") || s.tag() {
		return
	}
	s.add("<")
	s.rest = s.rest[1:]
}

// between takes the text between begin and end from rest, if rest starts with begin and has such an
// end.
func (s *xmlScanner) between(begin, end string) (inside string, ok bool) {
	behind, begins := strings.CutPrefix(s.rest, begin)
	if !begins || s.absent[end] {
		return "", false
	}
	inside, rest, ok := strings.Cut(behind, end)
	if !ok {
		s.absent[end] = true
		return "", false
	}
	s.rest = rest
	return inside, true
}

func (s *xmlScanner) skip(begin, end string) bool {
	_, ok := s.between(begin, end)
	return ok
}

func (s *xmlScanner) cdata() bool {
	inside, ok := s.between("<![CDATA[", "]]>")
	s.add(inside)
	return ok
}

// tag reads a start or end tag. A tag has no < inside, and its name begins with a letter.
func (s *xmlScanner) tag() bool {
	end := 1 + strings.IndexAny(s.rest[1:], "<>")
	if end == 0 || s.rest[end] == '<' {
		return false
	}
	inside := s.rest[1:end]
	name, closes := strings.CutPrefix(inside, "/")
	name = tagName(name)
	if name == "" {
		return false
	}
	if s.only != "" { // a prefix does not matter in an envelope: the signature decides
		name = name[strings.IndexByte(name, ':')+1:]
	}
	s.rest = s.rest[end+1:]
	if closes {
		s.leave(name)
		return true
	}
	s.enter(name)
	if strings.HasSuffix(inside, "/") {
		s.leave(name)
	}
	return true
}

func tagName(inside string) string {
	inside = strings.TrimSpace(inside)
	if first, _ := utf8.DecodeRuneInString(inside); !unicode.IsLetter(first) && first != '_' {
		return ""
	}
	if end := strings.IndexAny(inside, " \t\r\n/"); end >= 0 {
		return inside[:end]
	}
	return inside
}

// enter opens an element. The outermost one is the root, except before one named xml: WeChat's root
// has that name, so the others are strays.
func (s *xmlScanner) enter(name string) {
	if len(s.open) > 0 && isRoot(name) && !isRoot(s.open[s.root].name) {
		s.root = len(s.open)
	}
	s.open = append(s.open, element{name: name, first: len(s.fields), outer: s.last[name]})
	s.last[name] = len(s.open)
}

func isRoot(name string) bool { return strings.EqualFold(name, "xml") }

// leave closes the innermost open element with this name and everything inside it, closed or not.
// The root stays open, because its end tag may come too early, or twice.
func (s *xmlScanner) leave(name string) {
	i := s.last[name] - 1
	if i < 0 || i == s.root {
		return
	}
	if i < s.root {
		s.root = 0 // it has an end tag and is around the supposed root, so it was no stray
	}
	closed := s.open[i]
	s.fields = s.fields[:closed.first]
	if i > s.root {
		s.fields = append(s.fields, field{name, string(closed.text)})
	}
	for _, inside := range slices.Backward(s.open[i:]) {
		s.last[inside.name] = inside.outer
	}
	s.open = s.open[:i]
}

// unescape decodes XML's predefined entities, and leaves all others as they are: no DTD is read.
func unescape(text string) string {
	parts := strings.Split(text, "&")
	var b strings.Builder
	b.WriteString(parts[0])
	for _, part := range parts[1:] {
		name, behind, ended := strings.Cut(part, ";")
		r, known := entity(name)
		if ended && known {
			b.WriteRune(r)
			b.WriteString(behind)
		} else {
			b.WriteString("&" + part)
		}
	}
	return b.String()
}

var entities = map[string]rune{"amp": '&', "lt": '<', "gt": '>', "quot": '"', "apos": '\''}

func entity(name string) (r rune, known bool) {
	if number, ok := strings.CutPrefix(name, "#"); ok {
		hex, isHex := strings.CutPrefix(number, "x")
		base := 10
		if isHex {
			base = 16
		}
		n, err := strconv.ParseUint(hex, base, 31)
		return rune(n), err == nil && n <= unicode.MaxRune
	}
	r, known = entities[name]
	return r, known
}

// fieldsOf returns the members of an object that are texts or numbers.
func fieldsOf(object Object) (fields Fields) {
	for _, one := range object.members {
		if value, _, ok := one.text(); ok {
			fields = append(fields, field{one.name, value})
		} else if one.isNumber() {
			fields = append(fields, field{one.name, string(one.raw)})
		}
	}
	return fields
}
