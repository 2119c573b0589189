package wechat

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// readers are the two ways to read answers, as values of Client.NetHTTP.
var readers = map[string]bool{"plain": false, "net/http": true}

// asNetHTTP fails if parsePlain accepts text and net/http does not read the same from it. It
// reports whether parsePlain accepts it.
func asNetHTTP(t rapid.TB, text []byte) bool {
	t.Helper()
	from := bytes.Clone(text)
	got, n := parsePlain(from)
	if !bytes.Equal(from, text) {
		t.Fatalf("%q was changed to %q", text, from)
	}
	if n == 0 {
		return false
	}
	for i := range from {
		from[i] = '!' // what was returned must not change
	}
	in := bufio.NewReader(bytes.NewReader(text))
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatalf("%q is plain, but net/http says %v", text, err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%q is plain, but net/http says of its body %v", text, err)
	}
	rest, _ := io.ReadAll(in)
	want := answer{status: response.StatusCode, header: headerFields(response.Header), body: body, last: response.Close}
	slices.SortFunc(got.header, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	if !reflect.DeepEqual(got, want) || !bytes.Equal(text[n:], rest) {
		t.Fatalf("%q:\ngot  %+v and %q left\nwant %+v and %q left", text, got, text[n:], want, rest)
	}
	return true
}

const usual = "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Type: application/json; encoding=utf-8\r\n" +
	"Date: Sat, 13 Jun 2026 08:00:00 GMT\r\nContent-Length: 27\r\n\r\n" + plainOK

// with returns the usual answer with old replaced by its replacement.
func with(old, replacement string) string { return strings.Replace(usual, old, replacement, 1) }

var plains = []string{
	usual,
	usual + usual,
	usual + "\r\n",
	plainAnswer,
	"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	with("27", "0"),
	with("27", "027"),
	with("keep-alive", "Keep-Alive"),
	with("Content-Length: 27", "content-length:27  "),
	with("Content-Type", "CONTENT-TYPE"),
	with("Date: Sat", "Date:   Sat"),
	with("Date", "X-Any"),
	with("Date", "9"),
	with("Sat, 13 Jun 2026 08:00:00 GMT", ""),
	with("Sat, 13 Jun 2026 08:00:00 GMT", `a:b"\,;= c`),
}

// others are for net/http alone: each breaks one rule of the plain form.
var others = map[string]string{
	"nothing":                "",
	"no end":                 "HTTP/1.1 200 OK\r\nContent-Length: 27\r\n",
	"a part of the body":     usual[:len(usual)-1],
	"a part of the header":   usual[:60],
	"HTTP/1.0":               with("HTTP/1.1", "HTTP/1.0"),
	"another status":         with("200 OK", "500 Internal Server Error"),
	"a status without body":  with("200 OK", "204 No Content"),
	"an interim answer":      "HTTP/1.1 100 Continue\r\n\r\n" + usual,
	"another reason":         with("200 OK", "200 Fine"),
	"a blank line first":     "\r\n" + usual,
	"an encoding":            with("Content-Type: application/json; encoding=utf-8", "Content-Encoding: gzip"),
	"no length":              with("Content-Length: 27\r\n", ""),
	"two lengths":            with("Date: Sat", "Content-Length: 27\r\nDate: Sat"),
	"two lengths that split": with("Date: Sat", "content-length: 2\r\nDate: Sat"),
	"a signed length":        with("27", "+27"),
	"a negative length":      with("27", "-1"),
	"a length in hex":        with("27", "0x1b"),
	"a list of lengths":      with("27", "27, 27"),
	"an empty length":        with("27", ""),
	"a long length":          with("27", "65536") + strings.Repeat("x", 1<<16),
	"a huge length":          with("27", "18446744073709551643"),
	"chunks":                 with("Content-Length: 27", "Transfer-Encoding: chunked"),
	"chunks and a length":    with("Date: Sat", "transfer-encoding: chunked\r\nDate: Sat"),
	"a trailer":              with("Date: Sat", "Trailer: X\r\nDate: Sat"),
	"Pragma":                 with("Date: Sat", "Pragma: no-cache\r\nDate: Sat"),
	"the last":               with("keep-alive", "close"),
	"the last, in a list":    with("keep-alive", "keep-alive, close"),
	"a field twice":          with("Date: Sat", "Date: x\r\nDate: Sat"),
	"a field twice, in case": with("Date: Sat", "date: x\r\nDate: Sat"),
	"a folded field":         with("Date: Sat", "X: a\r\n b\r\nDate: Sat"),
	"a field without colon":  with("Date: Sat", "X\r\nDate: Sat"),
	"a field without name":   with("Date: Sat", ": x\r\nDate: Sat"),
	"a blank in a name":      with("Date: Sat", "Date : Sat"),
	"a blank before a name":  with("Connection", " Connection"),
	"a tab in a value":       with("Date: Sat", "Date: Sat\t"),
	"a zero in a value":      with("Date: Sat", "Date: Sat\x00"),
	"a DEL in a value":       with("Date: Sat", "Date: Sat\x7f"),
	"UTF-8 in a value":       with("Date: Sat", "Date: 星期六"),
	"no UTF-8 in a value":    with("Date: Sat", "Date: \xff"),
	"a bare CR":              with("Date: Sat", "Date: a\rSat"),
	"a bare LF":              with("Date: Sat", "Date: a\nSat"),
	"a bare LF as the end":   with("\r\nDate", "\nDate"),
	"bare LFs":               strings.ReplaceAll(usual, "\r\n", "\n"),
	"a name with a dot":      with("Date", "Da.te"),
	"a name in UTF-8":        with("Date", "Daté"),
}

func TestAPlainAnswerIsWhatNetHTTPReads(t *testing.T) {
	for _, text := range plains {
		if !asNetHTTP(t, []byte(text)) {
			t.Errorf("%q is not plain, want it to be", text)
		}
	}
}

func TestEveryOtherAnswerIsLeftToNetHTTP(t *testing.T) {
	for name, text := range others {
		if _, n := parsePlain([]byte(text)); n != 0 {
			t.Errorf("%s: %q is plain, want it left to net/http", name, text)
		}
	}
}

// The answers are made of pieces of plain ones and of what net/http acts on.
func TestAnyPlainAnswerIsWhatNetHTTPReads(t *testing.T) {
	plain, all := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		text := madeUp(t)
		if all++; asNetHTTP(t, []byte(text)) {
			plain++
		}
	})
	if plain < all/20 || plain > all*19/20 {
		t.Errorf("got %d plain answers of %d, want some of both kinds", plain, all)
	}
}

func madeUp(t *rapid.T) string {
	one := func(name string, usual string, others ...string) string {
		if rapid.IntRange(0, 9).Draw(t, name) > 0 {
			return usual
		}
		return rapid.SampledFrom(others).Draw(t, name)
	}
	body := rapid.StringMatching(`[a-z{}"\r\n]{0,12}`).Draw(t, "body")
	fields := []string{one("length", "Content-Length", "content-length", "Content-length", "X") + ": " +
		one("size", strconv.Itoa(len(body)), "0", "1", "13", "07", " 3 ", "", "-1", "1e1", "٣")}
	for range rapid.IntRange(0, 4).Draw(t, "fields") {
		name := rapid.SampledFrom([]string{"Date", "Content-Type", "Server", "X", "x-a", "Connection", "Cache-Control"}).Draw(t, "name")
		value := one("plain", "keep-alive", "close", "", "a b", " a", "a ", "\ta", "a\t", "a\r\n b", "a\x01", "ä", "chunked", "Keep-Alive", "0", "no-cache")
		name = one("odd name", name, "Transfer-Encoding", "Trailer", "Pragma", "Upgrade", "Content-Length", "", " X", "X ", "ä", "TE", "Keep-Alive")
		fields = append(fields, name+one("colon", ": ", ":", " : ", "")+value)
	}
	fields = rapid.Permutation(fields).Draw(t, "order")
	end := one("line end", "\r\n", "\n", "\r", "\r\r\n")
	return one("status", "HTTP/1.1 200 OK", "HTTP/1.1 204 OK", "HTTP/1.1 304 OK", "HTTP/1.0 200 OK", "HTTP/1.1 100 OK", "HTTP/1.1 200", "") +
		"\r\n" + strings.Join(fields, end) + one("end of the header", "\r\n\r\n", "\r\n", "\n\n", "\n\r\n") + body +
		rapid.SampledFrom([]string{"", "\r\n", "HTTP/1.1 200 OK\r\n\r\n"}).Draw(t, "more")
}

// FuzzPlainAnswer compares what is accepted with what net/http makes of it.
func FuzzPlainAnswer(f *testing.F) {
	for _, text := range plains {
		f.Add([]byte(text))
	}
	for _, text := range others {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) { asNetHTTP(t, text) })
}

// An answer that comes in two parts is the same, wherever it is cut.
func TestAnAnswerMayComeInParts(t *testing.T) {
	for name, netHTTP := range readers {
		cut := 0
		base, opened := answers(t, func(_ int64, w io.Writer) bool {
			_, _ = io.WriteString(w, usual[:cut])
			time.Sleep(time.Millisecond)
			_, _ = io.WriteString(w, usual[cut:])
			return true
		})
		client := NewClient(base, Observer{})
		client.NetHTTP = netHTTP
		for cut = 1; cut < len(usual); cut += 7 {
			a, err := client.Do(context.Background(), call())
			if err != nil || string(a.Body) != plainOK || len(a.Header) != 4 {
				t.Fatalf("%s, cut at %d: got %+v, %v, want the answer", name, cut, a, err)
			}
			rested(client)
		}
		if got := opened.Load(); got != 1 {
			t.Errorf("%s: got %d connections, want 1", name, got)
		}
		client.CloseIdle()
	}
}

// What a call returned stays as it is while its connection carries others.
func TestAnAnswerOutlivesTheNextOne(t *testing.T) {
	base, opened := answers(t, func(n int64, w io.Writer) bool {
		body := fmt.Sprintf(`{"errcode":0,"n":%d}`, n)
		_, _ = fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nX: %d\r\nContent-Length: %d\r\n\r\n%s", n, len(body), body)
		return true
	})
	client := NewClient(base, Observer{})
	defer client.CloseIdle()
	var kept []Answer
	for range 3 {
		a, err := client.Do(context.Background(), call())
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, a)
		rested(client)
	}
	for i, a := range kept {
		if want := strconv.Itoa(i + 1); valueOf(a.Header, "X") != want || string(a.Body) != `{"errcode":0,"n":`+want+`}` || opened.Load() != 1 {
			t.Errorf("got %q and %q on %d connections, want those of answer %s", a.Header, a.Body, opened.Load(), want)
		}
	}
}
