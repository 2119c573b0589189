package world

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"wxplatform/internal/sdkreader"
)

// Exchange is a request of an SDK and the platform's answer.
type Exchange struct {
	Call
	Answer []byte
}

// Front stands where an SDK looks for WeChat. It hands every byte to the platform and back, keeps
// what was said, and reads each answer as the strictest SDKs do.
type Front struct {
	Base string // its URL
	CA   string // file with its certificate, if it speaks TLS

	on       net.Listener
	platform string

	mu        sync.Mutex
	exchanges []Exchange
	faults    []error
	stale     string // the token that the next token call is answered with
}

// NewFront opens a front, which speaks TLS or not.
func (w *World) NewFront(secure bool) (*Front, error) {
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &Front{Base: "http://" + on.Addr().String(), on: on, platform: w.listen}
	if secure {
		if err := f.secure(w.Dir); err != nil {
			return nil, err
		}
	}
	go f.serve()
	return f, nil
}

func (f *Front) secure(dir string) error {
	certificate, file, err := selfSigned(dir)
	if err != nil {
		return err
	}
	f.Base, f.CA = "https"+strings.TrimPrefix(f.Base, "http"), file
	f.on = tls.NewListener(f.on, &tls.Config{Certificates: []tls.Certificate{certificate}})
	return nil
}

func (f *Front) serve() {
	for {
		conn, err := f.on.Accept()
		if err != nil {
			return
		}
		go f.relay(conn)
	}
}

// relay hands on the requests of one connection, one after the other.
func (f *Front) relay(caller net.Conn) {
	defer caller.Close()
	platform, err := net.Dial("tcp", f.platform)
	if err != nil {
		f.blame(err)
		return
	}
	defer platform.Close()
	from, back := newTap(caller), newTap(platform)
	for {
		more, err := f.exchange(from, caller, back, platform)
		if err != nil && !errors.Is(err, io.EOF) {
			f.blame(err)
		}
		if err != nil || !more {
			return
		}
	}
}

// tap keeps the bytes that were read from a connection. Nothing is read ahead of the message that
// is being parsed, as long as neither side pipelines.
type tap struct {
	*bufio.Reader
	kept *bytes.Buffer
}

func newTap(conn io.Reader) tap {
	kept := &bytes.Buffer{}
	return tap{bufio.NewReader(io.TeeReader(conn, kept)), kept}
}

func (f *Front) exchange(from tap, caller io.Writer, back tap, platform io.Writer) (more bool, err error) {
	from.kept.Reset()
	request, err := http.ReadRequest(from.Reader)
	if err != nil {
		return false, err
	}
	if request.Header.Get("Expect") != "" {
		if err := invite(from, caller, back, platform); err != nil {
			return false, err
		}
	}
	asked, err := io.ReadAll(request.Body)
	if err != nil {
		return false, fmt.Errorf("a request is cut: %w", err)
	}
	e := Exchange{Call: Call{request.Method, request.URL.Path, withoutToken(request.URL.RawQuery), request.Header.Get("Content-Type"), asked}}
	if stale, planned := f.takeStale(request.URL.Path); planned {
		f.keep(e)
		return true, answerToken(caller, stale)
	}
	back.kept.Reset()
	if _, err := platform.Write(from.kept.Bytes()); err != nil {
		return false, err
	}
	answer, err := http.ReadResponse(back.Reader, request)
	if err != nil {
		return false, fmt.Errorf("%s is not answered: %w", request.URL.Path, err)
	}
	if e.Answer, err = io.ReadAll(answer.Body); err != nil {
		return false, fmt.Errorf("the answer to %s is cut: %w", request.URL.Path, err)
	}
	if err := sdkreader.Check(request.URL.Path, answer.StatusCode, answer.Header, e.Answer); err != nil {
		f.blame(fmt.Errorf("%s %s: %w", request.Method, request.URL.Path, err))
	}
	f.keep(e)
	_, err = caller.Write(back.kept.Bytes())
	return !answer.Close && !request.Close, err
}

// invite hands on the header of a request whose body waits for the platform to say 100 Continue.
func invite(from tap, caller io.Writer, back tap, platform io.Writer) error {
	if _, err := platform.Write(from.kept.Bytes()); err != nil {
		return err
	}
	from.kept.Reset()
	back.kept.Reset()
	interim, err := http.ReadResponse(back.Reader, nil)
	if err != nil || interim.StatusCode != http.StatusContinue {
		return fmt.Errorf("a body that waits is not invited: %w", err)
	}
	_, err = caller.Write(back.kept.Bytes())
	return err
}

// Stale has the next token call answered with a token that the platform does not take, so that the
// SDK has it in its cache.
func (f *Front) Stale(token string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stale = token
}

func (f *Front) takeStale(path string) (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !IsTokenCall(path) || f.stale == "" {
		return "", false
	}
	stale := f.stale
	f.stale = ""
	return stale, true
}

// IsTokenCall reports whether a path is one of WeChat's token calls.
func IsTokenCall(path string) bool {
	path = "/" + strings.TrimLeft(path, "/")
	return path == "/cgi-bin/token" || path == "/cgi-bin/stable_token"
}

func answerToken(to io.Writer, token string) error {
	body := `{"access_token":"` + token + `","expires_in":7200}`
	_, err := fmt.Fprintf(to, "HTTP/1.1 200 OK\r\nContent-Type: application/json; encoding=utf-8\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	return err
}

func (f *Front) keep(e Exchange) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.exchanges = append(f.exchanges, e)
}

func (f *Front) blame(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, err)
}

// Take returns what was said since the last Take, and what was wrong with it.
func (f *Front) Take() ([]Exchange, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	said, faults := f.exchanges, f.faults
	f.exchanges, f.faults = nil, nil
	return said, errors.Join(faults...)
}

// Close closes the listener.
func (f *Front) Close() { _ = f.on.Close() }
