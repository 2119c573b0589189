package wechatsim

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"wxplatform/wechat"
)

// element is a field of a push. All but numbers are CDATA, as in WeChat's pushes.
type element struct{ name, value string }

var numeric = []string{"CreateTime", "AuthorizationCodeExpiredTime", "MsgId"}

func (p *push) document(fields ...element) []byte {
	if p.odd != nil {
		return p.odd.document(fields...)
	}
	return document(fields...)
}

func document(fields ...element) []byte {
	var b bytes.Buffer
	b.WriteString("<xml>")
	for _, f := range fields {
		fmt.Fprintf(&b, "<%s>%s</%s>", f.name, cdata(f), f.name)
	}
	b.WriteString("</xml>")
	return b.Bytes()
}

func cdata(f element) string {
	if slices.Contains(numeric, f.name) {
		return f.value
	}
	return "<![CDATA[" + strings.ReplaceAll(f.value, "]]>", "]]]]><![CDATA[>") + "]]>"
}

// pushEvent pushes an event to the component, in order with the others about that account.
func (s *Sim) pushEvent(infoType string, about wechat.AppID, fields ...element) {
	p := &push{kind: infoType, appID: about, attempts: 1, odd: s.oddPush()}
	if s.behaviour.RetryEvents {
		p.attempts = messageAttempts
	}
	created := s.unixNow()
	if infoType == ticketEvent {
		created = p.odd.created(created)
	}
	head := []element{{"AppId", string(s.config.AppID)}, {"CreateTime", created}, {"InfoType", infoType}}
	sealed := s.address(p, s.config.EventURL, p.document(append(head, fields...)...), nil)
	p.body = p.odd.envelope(wechat.WriteEvent(s.config.AppID, sealed), sealed.Encrypt)
	s.enqueue(p)
}

// pushAuthorization has the code's expiry as an absolute time, as WeChat does, although its
// documents say otherwise.
func (s *Sim) pushAuthorization(infoType string, about wechat.AppID, authCodeText, preAuthText string) {
	expires := s.now().Add(s.config.Times.AuthCode).Unix()
	s.pushEvent(infoType, about,
		element{"AuthorizerAppid", string(about)},
		element{"AuthorizationCode", authCodeText},
		element{"AuthorizationCodeExpiredTime", strconv.FormatInt(expires, 10)},
		element{"PreAuthCode", preAuthText})
}

func (s *Sim) pushSession(a *account, customer wechat.OpenID, event string, fields ...element) {
	s.pushMessage(a, customer, "event", append([]element{{"Event", event}}, fields...)...)
}

// pushMessage pushes only if the component has a permission set that includes messages.
func (s *Sim) pushMessage(a *account, from wechat.OpenID, msgType string, fields ...element) {
	if p := s.messagePush(a, from, msgType, fields...); p != nil {
		s.enqueue(p)
	}
}

// messagePush returns nil if nothing is to be pushed.
func (s *Sim) messagePush(a *account, from wechat.OpenID, msgType string, fields ...element) *push {
	if s.config.MessageURL == "" || a.grant == nil || !anyOf(a.grant.sets, messageSets) {
		return nil
	}
	userName := a.details().filled(a.place).UserName
	p := &push{kind: msgType, appID: a.appID, attempts: messageAttempts, message: true, openID: from, odd: s.oddPush()}
	if fields[0].name == "Event" {
		p.kind = fields[0].value
	}
	head := []element{{"ToUserName", string(userName)}, {"FromUserName", string(from)}, {"CreateTime", s.unixNow()}, {"MsgType", msgType}}
	target := strings.ReplaceAll(s.config.MessageURL, "$APPID$", string(a.appID))
	sealed := s.address(p, target, p.document(append(head, fields...)...), url.Values{"openid": {string(from)}})
	p.body = p.odd.envelope(wechat.WriteMessage(userName, sealed), sealed.Encrypt)
	return p
}

// address encrypts the message and puts its signatures into the push's URL.
func (s *Sim) address(p *push, target string, msg []byte, query url.Values) wechat.Push {
	if target == "" {
		return wechat.Push{}
	}
	sealed := s.envelope.SealWith(s.sixteenBytes(), msg, s.unixNow(), s.nonce())
	p.envelope = s.envelope
	p.url = withQuery(target, merged(query, url.Values{
		"signature":     {s.envelope.EchoSignature(sealed.Timestamp, sealed.Nonce)},
		"timestamp":     {sealed.Timestamp},
		"nonce":         {sealed.Nonce},
		"encrypt_type":  {"aes"},
		"msg_signature": {sealed.Signature},
	}))
	return sealed
}

func merged(a, b url.Values) url.Values {
	for key, values := range a {
		b[key] = values
	}
	return b
}

// withQuery appends to the query that the URL has, and leaves a fragment at the end.
func withQuery(target string, query url.Values) string {
	target, fragment, hasFragment := strings.Cut(target, "#")
	separator := "?"
	if strings.Contains(target, "?") {
		separator = "&"
	}
	target += separator + query.Encode()
	if hasFragment {
		target += "#" + fragment
	}
	return target
}

func (s *Sim) unixNow() string { return strconv.FormatInt(s.now().Unix(), 10) }

func (s *Sim) nonce() string { return strconv.FormatUint(uint64(s.random.Uint32()), 10) }

func (s *Sim) sixteenBytes() (b [16]byte) {
	for i := range b {
		b[i] = byte(s.random.Uint32())
	}
	return b
}

// acceptableReply reports whether the reply is empty or encrypted.
func acceptableReply(reply []byte) bool {
	return len(reply) == 0 || bytes.HasPrefix(bytes.TrimSpace(reply), []byte("<xml>"))
}

// sealedReply is the body of an encrypted reply to a message.
type sealedReply struct {
	Encrypt      string
	MsgSignature string
	TimeStamp    string
	Nonce        string
}

// takeReply handles one kind of reply: one that passes the message on to the agents makes its
// customer wait for one.
func (s *Sim) takeReply(p *push, reply []byte) {
	if len(reply) == 0 || string(reply) == "success" {
		return
	}
	said, err := openReply(p.envelope, reply)
	if err != nil {
		s.record(p, 0, fmt.Errorf("reply: %w", err))
		return
	}
	a := s.find(p.appID)
	if said.MsgType == "transfer_customer_service" && checkDesk(a) == nil {
		a.ownService().wait(a.ownService().customer(p.openID), s.now())
	}
}

func openReply(e *wechat.Envelope, reply []byte) (passiveReply, error) {
	var sealed sealedReply
	if err := xml.Unmarshal(reply, &sealed); err != nil {
		return passiveReply{}, errors.New("not XML")
	}
	plain, err := e.Open(wechat.Push{Timestamp: sealed.TimeStamp, Nonce: sealed.Nonce, Signature: sealed.MsgSignature, Encrypt: sealed.Encrypt})
	if err != nil {
		return passiveReply{}, err
	}
	var said passiveReply
	if err := xml.Unmarshal(plain, &said); err != nil {
		return passiveReply{}, errors.New("its content is not XML")
	}
	return said, nil
}

// withoutURL removes what net/http puts around an error.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// Probe sends the GET with which WeChat's console validates a URL: it must return what it is sent.
// For a message URL, about must be an account.
func (s *Sim) Probe(ctx context.Context, target string, about wechat.AppID) error {
	s.mu.Lock()
	echo, timestamp, nonce := strconv.FormatUint(s.random.Uint64(), 10), s.unixNow(), s.nonce()
	signature := s.envelope.EchoSignature(timestamp, nonce)
	s.mu.Unlock()
	target = strings.ReplaceAll(target, "$APPID$", string(about))
	target = withQuery(target, url.Values{"signature": {signature}, "timestamp": {timestamp}, "nonce": {nonce}, "echostr": {echo}})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return withoutURL(err)
	}
	reply, err := exchange(s.client, req)
	if err != nil {
		return fmt.Errorf("wechatsim: probe: %w", err)
	}
	if string(reply) != echo {
		return errors.New("wechatsim: probe: the URL did not return what it was sent")
	}
	return nil
}
