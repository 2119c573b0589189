package wechat

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Field is a header field of a call, which is sent exactly as it is, or of an answer.
type Field struct{ Name, Value string }

// headerFields returns a header's fields, ordered by name.
func headerFields(header http.Header) []Field {
	fields := make([]Field, 0, len(header))
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			fields = append(fields, Field{name, value})
		}
	}
	return fields
}

// valueOf returns the value of the first field with a name as net/http spells it, or "".
func valueOf(fields []Field, name string) string {
	for _, f := range fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// NoContentType, as a call's ContentType, sends the body without one, as some SDKs do.
const NoContentType = "\x00"

// ErrField says that a call was not sent because its header, path or query holds a byte that HTTP
// does not allow there, a field that only this package sets, or a body where there is none.
var ErrField = errors.New("the request is not valid")

// ours are the fields that a call cannot have, because they are about the connection, about the
// body, or about who calls.
var ours = []string{
	"host", "content-length", "content-type", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade",
	"expect", "authorization", "proxy-authorization", "cookie",
}

func (call *Call) hasBody() bool { return call.Body != nil || call.Upload != nil }

// check returns ErrField if the request would not be the one that was meant: a caller's bytes could
// otherwise begin another one.
func (call *Call) check() error {
	switch {
	case !visible(call.Method), !visible(call.Path), !visible(call.Query), call.ContentType != NoContentType && !sendable(call.ContentType),
		call.UploadLength < 0, call.Upload == nil && call.UploadLength != 0, call.Upload != nil && call.Body != nil,
		call.Method == http.MethodGet && call.hasBody():
		return ErrField
	}
	for _, f := range call.Header {
		if !f.valid() {
			return ErrField
		}
	}
	return nil
}

func (f Field) valid() bool {
	return f.Name != "" && strings.Trim(f.Name, tokenBytes) == "" && sendable(f.Value) && !slices.Contains(ours, strings.ToLower(f.Name))
}

// tokenBytes are those of a field's name (RFC 9110, section 5.6.2).
const tokenBytes = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// sendable reports whether s has no control byte, so that it can stand in a field.
func sendable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// visible reports whether s also has no blank, so that it can stand in a request's first line.
func visible(s string) bool { return sendable(s) && strings.IndexByte(s, ' ') < 0 }

func appendFields(out []byte, fields []Field) []byte {
	for _, f := range fields {
		out = append(out, "\r\n"...)
		out = append(out, f.Name...)
		out = append(out, ": "...)
		out = append(out, f.Value...)
	}
	return out
}
