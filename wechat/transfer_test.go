package wechat

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sync/errgroup"

	"wxplatform/internal/seal"
)

// raw serves each connection with conduct. It returns a client for it.
func raw(t *testing.T, conduct func(c *net.TCPConn, in *bufio.Reader)) *Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			serving.Go(func() {
				defer c.Close()
				conduct(c.(*net.TCPConn), bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
	return NewClient("http://"+listener.Addr().String(), Observer{})
}

// says answers each request with text and then ends the connection.
func says(t *testing.T, text string) *Client {
	return raw(t, func(c *net.TCPConn, in *bufio.Reader) {
		if r, err := http.ReadRequest(in); err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(c, text)
		}
	})
}

func fetching() Call {
	return Call{Method: "GET", Path: "/cgi-bin/media/get", As: AccessToken, Token: seal.NewSecret(canary), Streamed: true}
}

func uploading(body io.Reader, length int64) Call {
	return Call{
		Method: "POST", Path: "/cgi-bin/media/upload", As: AccessToken, Token: seal.NewSecret(canary),
		ContentType: "multipart/form-data; boundary=x", Upload: body, UploadLength: length,
	}
}

func TestABinaryAnswerIsHandedOnAsItArrives(t *testing.T) {
	half := make(chan struct{})
	client := raw(t, func(c *net.TCPConn, in *bufio.Reader) {
		r, _ := http.ReadRequest(in)
		if r.Header.Get("Connection") != "close" || r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("got the header %v, want Connection: close and no Accept-Encoding", r.Header)
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Disposition: attachment; filename=\"a.jpg\"\r\nContent-Length: 6\r\n\r\nabx")
		<-half
		_, _ = io.WriteString(c, "def")
	})
	a, err := client.Do(t.Context(), fetching())
	if err != nil || a.Stream == nil {
		t.Fatalf("got %v, want a stream", err)
	}
	defer a.Stream.Close()
	first := make([]byte, 3)
	_, err = io.ReadFull(a.Stream, first)
	close(half)
	rest, end := io.ReadAll(a.Stream)
	if string(first)+string(rest) != "abxdef" || err != nil || end != nil || a.StreamLength != 6 || valueOf(a.Header, "Content-Disposition") == "" {
		t.Errorf("got %q, %q, %v, %v and %d bytes, want abxdef", first, rest, err, end, a.StreamLength)
	}
}

func TestAStreamedCallReadsAJSONAnswerWhole(t *testing.T) {
	for name, c := range map[string]struct {
		text          string
		code          Code
		unsure, gives bool // gives a stream
	}{
		"ok":               {text: plainOK},
		"refused":          {text: `{"errcode":40001,"errmsg":"x"}`, code: 40001},
		"after blanks":     {text: " \r\n\t" + `{"errcode":40001}`, code: 40001},
		"after a mark":     {text: "\xef\xbb\xbf" + `{"errcode":40001}`, code: 40001},
		"busy":             {text: `{"errcode":-1}`, code: -1, unsure: true},
		"a list":           {text: `[1]`, gives: true},
		"part of a mark":   {text: "\xef\xbbx", gives: true},
		"bytes":            {text: "\xff\xd8\xff\xe0{", gives: true},
		"many blanks":      {text: strings.Repeat(" ", 5000), gives: true},
		"a blank":          {text: " "},
		"nothing":          {text: ""},
		"too large a JSON": {text: `{"errcode":40001,"a":"` + strings.Repeat("x", answerLimit) + `"}`, gives: true},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := says(t, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(c.text), c.text)).Do(t.Context(), fetching())
			if got := codeOf(err); got != c.code || MayHaveActed(err) != c.unsure || (a.Stream != nil) != c.gives {
				t.Fatalf("got %v and a stream %v, want code %d", err, a.Stream != nil, c.code)
			}
			body := a.Body
			if a.Stream != nil {
				body, err = io.ReadAll(a.Stream)
				_ = a.Stream.Close()
				if err != nil {
					t.Fatal(err)
				}
			}
			if string(body) != c.text {
				t.Errorf("got %d bytes, want the %d that were sent", len(body), len(c.text))
			}
		})
	}
}

func TestAStreamedCallWithAnotherStatusIsUnknown(t *testing.T) {
	a, err := says(t, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad").Do(t.Context(), fetching())
	if !MayHaveActed(err) || a.Stream != nil || string(a.Body) != "bad" || a.Status != 502 {
		t.Errorf("got %v, %d and %q, want an unknown outcome", err, a.Status, a.Body)
	}
}

func TestAStreamComesWholeInEveryShapeOfHTTP(t *testing.T) {
	zipped := inGzip(`{"errcode":0}`) // which is no object
	for name, text := range map[string]string{
		"chunks":   fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", zipped[:5], len(zipped)-5, zipped[5:]),
		"till end": "HTTP/1.1 200 OK\r\n\r\n" + zipped,
		"surplus":  fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%sHTTP/1.1 200 OK\r\n", len(zipped), zipped),
	} {
		a, err := says(t, text).Do(t.Context(), fetching())
		if err != nil || a.Stream == nil {
			t.Errorf("%s: got %v, want a stream", name, err)
			continue
		}
		got, err := io.ReadAll(a.Stream)
		if err != nil || string(got) != zipped {
			t.Errorf("%s: got %d bytes and %v, want %d", name, len(got), err, len(zipped))
		}
		if again, err := a.Stream.Read(make([]byte, 1)); again != 0 || err != io.EOF {
			t.Errorf("%s: got %d bytes and %v after the end", name, again, err)
		}
		_ = a.Stream.Close()
	}
}

func inGzip(text string) string {
	var zipped strings.Builder
	writer := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(writer, text)
	_ = writer.Close()
	return zipped.String()
}

// No call asks for gzip, but a refusal or a token must not be overlooked in it.
func TestATransferInGzipIsDecoded(t *testing.T) {
	answer := func(encoding, body string) *Client {
		return says(t, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n%s", encoding, len(body), body))
	}
	for _, encoding := range []string{"gzip", "x-gzip", "GZIP"} {
		for what, c := range map[string]Call{"download": fetching(), "upload": uploading(strings.NewReader("abc"), 3)} {
			c.Streamed = true
			if _, err := answer(encoding, inGzip(`{"errcode":40001,"errmsg":"invalid credential"}`)).Do(t.Context(), c); !IsRejectedToken(err) {
				t.Errorf("%s in %s: got %v, want the refusal", what, encoding, err)
			}
		}
		a, err := answer(encoding, inGzip("an image")).Do(t.Context(), fetching())
		if err != nil || a.Stream == nil || a.StreamLength != -1 || valueOf(a.Header, "Content-Encoding") != "" {
			t.Fatalf("%s: got %+v and %v, want a stream of unknown length", encoding, a, err)
		}
		if got, err := io.ReadAll(a.Stream); string(got) != "an image" || err != nil {
			t.Errorf("%s: got %q and %v", encoding, got, err)
		}
		_ = a.Stream.Close()
	}
	a, err := answer("gzip", inGzip("<a href=/x?access_token="+canary+">")).Do(t.Context(), fetching())
	if err != nil || a.Stream == nil {
		t.Fatalf("got %v, want a stream", err)
	}
	if got, err := io.ReadAll(a.Stream); err == nil || strings.Contains(string(got), canary) {
		t.Errorf("got %q and %v, want it to fail in front of the token", got, err)
	}
	_ = a.Stream.Close()
	for what, body := range map[string]string{"cut": inGzip("an image")[:12], "another coding": "an image"} {
		a, err := answer("gzip", body).Do(t.Context(), fetching())
		if err == nil {
			_, err = io.ReadAll(a.Stream)
			_ = a.Stream.Close()
		}
		if err == nil {
			t.Errorf("%s: got no error", what)
		}
	}
	if a, err := answer("gzip", "").Do(t.Context(), fetching()); len(a.Body) > 0 || a.Stream != nil {
		t.Errorf("got %+v and %v of an empty answer", a, err)
	}
}

func TestAnUploadReachesWeChatWithItsLength(t *testing.T) {
	type seen struct {
		header http.Header
		length int64
		sum    [32]byte
	}
	got := make(chan seen, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- seen{r.Header, r.ContentLength, sha256.Sum256(body)}
		_, _ = io.WriteString(w, `{"type":"image","media_id":"m"}`)
	}))
	defer server.Close()
	for _, length := range []int{0, 1, transferBuffer, 3<<20 + 7} {
		body := bytes.Repeat([]byte("x1y2z"), length/5+1)[:length]
		call := uploading(iotest.HalfReader(bytes.NewReader(body)), int64(length))
		call.Header = []Field{{"Wechatmp-Signature", "s g"}}
		a, err := NewClient(server.URL, Observer{}).Do(t.Context(), call)
		if err != nil || string(a.Body) != `{"type":"image","media_id":"m"}` {
			t.Fatalf("got %v and %s", err, a.Body)
		}
		s := <-got
		if s.length != int64(length) || s.sum != sha256.Sum256(body) || s.header.Get("Wechatmp-Signature") != "s g" || s.header.Get("Content-Type") != call.ContentType {
			t.Errorf("got %d bytes with %v, want the %d that were uploaded", s.length, s.header, length)
		}
	}
}

// WeChat must not take a part of a body, or a body with more behind it, for a whole one.
func TestABodyOfTheWrongLengthIsNotSentWhole(t *testing.T) {
	broken := errors.New("the client hung up")
	for name, body := range map[string]io.Reader{
		"empty":      strings.NewReader(""),
		"short":      strings.NewReader(strings.Repeat("x", 99)),
		"long":       strings.NewReader(strings.Repeat("x", 101)),
		"broken":     io.MultiReader(strings.NewReader(strings.Repeat("x", 50)), iotest.ErrReader(broken)),
		"broken end": io.MultiReader(strings.NewReader(strings.Repeat("x", 100)), iotest.ErrReader(broken)),
	} {
		ended := make(chan error, 1)
		client := raw(t, func(_ *net.TCPConn, in *bufio.Reader) {
			r, err := http.ReadRequest(in)
			if err == nil {
				_, err = io.Copy(io.Discard, r.Body)
			}
			ended <- err
		})
		_, err := client.Do(t.Context(), uploading(body, 100))
		if !errors.Is(err, ErrBody) || !MayHaveActed(err) || strings.HasPrefix(name, "broken") != errors.Is(err, broken) {
			t.Errorf("%s: got %v, want ErrBody after a part was sent", name, err)
		}
		if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: the host saw %v, want a reset", name, err)
		}
	}
}

// stuck is a body of which nothing more arrives after its first bytes.
type stuck struct {
	first io.Reader
	until <-chan struct{}
}

func (s *stuck) Read(p []byte) (int, error) {
	if n, err := s.first.Read(p); err == nil {
		return n, nil
	}
	<-s.until
	return 0, io.ErrUnexpectedEOF
}

func TestAnEarlyRefusalIsReturned(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	for name, c := range map[string]struct {
		body io.Reader
		end  func(*net.TCPConn)
	}{
		"keeps the connection": {bytes.NewReader(make([]byte, 64<<20)), func(*net.TCPConn) { <-t.Context().Done() }},
		"ends the connection":  {bytes.NewReader(make([]byte, 64<<20)), func(*net.TCPConn) {}},
		"body stands still":    {&stuck{strings.NewReader("x"), over}, func(*net.TCPConn) {}},
	} {
		t.Run(name, func(t *testing.T) {
			gone := make(chan struct{})
			client := raw(t, func(tcp *net.TCPConn, in *bufio.Reader) {
				_, _ = http.ReadRequest(in)
				_, _ = io.WriteString(tcp, "HTTP/1.1 200 OK\r\nContent-Length: 31\r\n\r\n"+`{"errcode":40004,"errmsg":"bad"}`[:31])
				if name == "keeps the connection" {
					<-gone
				}
			})
			defer close(gone)
			a, err := client.Do(t.Context(), uploading(c.body, 64<<20))
			if Refused(err) != 40004 || len(a.Body) != 31 {
				t.Errorf("got %v and %q, want the refusal", err, a.Body)
			}
		})
	}
}

func TestASuccessBeforeTheBodyWasSentIsUnknown(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	for name, text := range map[string]string{"JSON": plainAnswer, "bytes": "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"} {
		client := raw(t, func(c *net.TCPConn, in *bufio.Reader) {
			_, _ = http.ReadRequest(in)
			_, _ = io.WriteString(c, text)
		})
		call := uploading(&stuck{strings.NewReader("x"), over}, 100)
		call.Streamed = true
		if a, err := client.Do(t.Context(), call); !MayHaveActed(err) || a.Stream != nil || len(client.host.transfers) > 0 {
			t.Errorf("%s: got %v, want an unknown outcome", name, err)
		}
	}
}

func TestATransferEndsWithItsContext(t *testing.T) {
	ended := make(chan error, 1)
	client := raw(t, func(c *net.TCPConn, in *bufio.Reader) {
		_, _ = http.ReadRequest(in)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
		_, err := in.ReadByte()
		ended <- err
	})
	ctx, leave := context.WithCancelCause(t.Context())
	a, err := client.Do(ctx, fetching())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Stream.Close()
	gone := errors.New("the client is gone")
	leave(gone)
	if _, err := io.ReadAll(a.Stream); !errors.Is(err, gone) {
		t.Errorf("got %v, want the reason of the context", err)
	}
	if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the host saw %v, want a reset", err)
	}
}

func TestATransferThatStandsStillIsGivenUp(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	for name, c := range map[string]struct {
		call      Call
		text      string
		ofTheBody bool
	}{
		"no answer":          {call: fetching()},
		"an answer stops":    {call: fetching(), text: "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"},
		"the body stops":     {call: uploading(&stuck{strings.NewReader("x"), over}, 100), ofTheBody: true},
		"nobody reads":       {call: uploading(bytes.NewReader(make([]byte, 64<<20)), 64<<20)},
		"no answer to a PUT": {call: uploading(strings.NewReader("x"), 1)},
	} {
		t.Run(name, func(t *testing.T) {
			gone := make(chan struct{})
			client := raw(t, func(tcp *net.TCPConn, in *bufio.Reader) {
				_, _ = http.ReadRequest(in)
				_, _ = io.WriteString(tcp, c.text)
				<-gone
			})
			defer close(gone)
			client.host.transferIdle = 300 * time.Millisecond
			a, err := client.Do(t.Context(), c.call)
			if a.Stream != nil {
				_, err = io.ReadAll(a.Stream)
				_ = a.Stream.Close()
			} else if !MayHaveActed(err) {
				t.Errorf("got %v, want an unknown outcome", err)
			}
			if !errors.Is(err, errIdle) || errors.Is(err, ErrBody) != c.ofTheBody {
				t.Errorf("got %v, want that it stood still", err)
			}
		})
	}
}

func TestEveryTransferGivesItsPlaceBack(t *testing.T) {
	client := says(t, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
	for range MostTransfers + 1 {
		a, err := client.Do(t.Context(), fetching())
		if err != nil {
			t.Fatal(err)
		}
		_ = a.Stream.Close()
	}
	for range MostTransfers {
		client.host.transfers <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := client.Do(ctx, fetching()); !NotSent(err) {
		t.Errorf("got %v where all places are taken, want not sent", err)
	}
}

func TestATransferWithoutConnectionIsNotSent(t *testing.T) {
	client := NewClient("http://127.0.0.1:1", Observer{})
	if _, err := client.Do(t.Context(), uploading(strings.NewReader("x"), 1)); !NotSent(err) || len(client.host.transfers) > 0 {
		t.Errorf("got %v, want not sent", err)
	}
}

// 50 uploads of 20 MB, all of which have begun before any goes on.
func TestUploadsNeedLittleMemory(t *testing.T) {
	const uploads, size = 50, 20 << 20
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, `{"media_id":"%d"}`, n)
	}))
	defer server.Close()
	client := NewClient(server.URL, Observer{})
	var begun sync.WaitGroup
	begun.Add(uploads)
	goOn := make(chan struct{})
	var all errgroup.Group
	for range uploads {
		all.Go(func() error {
			body := io.MultiReader(io.LimitReader(endless{}, size/2), &gate{&begun, goOn}, io.LimitReader(endless{}, size/2))
			a, err := client.Do(t.Context(), uploading(body, size))
			if err == nil && string(a.Body) != `{"media_id":"`+strconv.Itoa(size)+`"}` {
				err = fmt.Errorf("got %s", a.Body)
			}
			return err
		})
	}
	begun.Wait()
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	close(goOn)
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
	if got := (memory.HeapInuse + memory.StackInuse) >> 20; got > 24 {
		t.Errorf("got %d MB in use by both ends, want at most 24", got)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// gate says that it was reached, and ends when it may.
type gate struct {
	reached *sync.WaitGroup
	open    <-chan struct{}
}

func (g *gate) Read([]byte) (int, error) {
	g.reached.Done()
	<-g.open
	return 0, io.EOF
}
