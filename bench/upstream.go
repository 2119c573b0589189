package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"

	"wxplatform/wechat/wechatsim"
)

const (
	answerOK  = `{"errcode":0,"errmsg":"ok"}`
	answerBad = `{"errcode":40001,"errmsg":"the benchmark's upstream got a token and a body that do not belong together"}`
)

// upstream is a WeChat in which closing always succeeds. It answers a close with two system calls
// and without net/http, so that the load generator, and not the upstream, keeps the measured core
// busy. The simulator answers everything else.
type upstream struct {
	sim    *wechatsim.Sim
	on     net.Listener
	closes *atomic.Int64
	late   *lateness
}

func (u *upstream) run() {
	for {
		c, err := u.on.Accept()
		if err != nil {
			return
		}
		go u.serve(c)
	}
}

func (u *upstream) serve(c net.Conn) {
	defer c.Close()
	connection := &connection{upstream: u, Conn: c, in: bufio.NewReader(c), due: make(chan struct{}, 1)}
	for connection.answer() == nil {
	}
}

type connection struct {
	*upstream
	net.Conn
	in  *bufio.Reader
	due chan struct{} // gets an element when a late answer is due
}

var (
	closeBegins   = []byte("POST " + closePath + "?access_token=")
	requestEnds   = []byte(" HTTP/1.1\r\n")
	bodyLength    = len(closeBody(0))
	numberLength  = len(number(0))
	contentLength = []byte("Content-Length: " + strconv.Itoa(bodyLength) + "\r\n")
)

// answer reads one request and answers it.
func (c *connection) answer() error {
	begins, err := c.in.Peek(len(closeBegins))
	if err != nil {
		return err
	}
	if !bytes.Equal(begins, closeBegins) {
		return c.simulate()
	}
	right, err := c.readClose()
	if err != nil {
		return err
	}
	c.closes.Add(1)
	c.late.wait(c.due)
	answer := answerBad
	if right {
		answer = answerOK
	}
	_, err = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json; encoding=utf-8\r\nDate: Tue, 24 Nov 2026 08:00:00 GMT\r\nContent-Length: "+
		strconv.Itoa(len(answer))+"\r\n\r\n"+answer)
	return err
}

// readClose reports whether the request's access token and body are those of one merchant. Its
// length must be stated as net/http states it.
func (c *connection) readClose() (right bool, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return false, err
	}
	merchant, ok := merchantOf(line)
	stated := false
	for len(line) > len("\r\n") {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return false, err
		}
		stated = stated || bytes.Equal(line, contentLength)
	}
	if !stated {
		return false, io.ErrUnexpectedEOF
	}
	body, err := c.in.Peek(bodyLength)
	ok = ok && string(body) == bodyBegins+merchant+bodyEnds
	_, _ = c.in.Discard(len(body))
	return ok, err
}

// merchantOf returns the number in the access token of a close's first line.
func merchantOf(line []byte) (string, bool) {
	token, ok := bytes.CutSuffix(line[len(closeBegins):], requestEnds)
	if !ok || len(token) != tokenLength || !bytes.HasPrefix(token, []byte(tokenBegins)) {
		return "", false
	}
	return string(token[tokenLength-numberLength:]), true
}

func (c *connection) simulate() error {
	request, err := http.ReadRequest(c.in)
	if err != nil {
		return err
	}
	request.RemoteAddr = c.RemoteAddr().String()
	recorder := httptest.NewRecorder()
	c.sim.ServeHTTP(recorder, request)
	response := recorder.Result()
	response.ContentLength = int64(recorder.Body.Len())
	if _, err := io.Copy(io.Discard, request.Body); err != nil {
		return err
	}
	return response.Write(c)
}
