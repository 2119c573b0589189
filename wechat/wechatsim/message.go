package wechatsim

import (
	"slices"
	"strconv"
	"time"

	"wxplatform/wechat"
)

// answersPerMessage is how many messages an account may send after each message of a customer,
// within Times.Allowance.
const answersPerMessage = 5

// Message is a message that a customer received.
type Message struct {
	At        time.Time        `json:"at"`
	AppID     wechat.AppID     `json:"appid"`
	OpenID    wechat.OpenID    `json:"openid"`
	Type      string           `json:"msgtype"`
	Text      string           `json:"text,omitempty"`
	KFAccount wechat.KFAccount `json:"kf_account,omitempty"`
}

var messageTypes = []string{"text", "image", "voice", "video", "music", "news", "mpnews", "mpnewsarticle", "msgmenu", "wxcard", "miniprogrampage", "link"}

func (s *Sim) customSend(c *call) (any, error) {
	if err := s.checkMessage(c); err != nil {
		return nil, err
	}
	if err := s.spendAnswer(c.account, c.body.ToUser); err != nil {
		return nil, err
	}
	s.messages.add(Message{
		At: s.now(), AppID: c.account.appID, OpenID: c.body.ToUser, Type: c.body.MsgType,
		Text: c.body.Text.Content, KFAccount: c.body.CustomService.KFAccount,
	})
	return okAnswer, nil
}

func (s *Sim) checkMessage(c *call) error {
	if err := checkOpenID(c.body.ToUser); err != nil {
		return err
	}
	if !slices.Contains(messageTypes, c.body.MsgType) {
		return refuse(40008)
	}
	if c.body.MsgType == "text" && c.body.Text.Content == "" {
		return refuse(44004)
	}
	if kf := c.body.CustomService.KFAccount; kf != "" {
		_, err := s.boundAgent(c.account, kf)
		return err
	}
	return nil
}

func (s *Sim) spendAnswer(a *account, id wechat.OpenID) error {
	c := s.current(a, id)
	if c == nil || !s.now().Before(c.until) {
		return refuse(45015)
	}
	if c.answers == 0 {
		return refuse(45047)
	}
	c.answers--
	return nil
}

// Messages returns the last few thousand messages that customers received, oldest first.
func (s *Sim) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.messages.all()
}

// CustomerMessage sends a text from a customer to an account. It is pushed, unless an agent serves
// the customer: then only the agent gets it. If the receiver answers transfer_customer_service,
// encrypted, the customer waits for an agent.
func (s *Sim) CustomerMessage(id wechat.AppID, customer wechat.OpenID, text string) error {
	return s.atDesk(id, func(a *account) error {
		c, err := s.writes(a, customer)
		if err != nil || c.agent != "" {
			return err
		}
		s.lastMsgID++
		s.pushMessage(a, customer, "text", element{"Content", text}, element{"MsgId", strconv.FormatUint(firstMsgID+s.lastMsgID, 10)})
		return nil
	})
}

// firstMsgID makes ids as long as WeChat's.
const firstMsgID = 6_054_768_590_064_713_728

// Forward makes a customer wait for an agent, as if a message had been passed on.
func (s *Sim) Forward(id wechat.AppID, customer wechat.OpenID) error {
	return s.atDesk(id, func(a *account) error {
		if err := checkDesk(a); err != nil {
			return err
		}
		c, err := s.writes(a, customer)
		if err == nil && c.agent == "" {
			a.ownService().wait(c, s.now())
		}
		return err
	})
}

func (s *Sim) writes(a *account, id wechat.OpenID) (*customer, error) {
	if err := checkOpenID(id); err != nil {
		return nil, err
	}
	s.current(a, id)
	c := a.ownService().customer(id)
	c.latest = s.now()
	c.answers, c.until = answersPerMessage, s.now().Add(s.config.Times.Allowance)
	return c, nil
}

type kf struct {
	KFAccount    wechat.KFAccount `json:"kf_account"`
	HeadImg      string           `json:"kf_headimgurl,omitempty"`
	ID           string           `json:"kf_id"`
	Nick         string           `json:"kf_nick,omitempty"`
	WeChatID     string           `json:"kf_wx,omitempty"`
	Status       *int             `json:"status,omitempty"`
	AcceptedCase *int             `json:"accepted_case,omitempty"`
}

const firstKFID = 1001

func (s *Sim) kfList(c *call) (any, error) {
	if err := checkDesk(c.account); err != nil {
		return nil, err
	}
	all := []kf{}
	for i, agent := range c.account.details().Agents {
		k := kf{KFAccount: agent.KFAccount, HeadImg: "https://mmbiz.qpic.cn/mmbiz/kf", ID: strconv.Itoa(firstKFID + i), Nick: agent.Nick}
		if !agent.Unbound {
			k.WeChatID = "wx_" + strconv.Itoa(firstKFID+i)
		}
		all = append(all, k)
	}
	return map[string][]kf{"kf_list": all}, nil
}

func (s *Sim) onlineKFList(c *call) (any, error) {
	if err := checkDesk(c.account); err != nil {
		return nil, err
	}
	online := []kf{}
	for i, agent := range c.account.details().Agents {
		if agent.Online && !agent.Unbound {
			one, accepted := 1, len(s.served(c.account, agent.KFAccount))
			online = append(online, kf{KFAccount: agent.KFAccount, ID: strconv.Itoa(firstKFID + i), Status: &one, AcceptedCase: &accepted})
		}
	}
	return map[string][]kf{"kf_online_list": online}, nil
}
