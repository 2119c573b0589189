package wechatsim

import (
	"container/list"
	"time"

	"wxplatform/wechat"
)

// desk is an account's customer service: who waits, and who is served by whom.
// A customer is with nobody, waiting, or served: none → waiting → served → none, and straight from none to served by API.
type desk struct {
	customers map[wechat.OpenID]*customer
	waiting   list.List                       // of *customer, by arrival
	serving   map[wechat.KFAccount]*list.List // of *customer, by the start of their sessions
}

// customer is one who waits, is served, or may be answered because he wrote.
type customer struct {
	openID  wechat.OpenID
	queue   *list.List // where he stands, or nil
	place   *list.Element
	agent   wechat.KFAccount // empty while nobody serves him
	since   time.Time        // start of the session
	latest  time.Time        // of his last message, or of the session's start
	answers int              // how many messages he may still be sent
	until   time.Time        // and until when
}

func newDesk() *desk {
	return &desk{customers: map[wechat.OpenID]*customer{}, serving: map[wechat.KFAccount]*list.List{}}
}

func (a *account) ownDesk() *desk {
	if a.desk == nil {
		a.desk = newDesk()
	}
	return a.desk
}

func (d *desk) customer(id wechat.OpenID) *customer {
	c := d.customers[id]
	if c == nil {
		c = &customer{openID: id}
		d.customers[id] = c
	}
	return c
}

func (d *desk) queueOf(agent wechat.KFAccount) *list.List {
	if d.serving[agent] == nil {
		d.serving[agent] = list.New()
	}
	return d.serving[agent]
}

// move puts the customer at the end of a queue, or of none.
func (c *customer) move(to *list.List) {
	if c.queue != nil {
		c.queue.Remove(c.place)
	}
	c.queue, c.place = to, nil
	if to != nil {
		c.place = to.PushBack(c)
	}
}

func (d *desk) wait(c *customer, now time.Time) {
	c.latest = now
	if c.queue == nil {
		c.move(&d.waiting)
	}
}

func (d *desk) serve(c *customer, agent wechat.KFAccount, now time.Time) {
	c.agent, c.since, c.latest = agent, now, now
	c.move(d.queueOf(agent))
}

// leave forgets the customer unless he may still be answered.
func (d *desk) leave(c *customer, now time.Time) {
	c.agent = ""
	c.move(nil)
	if !now.Before(c.until) {
		delete(d.customers, c.openID)
	}
}

// current is the customer as he is now, or nil if the desk does not know him: a session without a message ends by itself.
func (s *Sim) current(a *account, id wechat.OpenID) *customer {
	c := a.ownDesk().customers[id]
	if c != nil && c.agent != "" && s.now().Sub(c.latest) >= s.config.Times.SessionIdle {
		s.endSession(a, c, true)
	}
	return c
}

// served are the customers of an agent, first come first.
func (s *Sim) served(a *account, agent wechat.KFAccount) []*customer {
	queue := a.ownDesk().serving[agent]
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
	a.ownDesk().serve(c, agent, s.now())
	if tell {
		s.pushSession(a, c.openID, "kf_create_session", element{"KfAccount", string(agent)})
	}
}

func (s *Sim) endSession(a *account, c *customer, tell bool) {
	agent := c.agent
	a.ownDesk().leave(c, s.now())
	if tell {
		s.pushSession(a, c.openID, "kf_close_session", element{"KfAccount", string(agent)})
	}
}
