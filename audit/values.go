package audit

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
)

// Values are named values of a subject, as a JSON object. The zero value says that the subject does
// not exist, or that the action has no values.
type Values struct{ object string }

// Field is one named value.
type Field struct{ member string }

// Plain are the types that a value may have. None of them can hold a seal.Secret, a sealed value or
// a key, so the compiler keeps those out of the trail.
type Plain interface {
	~string | ~bool | ~int | ~int64 | ~[]string
}

// Of returns the values of the fields, in their order.
func Of(fields ...Field) Values {
	members := make([]string, len(fields))
	for i, f := range fields {
		members[i] = f.member
	}
	return Values{"{" + strings.Join(members, ",") + "}"}
}

// Is is the field name with this value.
func Is[T Plain](name string, value T) Field { return field(name, value) }

// When is the field name with a time, or with null for the zero time.
func When(name string, at time.Time) Field {
	if at.IsZero() {
		return Null(name)
	}
	return Is(name, at.UTC().Format(time.RFC3339Nano))
}

// Null is the field name with null.
func Null(name string) Field { return field(name, nil) }

func field(name string, value any) Field { return Field{text(name) + ":" + text(value)} }

// text returns a value as JSON, with & and < as they are: nobody reads it as HTML.
func text(value any) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // never fails for a Plain, nil or a map of strings
	return strings.TrimSuffix(out.String(), "\n")
}

// String returns the JSON object, or "" for the zero value.
func (v Values) String() string { return v.object }

// MarshalJSON returns the object, or null for the zero value.
func (v Values) MarshalJSON() ([]byte, error) {
	if v.object == "" {
		return []byte("null"), nil
	}
	return []byte(v.object), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (v *Values) UnmarshalJSON(object []byte) error {
	v.object = string(object)
	if v.object == "null" {
		v.object = ""
	}
	return nil
}
