package wechatsim

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// oddPush is what is odd about a push, nil for nothing.
type oddPush struct {
	chance
	aged  bool // sent as in 2013: in HTTP/1.0, with Keep-Alive (docs/wechat.md, "Field reports")
	twice bool // sent twice: nothing promises that a push comes once (docs/wechat.md, "Authorization events")
}

// oddPush chooses for the next push. The caller holds the lock.
func (s *Sim) oddPush() *oddPush {
	if !s.behaviour.Field {
		return nil
	}
	s.oddPushes++
	c := s.chance(pushStream, s.oddPushes)
	return &oddPush{chance: c, aged: c.in(3), twice: c.in(4)}
}

// document puts blanks and line ends into its elements, as WeChat's old sample of the ticket has
// them (docs/wechat.md, "Component verify ticket"), and sometimes adds an element with a bad byte
// that nobody needs. What a customer wrote is left alone.
func (o *oddPush) document(fields ...element) []byte {
	var b bytes.Buffer
	b.WriteString("<xml>")
	for _, f := range o.withBadElement(fields) {
		value := cdata(f)
		if f.name != "Content" && o.in(2) {
			value = o.blank() + o.bare(f, value) + o.blank()
		}
		fmt.Fprintf(&b, "<%s>%s</%s>%s", f.name, value, f.name, pick(o.chance, "", "\n", "\r\n"))
	}
	b.WriteString("</xml>")
	return b.Bytes()
}

func (o *oddPush) blank() string { return pick(o.chance, "", " ", "\n", "\r\n\t") }

// bare returns the value, sometimes without CDATA.
func (o *oddPush) bare(f element, value string) string {
	if o.in(2) {
		return value
	}
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(f.value)) // a strings.Builder never fails
	return b.String()
}

func (o *oddPush) withBadElement(fields []element) []element {
	if o.in(3) {
		bad := element{"NickName", pick(o.chance, "a\x14b", "a\xffb", "\x00")}
		return slices.Insert(slices.Clone(fields), o.IntN(len(fields)+1), bad)
	}
	return fields
}

// created returns the ticket's CreateTime, sometimes in milliseconds.
func (o *oddPush) created(seconds string) string {
	if o != nil && o.in(3) {
		return seconds + "000"
	}
	return seconds
}

// envelope puts the encrypted message into the envelope of the other kind of push, of which only
// Encrypt matters, or into JSON that is still labelled text/xml (docs/wechat.md, "Field reports").
func (o *oddPush) envelope(body []byte, encrypt string) []byte {
	switch {
	case o == nil || o.in(2):
		return body
	case o.in(2):
		text, _ := json.Marshal(map[string]string{"ToUserName": "toUser", "Encrypt": encrypt})
		return text
	}
	return []byte("<xml>\n<ToUserName>toUser</ToUserName>\n<Encrypt>\n" + cdata(element{"Encrypt", encrypt}) + "\n</Encrypt>\n</xml>\n")
}

// newAgedClient returns a client that speaks HTTP/1.0 if the URL is not https.
func newAgedClient(timeout time.Duration) *http.Client {
	client := newPushClient(timeout)
	transport := client.Transport.(*http.Transport)
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return agedConn{conn}, err
	}
	return client
}

// agedConn changes the request line that net/http writes. It is in one piece at the start of a
// write.
type agedConn struct{ net.Conn }

func (c agedConn) Write(b []byte) (int, error) {
	if line, rest, is := bytes.Cut(b, []byte(" HTTP/1.1\r\n")); is && bytes.HasPrefix(line, []byte("POST ")) && !bytes.Contains(line, []byte("\n")) {
		b = slices.Concat(line, []byte(" HTTP/1.0\r\n"), rest)
	}
	return c.Conn.Write(b)
}
