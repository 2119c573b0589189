package wechatsim

import (
	"container/list"
	"time"

	"wxplatform/wechat"
)

// customerService is an account's customer service: who waits, and which agent serves whom. A
// customer goes from none to waiting to served to none, or by API from none to served.
type customerService struct {
	customers map[wechat.OpenID]*customer
	waiting   list.List                       // of *customer, by arrival
	serving   map[wechat.KFAccount]*list.List // of *customer, by the start of their sessions
}

// customer is someone who waits, is served, or may be answered because of a recent message.
type customer struct {
	openID  wechat.OpenID
	queue   *list.List // the list it is in, or nil
	place   *list.Element
	agent   wechat.KFAccount // empty while no agent serves the customer
	since   time.Time        // start of the session
	latest  time.Time        // of the customer's last message, or of the session's start
	answers int              // how many messages the account may still send
	until   time.Time        // and until when
}

func newCustomerService() *customerService {
	return &customerService{customers: map[wechat.OpenID]*customer{}, serving: map[wechat.KFAccount]*list.List{}}
}

func (a *account) ownService() *customerService {
	if a.service == nil {
		a.service = newCustomerService()
	}
	return a.service
}

func (cs *customerService) customer(id wechat.OpenID) *customer {
	c := cs.customers[id]
	if c == nil {
		c = &customer{openID: id}
		cs.customers[id] = c
	}
	return c
}

func (cs *customerService) queueOf(agent wechat.KFAccount) *list.List {
	if cs.serving[agent] == nil {
		cs.serving[agent] = list.New()
	}
	return cs.serving[agent]
}

// move puts the customer at the end of a list, or of none.
func (c *customer) move(to *list.List) {
	if c.queue != nil {
		c.queue.Remove(c.place)
	}
	c.queue, c.place = to, nil
	if to != nil {
		c.place = to.PushBack(c)
	}
}

func (cs *customerService) wait(c *customer, now time.Time) {
	c.latest = now
	if c.queue == nil {
		c.move(&cs.waiting)
	}
}

func (cs *customerService) serve(c *customer, agent wechat.KFAccount, now time.Time) {
	c.agent, c.since, c.latest = agent, now, now
	c.move(cs.queueOf(agent))
}

// remove removes the customer, unless the account may still answer.
func (cs *customerService) remove(c *customer, now time.Time) {
	c.agent = ""
	c.move(nil)
	if !now.Before(c.until) {
		delete(cs.customers, c.openID)
	}
}

// current returns the customer as of now, or nil if there is none: a session without messages ends
// by itself.
func (s *Sim) current(a *account, id wechat.OpenID) *customer {
	c := a.ownService().customers[id]
	if c != nil && c.agent != "" && s.now().Sub(c.latest) >= s.config.Times.SessionIdle {
		s.endSession(a, c, true)
	}
	return c
}

// served returns the customers of an agent, in the order of their sessions.
func (s *Sim) served(a *account, agent wechat.KFAccount) []*customer {
	queue := a.ownService().serving[agent]
	if queue == nil {
		return nil
	}
	var all []*customer
	for e, next := queue.Front(), (*list.Element)(nil); e != nil; e = next {
		next = e.Next()
		if c := s.current(a, e.Value.(*customer).openID); c.agent == agent {
			all = append(all, c)
		}
	}
	return all
}

func (s *Sim) startSession(a *account, c *customer, agent wechat.KFAccount, tell bool) {
	a.ownService().serve(c, agent, s.now())
	if tell {
		s.pushSession(a, c.openID, "kf_create_session", element{"KfAccount", string(agent)})
	}
}

func (s *Sim) endSession(a *account, c *customer, tell bool) {
	agent := c.agent
	a.ownService().remove(c, s.now())
	if tell {
		s.pushSession(a, c.openID, "kf_close_session", element{"KfAccount", string(agent)})
	}
}
