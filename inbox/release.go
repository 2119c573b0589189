package inbox

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"time"

	"wxplatform/internal/seal"
	"wxplatform/invitation"
	"wxplatform/wechat"
)

// What WeChat's release test (全网发布接入检测) sends, and the answers that it expects
// (docs/wechat.md, "Release test"). A component that does not pass it may serve only a few
// merchants. Only the test's own accounts get these answers.
const (
	textWanted   = "TESTCOMPONENT_MSG_TYPE_TEXT"
	textAnswer   = "TESTCOMPONENT_MSG_TYPE_TEXT_callback"
	queryPrefix  = "QUERY_AUTH_CODE:"
	apiSuffix    = "_from_api"
	eventSuffix  = "from_callback"
	messageText  = "text"
	messageEvent = "event"
)

// testers are the test's accounts: the user name in the encrypted message, which is signed, and the
// appid in the path, which is not.
var testers = map[wechat.UserName]wechat.AppID{
	"gh_3c884a361561": "wx570bc396a51b8ff8", "gh_8dad206e9538": "wxd101a85aa106f53e",
	"gh_c0f28a78b318": "wx9252c5e0bb1836fc", "gh_905ae9d01059": "wxc39235c15087f6f3",
	"gh_3f222ed8d140": "wx8e1097c5bc82cde9", "gh_393666f1fdf4": "wx7720d01d4b2a4500",
	"gh_26128078e9ab": "wx14550af28c71a144", "gh_39abb5d4e1b7": "wx05d483572dcd5d8b",
	"gh_2b3713f184a6": "wxa35b9c23cfe664eb", "gh_7818dcb60240": "wx5910277cae6fd970",
}

// message is what a customer of an account wrote, or an event about them. Fields that it does not
// have are empty.
type message struct {
	To      wechat.UserName
	From    wechat.OpenID
	Type    string
	Content string
	Event   string
}

func readMessage(fields wechat.Fields) message {
	return message{
		To:      wechat.UserName(fields.Text("ToUserName")),
		From:    wechat.OpenID(fields.Text("FromUserName")),
		Type:    fields.Text("MsgType"),
		Content: fields.Text("Content"),
		Event:   fields.Text("Event"),
	}
}

// fromTester reports whether m came from an account of the release test, to that account's own URL.
func (m message) fromTester(path wechat.AppID) bool {
	id, known := testers[m.To]
	return known && id == path
}

// release decides what the release test is answered: the text of a reply, or later if the message
// is stored and answered by another call.
func (m message) release() (reply string, later bool) {
	switch {
	case m.Type == messageText && m.Content == textWanted:
		return textAnswer, false
	case m.Type == messageText && strings.HasPrefix(m.Content, queryPrefix):
		return "", true
	case m.Type == messageEvent && m.Event != "":
		return m.Event + eventSuffix, false
	}
	return "", false
}

// passive encrypts a text reply from the account to the customer who wrote.
func (b *Inbox) passive(m message, text string) []byte {
	type cdata struct {
		Value string `xml:",cdata"`
	}
	now := time.Now()
	reply, _ := xml.Marshal(struct { // values of these types always marshal
		XMLName xml.Name `xml:"xml"`
		To      cdata    `xml:"ToUserName"`
		From    cdata    `xml:"FromUserName"`
		Created int64    `xml:"CreateTime"`
		Type    cdata    `xml:"MsgType"`
		Content cdata    `xml:"Content"`
	}{
		To: cdata{string(m.From)}, From: cdata{string(m.To)}, Created: now.Unix(),
		Type: cdata{messageText}, Content: cdata{text},
	})
	nonce := fmt.Sprint(now.UnixNano() % 1_000_000_000)
	return wechat.WriteReply(b.envelope.Seal(reply, fmt.Sprint(now.Unix()), nonce))
}

// answerQuery does the release test's last step: it exchanges the auth code in m, and sends the
// code back as a custom message with the token that it got. A code that WeChat does not know ends
// it: trying that again would change nothing.
func (b *Inbox) answerQuery(ctx context.Context, m message) error {
	code := strings.TrimPrefix(m.Content, queryPrefix)
	id, err := b.invitations.Exchange(ctx, seal.NewSecret(code))
	if errors.Is(err, invitation.ErrCode) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("release test: %w", err)
	}
	if err := b.authorizers.SendText(ctx, id, m.From, code+apiSuffix); err != nil {
		return fmt.Errorf("release test: %w", err)
	}
	return nil
}
