package wechatsim

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Wire is what the connection does with an answer, true or not. Unless it ends, it then serves the
// next request.
type Wire string

const (
	CloseAfter   Wire = "close"        // FIN, Gap after the answer, without Connection: close
	ResetAfter   Wire = "reset"        // RST, Gap after the answer
	CloseHalf    Wire = "half_close"   // half of the answer and, Gap later, a FIN
	ResetHalf    Wire = "half_reset"   // half of the answer and, Gap later, a RST
	StrayAfter   Wire = "stray"        // a second answer to the same request, Gap after the first
	StrayWith    Wire = "stray_with"   // a second answer in the same segment, or TLS record, as the first
	StrayRecords Wire = "stray_two"    // a second answer in a TLS record of its own, in the same segment as the first
	StrayBefore  Wire = "stray_before" // the stray answer first and, Gap later, the right one
	Trickle      Wire = "trickle"      // the answer byte by byte, Gap between them
	LongHeader   Wire = "long_header"  // an answer whose header is longer than 64 KiB
)

var wires = []Wire{"", CloseAfter, ResetAfter, CloseHalf, ResetHalf, StrayAfter, StrayWith, StrayRecords, StrayBefore, Trickle, LongHeader}

const longHeader = 70_000

func (w Wire) strays() bool { return strings.HasPrefix(string(w), "stray") }

func (w Wire) ends() bool {
	return slices.Contains([]Wire{CloseAfter, ResetAfter, CloseHalf, ResetHalf}, w)
}

func (w Wire) waits() bool { return w != "" && w != StrayWith && w != StrayRecords && w != LongHeader }

// strike sends the answer of a fault. truth is empty unless WeChat carried out the call.
func (s *Sim) strike(w http.ResponseWriter, r *http.Request, f *Fault, truth reply) {
	a := s.faulty(f, truth)
	switch {
	case f.Do == Cut:
		panic(http.ErrAbortHandler) // net/http then closes the connection without an answer
	case f.Wire == "" && f.Do != Reset && f.Do != AnswerBody && f.Do != AnswerRaw:
		a.write(w)
	default:
		s.strikeLine(w, r, f, a)
	}
}

func (s *Sim) strikeLine(w http.ResponseWriter, r *http.Request, f *Fault, a reply) {
	_, _ = io.Copy(io.Discard, r.Body) // an upload's, which is before the next request on the connection
	l, err := takeLine(w, r)
	if err != nil {
		http.Error(w, "wechatsim: this fault needs a connection of net/http's server: "+err.Error(), http.StatusInternalServerError)
		return
	}
	if f.Do == Reset {
		l.reset()
		return
	}
	if r.Close && !a.raw && f.Wire != CloseAfter && f.Wire != ResetAfter {
		a = a.changed(map[string]string{"Connection": "close"})
	}
	if f.Wire == LongHeader {
		a = a.changed(map[string]string{"X-Long": strings.Repeat("x", longHeader)})
	}
	answer, extra := a.bytes(), []byte(f.Extra)
	if f.Extra == "" {
		extra = answer
	}
	l.goOn(f.Wire.ends())
	s.transmit(l, f, answer, extra)
}

// transmit sends the answer as the fault's Wire says. Then the connection is closed, or serves the
// next request.
func (s *Sim) transmit(l *line, f *Fault, answer, extra []byte) {
	defer l.sent()
	switch f.Wire {
	case CloseAfter, ResetAfter:
		cork(l.tcp(), f.Wire == CloseAfter && f.Gap == 0) // the FIN then travels with the answer
		l.send(answer)
		s.wait(f.Gap)
	case CloseHalf, ResetHalf:
		l.send(answer[:len(answer)/2])
		s.wait(f.Gap)
	case StrayAfter:
		l.send(answer)
		s.stray(l, f.Gap, extra)
	case StrayWith:
		l.send(slices.Concat(answer, extra))
	case StrayRecords:
		l.together(answer, extra)
	case StrayBefore:
		l.send(extra)
		s.wait(f.Gap)
		l.send(answer)
	case Trickle:
		s.trickle(l, f.Gap, answer)
	default:
		l.send(answer)
	}
	if f.Wire == ResetAfter || f.Wire == ResetHalf {
		l.reset()
	}
}

func (s *Sim) trickle(l *line, gap time.Duration, answer []byte) {
	for i := range answer {
		l.send(answer[i : i+1])
		s.wait(gap)
	}
}

// stray sends extra later, between two answers or on an idle connection. A connection that ends
// with this call waits for it.
func (s *Sim) stray(l *line, gap time.Duration, extra []byte) {
	if l.last {
		s.wait(gap)
		l.send(extra)
		return
	}
	s.later(gap, func() { l.send(extra) })
}

// later calls do after a while, unless the simulator is closed by then.
func (s *Sim) later(d time.Duration, do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		return
	}
	s.pushing.Go(func() {
		s.wait(d)
		if s.life.Err() == nil {
			do()
		}
	})
}

// line is the connection of a call, taken from net/http's server.
type line struct {
	net.Conn
	server *http.Server
	early  *bufio.Reader // holds what was read of the next request
	last   bool          // it is closed after this answer
	next   chan struct{} // closed once this answer is sent, so that the next request may be read
}

func takeLine(w http.ResponseWriter, r *http.Request) (*line, error) {
	server, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	return &line{Conn: conn, server: server, early: buffered.Reader, last: r.Close || server == nil, next: make(chan struct{})}, nil
}

// goOn gives the connection back to its server, so that its handler and its settings apply to the
// next request. It does so before the answer is sent: a client that has the answer may close the
// server, which must know the connection by then.
func (l *line) goOn(ends bool) {
	if l.last = l.last || ends; l.last {
		return
	}
	one := &oneConnection{conn: &nextRequest{l}}
	_ = l.server.Serve(one)  // it returns at once: there is nothing more to accept
	l.last = one.conn != nil // the server is shutting down and did not take it
}

// sent ends the call.
func (l *line) sent() {
	if l.last {
		_ = l.Close()
	}
	close(l.next)
}

// send ignores errors: the caller has hung up.
func (l *line) send(b []byte) { _, _ = l.Write(b) }

// together sends each piece in a TLS record of its own, if there is TLS, and all in one segment, if
// the system can.
func (l *line) together(pieces ...[]byte) {
	cork(l.tcp(), true)
	for _, piece := range pieces {
		l.send(piece)
	}
	cork(l.tcp(), false)
}

// tcp returns the TCP connection below, or nil.
func (l *line) tcp() *net.TCPConn {
	for c := l.Conn; ; {
		switch wrapped := c.(type) {
		case *net.TCPConn:
			return wrapped
		case interface{ NetConn() net.Conn }:
			c = wrapped.NetConn()
		default:
			return nil
		}
	}
}

// reset closes the connection with a RST.
func (l *line) reset() {
	if tcp := l.tcp(); tcp != nil {
		_ = tcp.SetLinger(0)
		_ = tcp.Close()
		return
	}
	_ = l.Close()
}

// nextRequest is the connection from the next request on.
type nextRequest struct{ *line }

// Read waits until the answer before is sent.
func (n *nextRequest) Read(b []byte) (int, error) {
	<-n.next
	return n.early.Read(b)
}

// NetConn returns the connection below, like a tls.Conn's.
func (n *nextRequest) NetConn() net.Conn { return n.Conn }

// oneConnection is a listener that accepts one connection.
type oneConnection struct{ conn net.Conn }

func (o *oneConnection) Accept() (net.Conn, error) {
	if o.conn == nil {
		return nil, io.EOF
	}
	conn := o.conn
	o.conn = nil
	return conn, nil
}

// Close closes nothing: the connection is the server's.
func (o *oneConnection) Close() error { return nil }

// Addr is not used by the server.
func (o *oneConnection) Addr() net.Addr { return &net.TCPAddr{} }
