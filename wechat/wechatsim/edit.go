package wechatsim

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// value is a JSON value in which one place can be changed while every other byte stays.
type value struct {
	raw     []byte // the text, unless it is split
	open    byte   // '{' or '[' once it is split into members, else 0
	members []member
}

// member is a member of an object or, with an empty key, of an array.
type member struct {
	key   string
	value *value
}

// edited returns text with some members set and then some dropped. A path is joined by dots, with
// the index of an array's element, or "-" for a new last one: list.0.refresh_token, func_info.-
func edited(text []byte, set map[string]json.RawMessage, drop []string) []byte {
	text, marked := bytes.CutPrefix(text, []byte(byteOrderMark))
	root := &value{raw: text}
	for _, path := range slices.Sorted(maps.Keys(set)) {
		root.find(path, true).become(set[path])
	}
	for _, path := range drop {
		root.drop(path)
	}
	if marked {
		return slices.Concat([]byte(byteOrderMark), root.text())
	}
	return root.text()
}

// byteOrderMark is not JSON, but Behaviour.Field puts it before some answers.
const byteOrderMark = "\xef\xbb\xbf"

// find returns the value at the path. Without create it returns nil if there is none.
func (v *value) find(path string, create bool) *value {
	for step := range strings.SplitSeq(path, ".") {
		if v = v.child(step, create); v == nil {
			return nil
		}
	}
	return v
}

func (v *value) child(step string, create bool) *value {
	v.split()
	if v.open == 0 && create {
		v.open = '{'
	}
	if i := v.index(step); i >= 0 {
		return v.members[i].value
	}
	if !create {
		return nil
	}
	m := member{value: &value{raw: []byte("null")}}
	if v.open == '{' {
		m.key = step
	}
	v.members = append(v.members, m)
	return m.value
}

// index returns the index of a member, or -1.
func (v *value) index(step string) int {
	if v.open == '[' {
		i, err := strconv.Atoi(step)
		if err != nil || i < 0 || i >= len(v.members) {
			return -1
		}
		return i
	}
	return slices.IndexFunc(v.members, func(m member) bool { return m.key == step })
}

// each calls do with every value below v, and then with those below that one, as do left it.
func (v *value) each(do func(key string, v *value)) {
	v.split()
	for _, m := range v.members {
		do(m.key, m.value)
		m.value.each(do)
	}
}

func (v *value) become(text []byte) { *v = value{raw: text} }

func (v *value) drop(path string) {
	parent, last := v, path
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		parent, last = v.find(path[:i], false), path[i+1:]
	}
	if parent == nil {
		return
	}
	parent.split()
	if i := parent.index(last); i >= 0 {
		parent.members = slices.Delete(parent.members, i, i+1)
	}
}

// split splits an object or an array, and leaves everything else as it is.
func (v *value) split() {
	if v.open != 0 {
		return
	}
	d := json.NewDecoder(bytes.NewReader(v.raw))
	first, err := d.Token()
	delimiter, compound := first.(json.Delim)
	if err != nil || !compound {
		return
	}
	var members []member
	for d.More() {
		m, err := readMember(d, delimiter == '{')
		if err != nil {
			return
		}
		members = append(members, m)
	}
	v.open, v.members = byte(delimiter), members
}

func readMember(d *json.Decoder, hasKey bool) (member, error) {
	var m member
	if hasKey {
		key, err := d.Token()
		if err != nil {
			return member{}, err
		}
		m.key = key.(string)
	}
	var raw json.RawMessage
	err := d.Decode(&raw)
	m.value = &value{raw: raw}
	return m, err
}

func (v *value) text() []byte {
	if v.open == 0 {
		return v.raw
	}
	b := bytes.NewBuffer([]byte{v.open})
	for i, m := range v.members {
		if i > 0 {
			b.WriteByte(',')
		}
		if v.open == '{' {
			b.Write(encode(m.key))
			b.WriteByte(':')
		}
		b.Write(m.value.text())
	}
	b.WriteByte(v.open + 2) // '}' and ']' come two after '{' and '['
	return b.Bytes()
}
