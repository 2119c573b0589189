package wechatsim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"wxplatform/wechat"
)

// The account and user of the release test: WeChat's own (docs/wechat.md, "Release test").
const (
	ReleaseTestAccount  wechat.AppID    = "wx570bc396a51b8ff8"
	releaseTestUserName wechat.UserName = "gh_3c884a361561"
	releaseTestCustomer wechat.OpenID   = "oReleaseTest-0123456789abcdE"
)

// releasePatience is how long the simulator waits for the message sent by API. WeChat does not
// document it; a passive reply has 5 s.
const releasePatience = 20 * time.Second

// ReleaseTest runs WeChat's full-network release test (全网发布接入检测): a ticket, an
// authorization, a text that wants a passive reply, a text that wants its code back in a message
// sent by API, and an event. It returns one line per case, and an error that names the failed ones.
func (s *Sim) ReleaseTest(ctx context.Context) ([]string, error) {
	code, err := s.beginReleaseTest()
	if err != nil {
		return nil, err
	}
	var lines []string
	var failed []error
	for _, c := range []struct {
		name string
		try  func(context.Context) error
	}{
		{"ticket", s.releaseTicket},
		{"text message, passive reply", func(ctx context.Context) error {
			return s.releaseReply(ctx, "TESTCOMPONENT_MSG_TYPE_TEXT_callback", "text", element{"Content", "TESTCOMPONENT_MSG_TYPE_TEXT"})
		}},
		{"text message, reply by API", func(ctx context.Context) error { return s.releaseByAPI(ctx, code) }},
		{"event, passive reply", func(ctx context.Context) error {
			return s.releaseReply(ctx, "LOCATIONfrom_callback", "event", element{"Event", "LOCATION"})
		}},
	} {
		result := "passed"
		if err := c.try(ctx); err != nil {
			result = "failed: " + err.Error()
			failed = append(failed, fmt.Errorf("%s: %w", c.name, err))
		}
		lines = append(lines, c.name+": "+result)
	}
	return lines, errors.Join(failed...)
}

// beginReleaseTest authorizes the account, and returns a second code, which the platform has not
// seen.
func (s *Sim) beginReleaseTest() (code string, err error) {
	if _, err := s.Account(ReleaseTestAccount); err != nil {
		_, err = s.AddAccount(Account{AppID: ReleaseTestAccount, UserName: releaseTestUserName, Kind: Subscription, NickName: "全网发布检测", CustomerService: true})
		if err != nil {
			return "", err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.find(ReleaseTestAccount)
	s.authorize(a, []wechat.PermissionSet{1, 6}, "")
	return s.newAuthCode(a), nil
}

func (s *Sim) releaseTicket(ctx context.Context) error {
	s.PushTicket()
	if err := s.Settle(ctx); err != nil {
		return err
	}
	for _, p := range s.Pushes() {
		if p.Kind == "component_verify_ticket" && p.OK {
			return nil
		}
	}
	return errors.New("the reply to the ticket was not success")
}

// releaseReply pushes a message of the test's user and checks the text of the passive reply.
func (s *Sim) releaseReply(ctx context.Context, want, msgType string, field element) error {
	got, err := s.ask(ctx, msgType, field)
	if err != nil {
		return err
	}
	if got.MsgType != "text" || got.Content != want || got.ToUserName != string(releaseTestCustomer) || got.FromUserName != string(releaseTestUserName) {
		return fmt.Errorf("the reply is %q of type %q, want %q to the sender", got.Content, got.MsgType, want)
	}
	return nil
}

// releaseByAPI expects an empty reply at once, and then the code back as a custom message, sent
// with the token that the code is exchanged for.
func (s *Sim) releaseByAPI(ctx context.Context, code string) error {
	got, err := s.ask(ctx, "text", element{"Content", "QUERY_AUTH_CODE:" + code})
	if err != nil {
		return err
	}
	if got != (passiveReply{}) {
		return errors.New("the reply to the message was not empty")
	}
	for deadline := time.Now().Add(releasePatience); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		for _, m := range s.Messages() {
			if m.AppID == ReleaseTestAccount && m.OpenID == releaseTestCustomer && m.Text == code+"_from_api" {
				return nil
			}
		}
	}
	return errors.New("no custom message arrived")
}

// passiveReply is the content of a reply to a message.
type passiveReply struct{ ToUserName, FromUserName, MsgType, Content string }

// ask pushes one message and reads the reply, within WeChat's time limit.
func (s *Sim) ask(ctx context.Context, msgType string, field element) (passiveReply, error) {
	p, err := s.releaseMessage(msgType, field)
	if err != nil {
		return passiveReply{}, err
	}
	reply, err := s.post(p)
	if err != nil {
		return passiveReply{}, err
	}
	if text := strings.TrimSpace(string(reply)); text == "" || text == "success" {
		return passiveReply{}, ctx.Err()
	}
	return openReply(p.envelope, reply)
}

func (s *Sim) releaseMessage(msgType string, field element) (*push, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.find(ReleaseTestAccount)
	if _, err := s.writes(a, releaseTestCustomer); err != nil {
		return nil, err
	}
	p := s.messagePush(a, releaseTestCustomer, msgType, field)
	if p == nil {
		return nil, errors.New("there is no message URL")
	}
	return p, nil
}
