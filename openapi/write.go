package openapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

// lineWidth is how long a line of the document may be, so that a small value stands on one line and
// a change shows as a change of few lines.
const lineWidth = 120

// first are the members that come first in any object, in this order. The others follow by name.
var first = []string{"openapi", "info", "title", "servers", "$ref", "name", "operationId", "summary", "description", "tags", "paths", "type"}

// write writes a value as indented JSON, always in the same order.
func write(value any) []byte {
	var out bytes.Buffer
	writeValue(&out, value, "", 0)
	out.WriteByte('\n')
	return out.Bytes()
}

// writeValue writes a value at an indentation. taken is what stands on its first line before it.
func writeValue(out *bytes.Buffer, value any, indent string, taken int) {
	line := oneLine(value)
	if len(indent)+taken+len(line) <= lineWidth {
		out.WriteString(line)
		return
	}
	deeper := indent + "  "
	switch v := value.(type) {
	case object:
		out.WriteString("{\n")
		for i, name := range ordered(v) {
			separate(out, i)
			start := text(name) + ": "
			out.WriteString(deeper + start)
			writeValue(out, v[name], deeper, len(start))
		}
		out.WriteString("\n" + indent + "}")
	case []any:
		out.WriteString("[\n")
		for i, each := range v {
			separate(out, i)
			out.WriteString(deeper)
			writeValue(out, each, deeper, 0)
		}
		out.WriteString("\n" + indent + "]")
	default:
		out.WriteString(line)
	}
}

func separate(out *bytes.Buffer, i int) {
	if i > 0 {
		out.WriteString(",\n")
	}
}

// oneLine is a value on one line.
func oneLine(value any) string {
	switch v := value.(type) {
	case object:
		var members []string
		for _, name := range ordered(v) {
			members = append(members, text(name)+": "+oneLine(v[name]))
		}
		return "{" + strings.Join(members, ", ") + "}"
	case []any:
		var all []string
		for _, each := range v {
			all = append(all, oneLine(each))
		}
		return "[" + strings.Join(all, ", ") + "]"
	}
	return text(value)
}

// text is a string, a number, a boolean or null as JSON. Browsers do not read the document as HTML,
// so < stays as it is.
func text(scalar any) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(scalar); err != nil {
		panic(err) // a scalar can always be encoded
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func ordered(o object) []string {
	rank := func(name string) int {
		if i := slices.Index(first, name); i >= 0 {
			return i
		}
		return len(first)
	}
	names := sorted(o)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
	return names
}
