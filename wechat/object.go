package wechat

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"wxplatform/internal/seal"
)

const (
	nameLimit   = 256 // characters of a name that are kept
	defaultLife = 2 * time.Hour
	longestLife = 24 * time.Hour
)

// Object is a JSON object that WeChat sent. Its members are read one by one, so that a bad one
// costs only itself: each method reports whether the member is present and readable as the type
// asked for. Names are compared exactly. If a name occurs more than once, the last readable member
// counts.
//
// Real answers differ from WeChat's documents: numbers come as text or as floats, names hold raw
// control bytes, members are null or missing, and an answer can be cut off. What a method tolerates
// or cannot read is reported to Observer.Odd, by the member's name and without its value.
type Object struct {
	text    []byte
	members []member
	within  string // the names of the enclosing objects, each followed by a dot
	loose   bool   // members holds those of all objects in the text (see looseObject)
	odd     func(field, what string)
}

// What Observer.Odd is told about a member.
const (
	OddMissing     = "missing"     // it is required
	OddUnreadable  = "unreadable"  // of a type that cannot be converted, or cut off
	OddType        = "type"        // a number as text, or text as a number
	OddControl     = "control"     // it held control characters or invalid UTF-8
	OddImplausible = "implausible" // it cannot be what its name says
	OddClamped     = "clamped"     // out of range, so that another value was used
)

// ParseObject finds the members of the object in text, even if the JSON is broken or ends early. It
// returns false if text does not begin with an object.
func ParseObject(text []byte) (Object, bool) { return parseObject(text, "", nil) }

func parseObject(text []byte, within string, odd func(field, what string)) (Object, bool) {
	clean := scrub(text)
	if len(clean) == 0 || clean[0] != '{' {
		return Object{}, false
	}
	return Object{text: clean, members: scanMembers(clean), within: within, odd: odd}, true
}

// looseObject returns an object with the members of all objects in text, however broken the text
// is. Object returns this same object for every name. It is for values that WeChat sends only once,
// which must not be lost because what surrounds them is not JSON.
func looseObject(text []byte, odd func(field, what string)) Object {
	clean := scrub(text)
	return Object{text: clean, members: scanAnywhere(clean), loose: true, odd: odd}
}

// Whole reports whether the text is valid JSON, with nothing after the object.
func (o Object) Whole() bool { return json.Valid(o.text) }

// JSON returns the object's text without the bytes that JSON never holds (see scrub). The caller
// must not change it.
func (o Object) JSON() []byte { return o.text }

// Mentions reports whether a member with one of these names occurs anywhere in the object.
func (o Object) Mentions(names ...string) bool {
	for _, name := range names {
		if bytes.Contains(o.text, []byte(`"`+name+`"`)) {
			return true
		}
	}
	return false
}

// Empty reports whether the object has no members.
func (o Object) Empty() bool { return len(o.members) == 0 }

// Has reports whether there is a member with that name, readable or not.
func (o Object) Has(name string) bool {
	for _, m := range o.members {
		if m.name == name {
			return true
		}
	}
	return false
}

// Agrees reports whether all members with that name have the same value, if there are several.
func (o Object) Agrees(name string) bool {
	var first *member
	for i, m := range o.members {
		switch {
		case m.name != name:
		case first == nil:
			first = &o.members[i]
		case !bytes.Equal(m.raw, first.raw):
			return false
		}
	}
	return true
}

// hasValue reports whether there is a member with that name that is not null.
func (o Object) hasValue(name string) bool {
	return slices.ContainsFunc(o.members, func(m member) bool { return m.name == name && string(m.raw) != "null" })
}

// Odd reports something about the member with that name to Observer.Odd.
func (o Object) Odd(name, what string) {
	if o.odd != nil {
		o.odd(o.within+name, what)
	}
}

// Text returns a text without control characters. A number is returned as its digits.
func (o Object) Text(name string) (string, bool) {
	return find(o, name, func(v value) (string, string, bool) {
		if text, scrubbed, ok := v.text(); ok {
			return text, oddIf(scrubbed, OddControl), true
		}
		return string(v.raw), OddType, v.isNumber()
	})
}

// Name returns a Text of at most 256 characters; the rest is cut off.
func (o Object) Name(name string) (string, bool) {
	text, ok := o.Text(name)
	text, cut := cutName(text)
	if cut {
		o.Odd(name, OddClamped)
	}
	return text, ok
}

func cutName(text string) (short string, cut bool) {
	if utf8.RuneCountInString(text) <= nameLimit {
		return text, false
	}
	return string([]rune(text)[:nameLimit]), true
}

// Secret returns a text without blanks around it. An empty one is not readable.
func (o Object) Secret(name string) (seal.Secret, bool) {
	return find(o, name, func(v value) (seal.Secret, string, bool) {
		text, scrubbed, ok := v.text()
		secret := strings.TrimFunc(text, isBlank)
		return seal.NewSecret(secret), oddIf(scrubbed || secret != text, OddControl), ok && secret != ""
	})
}

// AppID returns an appid, if it is plausible.
func (o Object) AppID(name string) (AppID, bool) {
	text, ok := o.Text(name)
	id := AppID(strings.TrimSpace(text))
	if ok && !id.Plausible() {
		o.Odd(name, OddImplausible)
		return "", false
	}
	return id, ok
}

// Int returns a whole number, written as a number, as text or as a float.
func (o Object) Int(name string) (int64, bool) {
	return find(o, name, func(v value) (int64, string, bool) {
		if v.isNumber() {
			n, ok := wholeNumber(string(v.raw))
			return n, oddIf(bytes.ContainsAny(v.raw, ".eE"), OddType), ok
		}
		text, _, ok := v.text()
		if !ok {
			return 0, "", false
		}
		n, ok := wholeNumber(strings.TrimSpace(text))
		return n, OddType, ok
	})
}

// Life returns how long a token or a code is valid; WeChat sends seconds. A member that is missing,
// unreadable, not positive or longer than a day counts as two hours, which WeChat documents for its
// tokens.
func (o Object) Life(name string) time.Duration {
	seconds, ok := o.Int(name)
	switch {
	case ok && 0 < seconds && seconds <= int64(longestLife.Seconds()):
		return time.Duration(seconds) * time.Second
	case ok:
		o.Odd(name, OddClamped)
	case !o.Has(name):
		o.Odd(name, OddMissing)
	}
	return defaultLife
}

// Object returns an object.
func (o Object) Object(name string) (Object, bool) {
	if o.loose {
		return o, true
	}
	return find(o, name, func(v value) (Object, string, bool) {
		inner, ok := parseObject(v.raw, o.within+name+".", o.odd)
		return inner, "", ok
	})
}

// List is a list of objects.
type List struct {
	Objects []Object
	Len     int // of the list as it came, with the entries that are not objects
}

// List returns a list of objects, without the entries that are not objects. A list with more than
// ten thousand entries is not readable.
func (o Object) List(name string) (List, bool) {
	return find(o, name, func(v value) (List, string, bool) {
		if len(v.raw) == 0 || v.raw[0] != '[' {
			return List{}, "", false
		}
		entries, ok := scanEntries(v.raw)
		if !ok {
			return List{}, "", false
		}
		list := List{make([]Object, 0, len(entries)), len(entries)}
		for _, entry := range entries {
			if one, ok := parseObject(entry.raw, o.within+name+".", o.odd); ok {
				list.Objects = append(list.Objects, one)
			} else {
				o.Odd(name, OddUnreadable)
			}
		}
		return list, "", true
	})
}

// PermissionSets returns the sets that a merchant granted, in the form of WeChat's func_info
// ({"funcscope_category":{"id":1}}). A bad entry is skipped, and then all is false. A list without
// a readable entry says nothing: an account that authorized the component has granted something,
// and WeChat sometimes sends an empty list even so (docs/wechat.md, "Profile of an
// authorizer").
func (o Object) PermissionSets(name string) (sets PermissionSets, all bool) {
	list, _ := o.List(name)
	for _, entry := range list.Objects {
		category, _ := entry.Object("funcscope_category")
		if id, ok := category.Int("id"); ok && 0 < id && id <= math.MaxInt32 {
			sets = append(sets, PermissionSet(id))
		} else {
			entry.Odd("funcscope_category", OddUnreadable)
		}
	}
	if len(sets) == 0 {
		o.Odd(name, OddMissing)
	}
	return sets, len(sets) == list.Len
}

// find returns what read makes of the last member with that name that it can read.
func find[T any](o Object, name string, read func(value) (got T, odd string, ok bool)) (T, bool) {
	seen := false
	for i := len(o.members) - 1; i >= 0; i-- {
		if o.members[i].name != name {
			continue
		}
		seen = true
		if got, odd, ok := read(o.members[i].value); ok {
			if odd != "" {
				o.Odd(name, odd)
			}
			return got, true
		}
	}
	if seen {
		o.Odd(name, OddUnreadable)
	}
	var none T
	return none, false
}

func oddIf(is bool, what string) string {
	if is {
		return what
	}
	return ""
}

// wholeNumber reads 7200, 7200.0 and 7.2e3.
func wholeNumber(text string) (int64, bool) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, false
	}
	return int64(f), true
}

// scrub removes invalid UTF-8, raw control bytes, and white space and format characters in front.
// Control bytes between members are only layout.
func scrub(text []byte) []byte {
	if !utf8.Valid(text) {
		text = bytes.ToValidUTF8(text, nil)
	}
	if bytes.ContainsFunc(text, isRawControl) {
		text = bytes.Map(func(r rune) rune {
			if isRawControl(r) {
				return -1
			}
			return r
		}, text)
	}
	return bytes.TrimLeftFunc(text, isBlank)
}

func isRawControl(r rune) bool { return r < ' ' || r == 0x7f }

// isBlank reports whether r is white space or a format character, such as a byte order mark.
func isBlank(r rune) bool { return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) }

// scrubText removes the control characters that a text has as escapes.
func scrubText(text string) (clean string, scrubbed bool) {
	clean = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, text)
	return clean, clean != text
}
