package mirror

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"

	"wxplatform/internal/seal"
)

// codec encodes a T for Redis without loss. A T, or a *T, may bring its own encoding.
type codec[T any] struct{ binary bool }

type spelling interface {
	encoding.BinaryMarshaler
	encoding.BinaryUnmarshaler
}

func newCodec[T any]() codec[T] {
	if _, ok := speller(blank[T]()); ok {
		return codec[T]{binary: true}
	}
	if lost := lostInJSON(reflect.TypeFor[T](), nil); lost != "" {
		panic(fmt.Sprintf("mirror: JSON loses %s of %s; give it MarshalBinary and UnmarshalBinary", lost, reflect.TypeFor[T]()))
	}
	return codec[T]{}
}

// blank returns a T to decode into: its zero value, or a pointer to one.
func blank[T any]() *T {
	v := new(T)
	if t := reflect.TypeFor[T](); t.Kind() == reflect.Pointer {
		reflect.ValueOf(v).Elem().Set(reflect.New(t.Elem()))
	}
	return v
}

func speller[T any](v *T) (spelling, bool) {
	if itself, ok := any(*v).(spelling); ok {
		return itself, true
	}
	through, ok := any(v).(spelling)
	return through, ok
}

func (c codec[T]) encode(value T) ([]byte, error) {
	if c.binary {
		itself, _ := speller(&value)
		return itself.MarshalBinary()
	}
	return json.Marshal(value)
}

func (c codec[T]) decode(text []byte) (T, error) {
	value := blank[T]()
	if c.binary {
		itself, _ := speller(value)
		err := itself.UnmarshalBinary(text)
		return *value, err
	}
	err := json.Unmarshal(text, value)
	return *value, err
}

// lostInJSON names what JSON would lose of t, or returns "". A lost flag would come back as false,
// which may mean "not suspended".
func lostInJSON(t reflect.Type, seen []reflect.Type) string {
	for _, s := range seen {
		if s == t {
			return ""
		}
	}
	seen = append(seen, t)
	switch {
	case t == reflect.TypeFor[seal.Secret]():
		return "a secret"
	case reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()), reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return ""
	}
	switch t.Kind() {
	case reflect.Struct:
		return lostInStruct(t, seen)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return lostInJSON(t.Elem(), seen)
	case reflect.Map:
		return lostInJSON(t.Key(), seen) + lostInJSON(t.Elem(), seen)
	case reflect.Func, reflect.Chan, reflect.Interface, reflect.UnsafePointer, reflect.Complex64, reflect.Complex128:
		return "a " + t.Kind().String()
	}
	return ""
}

func lostInStruct(t reflect.Type, seen []reflect.Type) string {
	for i := range t.NumField() {
		field := t.Field(i)
		if !field.IsExported() || field.Tag.Get("json") == "-" {
			return "the field " + field.Name
		}
		if lost := lostInJSON(field.Type, seen); lost != "" {
			return lost
		}
	}
	return ""
}
