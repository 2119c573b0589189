package wechatsim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"wxplatform/wechat"
)

const (
	maxPushesInFlight = 64
	// maxQueued limits the memory for a receiver that is slower than its events. Further pushes are
	// lost, and recorded as lost.
	maxQueued       = 100_000
	messageAttempts = 3
	maxReply        = 64 << 10
)

// push is an encrypted event or message that has not been delivered.
type push struct {
	kind     string
	appID    wechat.AppID // its queue: pushes about one account keep their order
	url      string
	body     []byte
	attempts int
	message  bool
	openID   wechat.OpenID
	envelope *wechat.Envelope // that encrypted it, and opens the reply
	odd      *oddPush
}

// accountQueue holds what is still to be pushed about one account. Its goroutine ends when it is
// empty.
type accountQueue struct{ queue []*push }

// PushRecord is the result of a push.
type PushRecord struct {
	At       time.Time    `json:"at"`
	Kind     string       `json:"kind"` // InfoType, Event, or the MsgType of a message
	AppID    wechat.AppID `json:"appid"`
	Attempts int          `json:"attempts"`
	OK       bool         `json:"ok"`
	Result   string       `json:"result"`
}

func newPushClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			MaxIdleConns:        maxPushesInFlight,
			MaxIdleConnsPerHost: maxPushesInFlight,
			IdleConnTimeout:     30 * time.Second,
		},
	}
}

// Pushes returns the results of the last few thousand pushes, oldest first.
func (s *Sim) Pushes() []PushRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pushLog.all()
}

// enqueue applies the faults. The caller holds the lock.
func (s *Sim) enqueue(p *push) {
	if p.url != "" {
		s.send(p.appID, s.afterFaults(p))
	}
}

// send starts the queue's goroutine unless it runs.
func (s *Sim) send(about wechat.AppID, pushes []*push) {
	if len(pushes) == 0 || s.life.Err() != nil {
		return
	}
	if s.queued+len(pushes) > maxQueued {
		s.record(pushes[0], 0, errors.New("lost: too many are waiting"))
		return
	}
	s.queued += len(pushes)
	if l := s.queues[about]; l != nil {
		l.queue = append(l.queue, pushes...)
		return
	}
	s.startQueue(about, &accountQueue{pushes})
}

func (s *Sim) startQueue(id wechat.AppID, l *accountQueue) {
	if len(s.queues) == 0 {
		s.idle = make(chan struct{})
	}
	s.queues[id] = l
	s.pushing.Go(func() { s.runLane(id, l) })
}

func (s *Sim) runLane(id wechat.AppID, l *accountQueue) {
	for p := s.takePush(id, l); p != nil; p = s.takePush(id, l) {
		attempts, reply, err := s.deliver(p)
		s.settlePush(p, attempts, reply, err)
	}
}

// takePush returns nil and removes the queue if it is empty.
func (s *Sim) takePush(id wechat.AppID, l *accountQueue) *push {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(l.queue) == 0 || s.life.Err() != nil {
		s.queued -= len(l.queue)
		delete(s.queues, id)
		if len(s.queues) == 0 {
			close(s.idle)
		}
		return nil
	}
	p := l.queue[0]
	l.queue = l.queue[1:]
	s.queued--
	return p
}

func (s *Sim) settlePush(p *push, attempts int, reply []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record(p, attempts, err)
	if err == nil && p.message {
		s.takeReply(p, reply)
	}
}

func (s *Sim) record(p *push, attempts int, err error) {
	r := PushRecord{At: s.now(), Kind: p.kind, AppID: p.appID, Attempts: attempts, OK: err == nil, Result: "success"}
	if err != nil {
		r.Result = err.Error()
	}
	s.pushLog.add(r)
}

// deliver sends the same bytes again at once if it must, as WeChat does.
func (s *Sim) deliver(p *push) (attempts int, reply []byte, err error) {
	select {
	case s.pushSlot <- struct{}{}:
		defer func() { <-s.pushSlot }()
	case <-s.life.Done():
		return 0, nil, s.life.Err()
	}
	for attempts < p.attempts {
		attempts++
		if reply, err = s.post(p); err == nil || s.life.Err() != nil {
			break
		}
	}
	return attempts, reply, err
}

func (s *Sim) post(p *push) ([]byte, error) {
	req, err := http.NewRequestWithContext(s.life, http.MethodPost, p.url, bytes.NewReader(p.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "text/xml")
	req.Header.Set("User-Agent", "Mozilla/4.0")
	client := s.client
	if p.odd != nil && p.odd.aged {
		req.Header.Set("Connection", "Keep-Alive")
		req.Header.Set("Pragma", "no-cache")
		client = s.agedClient
	}
	reply, err := exchange(client, req)
	if err != nil {
		return nil, err
	}
	if string(reply) != "success" && !(p.message && acceptableReply(reply)) {
		return nil, fmt.Errorf("answered %d bytes that are not success", len(reply))
	}
	return reply, nil
}

// exchange returns errors without the URL, which holds signatures.
func exchange(client *http.Client, req *http.Request) ([]byte, error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return nil, withoutURL(err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered %s", resp.Status)
	}
	return reply, nil
}

// Settle waits until nothing is left to push, except what a fault holds back.
func (s *Sim) Settle(ctx context.Context) error {
	for {
		s.mu.Lock()
		busy, idle := len(s.queues) > 0, s.idle
		s.mu.Unlock()
		if !busy {
			return nil
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
