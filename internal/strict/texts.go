package strict

import (
	"reflect"
	"strings"
)

// readTexts reads the usual body: an object whose members are all string fields of into, an empty
// struct, with values of printable ASCII without escapes. It reports false for every other text,
// right or wrong, after which into may be partly set, and the text must be read in another way. A
// call that WeChat answers at once would spend a tenth of its time in encoding/json.
func readTexts(text []byte, into reflect.Value) bool {
	rest, found := strings.CutPrefix(blank(string(text)), "{")
	for found {
		var name, value string
		if name, rest, found = plainString(rest); !found {
			return false
		}
		if rest, found = strings.CutPrefix(blank(rest), ":"); !found {
			return false
		}
		if value, rest, found = plainString(rest); !found || !setText(into, name, value) {
			return false
		}
		if rest = blank(rest); strings.HasPrefix(rest, "}") {
			return blank(rest[1:]) == ""
		}
		rest, found = strings.CutPrefix(rest, ",")
	}
	return false
}

// setText sets the field with the given name, and reports false if there is none that is a string
// and still empty.
func setText(into reflect.Value, name, value string) bool {
	for i := range into.NumField() {
		if nameOf(into.Type(), i) == name {
			field := into.Field(i)
			if !field.CanSet() || field.Kind() != reflect.String || field.Len() > 0 {
				return false
			}
			field.SetString(value)
			return true
		}
	}
	return false
}

// blank returns text without the blanks at its beginning, which there usually are none of.
func blank(text string) string {
	if text != "" && text[0] > ' ' {
		return text
	}
	return strings.TrimLeft(text, " \t\r\n")
}

// plainString cuts a string that is plain and not empty off the beginning of text, and the blanks
// before it.
func plainString(text string) (value, rest string, ok bool) {
	text = blank(text)
	if text == "" || text[0] != '"' {
		return "", "", false
	}
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return text[1:i], text[i+1:], i > 1
		case c < ' ' || c > '~' || c == '\\':
			return "", "", false
		}
	}
	return "", "", false
}
