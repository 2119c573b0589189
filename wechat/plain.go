package wechat

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// parsePlain reads the answer at the beginning of text if it is of the plain form, in which nearly
// all answers of WeChat come, and returns how many bytes it takes. If it is not, n is 0, and
// net/http must read it. From each answer of the plain form net/http reads the same
// (FuzzPlainAnswer). The answer shares no memory with text.
//
// An answer is plain if all of it is there, its first line is "HTTP/1.1 200 OK", each field has a
// line of its own in printable ASCII and a name that no other has, one of them is Content-Length,
// and none says anything else about the body's length or about the connection.
func parsePlain(text []byte) (a answer, n int) {
	end := bytes.Index(text, []byte("\r\n\r\n"))
	if end < 0 {
		return answer{}, 0
	}
	fields, ok := strings.CutPrefix(string(text[:end+2]), "HTTP/1.1 200 OK\r\n")
	if !ok {
		return answer{}, 0
	}
	header, ok := plainHeader(fields)
	if !ok {
		return answer{}, 0
	}
	length, ok := plainLength(valueOf(header, "Content-Length"))
	body := text[end+4:]
	if !ok || length > len(body) {
		return answer{}, 0
	}
	return answer{status: http.StatusOK, header: header, body: bytes.Clone(body[:length])}, end + 4 + length
}

// plainHeader reads lines that each end with \r\n. Values, and names in canonical form, share their
// memory with lines.
func plainHeader(lines string) ([]Field, bool) {
	fields := make([]Field, 0, strings.Count(lines, "\r\n"))
	for lines != "" {
		var line string
		line, lines, _ = strings.Cut(lines, "\r\n")
		f, ok := plainField(line)
		if !ok || slices.ContainsFunc(fields, func(other Field) bool { return other.Name == f.Name }) {
			return nil, false
		}
		fields = append(fields, f)
	}
	return fields, true
}

// plainField reads a line. It returns false for a field that net/http acts on, except for the one
// length and a Connection that changes nothing.
func plainField(line string) (f Field, ok bool) {
	name, value, colon := strings.Cut(line, ":")
	if !colon || !plainName(name) || !plainValue(value) {
		return Field{}, false
	}
	f = Field{http.CanonicalHeaderKey(name), strings.Trim(value, " ")}
	switch f.Name {
	case "Transfer-Encoding", "Trailer", "Pragma", "Content-Encoding":
		return Field{}, false
	case "Connection":
		return f, strings.EqualFold(f.Value, "keep-alive")
	}
	return f, true
}

func plainName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return name != ""
}

func plainValue(value string) bool {
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return false
		}
	}
	return true
}

func plainLength(value string) (int, bool) {
	length, err := strconv.ParseUint(value, 10, 16)
	return int(length), err == nil
}
