package wechat

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
)

// parsePlain reads the answer at the beginning of text if it is of the plain form, in which nearly
// all answers of WeChat come, and returns how many bytes it takes. If it is not, n is 0, and
// net/http must read it. Of whatever is plain, net/http would return the same (FuzzPlainAnswer).
// The answer shares no memory with text.
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
	length, ok := plainLength(header)
	body := text[end+4:]
	if !ok || length > len(body) {
		return answer{}, 0
	}
	return answer{status: http.StatusOK, header: header, body: bytes.Clone(body[:length])}, end + 4 + length
}

// plainHeader reads lines that each end with \r\n. The values have one slice, and both they and
// names that have the usual capitals are parts of lines.
func plainHeader(lines string) (http.Header, bool) {
	values := make([]string, 0, strings.Count(lines, "\r\n"))
	header := make(http.Header, cap(values))
	for lines != "" {
		var line string
		line, lines, _ = strings.Cut(lines, "\r\n")
		name, value, ok := plainField(line)
		if _, twice := header[name]; !ok || twice {
			return nil, false
		}
		values = append(values, value)
		header[name] = values[len(values)-1 : len(values) : len(values)]
	}
	return header, true
}

// plainField reads a line. It returns false for a field that net/http acts on, except for the one
// length and a Connection that changes nothing.
func plainField(line string) (name, value string, ok bool) {
	name, value, colon := strings.Cut(line, ":")
	if !colon || !plainName(name) || strings.ContainsFunc(value, unprintable) {
		return "", "", false
	}
	name, value = http.CanonicalHeaderKey(name), strings.Trim(value, " ")
	switch name {
	case "Transfer-Encoding", "Trailer", "Pragma":
		return "", "", false
	case "Connection":
		return name, value, strings.EqualFold(value, "keep-alive")
	}
	return name, value, true
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

func unprintable(r rune) bool { return r < ' ' || r > '~' }

func plainLength(header http.Header) (int, bool) {
	value := header["Content-Length"]
	if len(value) == 0 {
		return 0, false
	}
	length, err := strconv.ParseUint(value[0], 10, 16)
	return int(length), err == nil
}
