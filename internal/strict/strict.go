// Package strict reads JSON objects and queries from callers, and refuses duplicate, misspelt and
// unknown names.
package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// BodyLimit is the largest body that is read, in bytes.
const BodyLimit = 64 << 10

// ErrTooLarge says that a body is over BodyLimit.
var ErrTooLarge = errors.New("body over 64 KiB")

// ErrContentType says that a body is not labelled application/json in UTF-8. A body without a label
// is read as JSON.
var ErrContentType = errors.New("content type is not application/json")

// Fault says which field is wrong and why. Field is "" if it is the whole body or query.
type Fault struct {
	Field, Why string
	foreign    bool // Field is the caller's own text, perhaps a secret in the wrong place: for the response, never for a log
}

// Error names the field only if its name is one of ours.
func (f *Fault) Error() string {
	if f.Field == "" || f.foreign {
		return f.Why
	}
	return f.Field + ": " + f.Why
}

// Detail names the field, for the response.
func (f *Fault) Detail() string {
	if f.Field == "" {
		return f.Why
	}
	return f.Field + ": " + f.Why
}

// Body reads the JSON object in r's body into a struct and returns the body as it came. It fails
// with ErrTooLarge, ErrContentType or a *Fault.
func Body(r *http.Request, into any) ([]byte, error) {
	if r.ContentLength > BodyLimit {
		return nil, ErrTooLarge
	}
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		return nil, ErrContentType
	}
	return body, Object(body, into)
}

// shortBody is the size up to which memory for a body is taken before it arrives.
const shortBody = 4 << 10

// readBody reads a short body whose length is known with one allocation.
func readBody(r *http.Request) ([]byte, error) {
	if 0 <= r.ContentLength && r.ContentLength <= shortBody {
		body := make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, body); err != nil {
			return nil, &Fault{Why: "body could not be read"}
		}
		return body, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, BodyLimit+1))
	if err != nil {
		return nil, &Fault{Why: "body could not be read"}
	}
	if len(body) > BodyLimit {
		return nil, ErrTooLarge
	}
	return body, nil
}

func isJSON(contentType string) bool {
	if contentType == "" || contentType == "application/json" {
		return true
	}
	media, parameters, err := mime.ParseMediaType(contentType)
	charset := parameters["charset"]
	return err == nil && media == "application/json" && (charset == "" || strings.EqualFold(charset, "utf-8"))
}

// Object reads a JSON object into a struct, or fails with a *Fault: invalid UTF-8, a key that is
// there twice or in another case, an unknown field, a wrong type, or text after the object.
func Object(text []byte, into any) error {
	if readTexts(text, reflect.ValueOf(into).Elem()) {
		return nil
	}
	if !utf8.Valid(text) {
		return &Fault{Why: "body is not UTF-8"}
	}
	text = bytes.TrimLeft(text, " \t\r\n")
	if !bytes.HasPrefix(text, []byte("{")) {
		return &Fault{Why: "body is not one JSON object"}
	}
	if err := json.Unmarshal(text, into); err != nil {
		return asFault(err)
	}
	return checkKeys(keys(text), knownKeys(into))
}

func asFault(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return &Fault{Field: wrong.Field, Why: "has the wrong type"}
	}
	return &Fault{Why: "body is not one JSON object"}
}

// checkKeys checks what encoding/json does not: it accepts a key in any case, and the last of two.
func checkKeys(given, known []string) error {
	for i, name := range given {
		if !slices.Contains(known, name) {
			return &Fault{clip(name), "is not a field of this request", true}
		}
		if slices.Contains(given[:i], name) {
			return &Fault{Field: name, Why: "is given twice"}
		}
	}
	return nil
}

// keys returns the keys of a valid object in order, without those of nested objects.
func keys(object []byte) []string {
	names := make([]string, 0, 4)
	depth := 0
	for i := 0; i < len(object); i++ {
		switch object[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			end := endOfString(object, i)
			if depth == 1 && isKey(object[end:]) {
				names = append(names, unquote(object[i:end]))
			}
			i = end - 1
		}
	}
	return names
}

// endOfString returns where the string that begins at the quote i ends.
func endOfString(text []byte, i int) int {
	for i++; text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i + 1
}

func isKey(behind []byte) bool {
	behind = bytes.TrimLeft(behind, " \t\r\n")
	return behind[0] == ':'
}

func unquote(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var name string
	_ = json.Unmarshal(quoted, &name) // it is valid
	return name
}

// clip shortens a caller's key, which may be long, or a secret in the wrong place.
func clip(name string) string {
	const most = 32
	if len(name) > most {
		name = strings.ToValidUTF8(name[:most], "") + "…"
	}
	return fmt.Sprintf("%q", name)
}

func knownKeys(into any) []string {
	var known []string
	t := reflect.TypeOf(into).Elem()
	for i := range t.NumField() {
		known = append(known, nameOf(t, i))
	}
	return known
}

// nameOf returns the name in JSON of a struct's field.
func nameOf(t reflect.Type, field int) string {
	name, _, _ := strings.Cut(t.Field(field).Tag.Get("json"), ",")
	return name
}

// Query reads a query that may have only the given names, each at most once. It fails with a
// *Fault.
func Query(r *http.Request, names ...string) (url.Values, error) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || !utf8.ValidString(r.URL.RawQuery) {
		return nil, &Fault{Why: "query is malformed"}
	}
	for name, given := range values {
		if !slices.Contains(names, name) {
			return nil, &Fault{clip(name), "is not a parameter of this request", true}
		}
		if len(given) > 1 {
			return nil, &Fault{Field: name, Why: "is given twice"}
		}
		if !utf8.ValidString(given[0]) {
			return nil, &Fault{Field: name, Why: "is not UTF-8"}
		}
	}
	return values, nil
}
