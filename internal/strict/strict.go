// Package strict reads what strangers send: JSON objects and queries in which nothing is said twice, misspelled or left over.
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

// ErrContentType says that a body is not labelled application/json in UTF-8. A body without a label is taken for JSON.
var ErrContentType = errors.New("content type is not application/json")

// Fault says which field is wrong and why; Field is "" where it is the whole.
type Fault struct {
	Field, Why string
	foreign    bool // Field is the stranger's own word, perhaps a secret in the wrong place: for his answer, never for a log
}

// Error names the field where the name is one of ours.
func (f *Fault) Error() string {
	if f.Field == "" || f.foreign {
		return f.Why
	}
	return f.Field + ": " + f.Why
}

// Detail names the field, for the one who sent it.
func (f *Fault) Detail() string {
	if f.Field == "" {
		return f.Why
	}
	return f.Field + ": " + f.Why
}

// Body reads the JSON object in r's body into a struct: ErrTooLarge, ErrContentType or a *Fault.
func Body(r *http.Request, into any) error {
	if r.ContentLength > BodyLimit {
		return ErrTooLarge
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, BodyLimit+1))
	if err != nil {
		return &Fault{Why: "body could not be read"}
	}
	if len(body) > BodyLimit {
		return ErrTooLarge
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		return ErrContentType
	}
	return Object(body, into)
}

func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	media, parameters, err := mime.ParseMediaType(contentType)
	charset := parameters["charset"]
	return err == nil && media == "application/json" && (charset == "" || strings.EqualFold(charset, "utf-8"))
}

// Object reads a JSON object into a struct, or fails with a *Fault: broken UTF-8, a key given twice or spelled in another case, an unknown field, a wrong type, anything behind the object.
func Object(text []byte, into any) error {
	if !utf8.Valid(text) {
		return &Fault{Why: "body is not UTF-8"}
	}
	if err := eachKey(text, knownKeys(into)); err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(into); err != nil {
		return asFault(err)
	}
	return nil
}

func asFault(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return &Fault{Field: wrong.Field, Why: "has the wrong type"}
	}
	return &Fault{Why: "body is not a JSON object"}
}

// encoding/json takes a key in any case and the last of two, so both are looked at here.
func eachKey(text []byte, known []string) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if first, err := decoder.Token(); err != nil || first != json.Delim('{') {
		return &Fault{Why: "body is not a JSON object"}
	}
	seen := map[string]bool{}
	for decoder.More() {
		key, err := decoder.Token()
		name, ok := key.(string)
		if err != nil || !ok {
			return &Fault{Why: "body is not a JSON object"}
		}
		if !slices.Contains(known, name) {
			return &Fault{clip(name), "is not a field of this request", true}
		}
		if seen[name] {
			return &Fault{Field: name, Why: "is given twice"}
		}
		seen[name] = true
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return &Fault{Why: "body is not a JSON object"}
		}
	}
	return end(decoder)
}

func end(decoder *json.Decoder) error {
	if _, err := decoder.Token(); err != nil {
		return &Fault{Why: "body is not a JSON object"}
	}
	if _, err := decoder.Token(); err != io.EOF {
		return &Fault{Why: "something stands behind the JSON object"}
	}
	return nil
}

// A stranger's key may be long or a secret in the wrong place, so little of it is shown.
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
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		known = append(known, name)
	}
	return known
}

// Query reads a query in which only the given names may stand, each at most once. It fails with a *Fault.
func Query(r *http.Request, names ...string) (url.Values, error) {
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
