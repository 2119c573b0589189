//go:build failpoints

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

const stranger = wechat.OpenID("o7K3nsW5Yd2xQpLm9RtUvZaBcDeF") // a customer whom nobody serves

// tally counts the results of some calls.
type tally struct {
	mu      sync.Mutex
	served  int
	failed  map[string]int // by what the caller was told
	slowest time.Duration
}

func (c *tally) note(why string, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if why != "" {
		if c.failed == nil {
			c.failed = map[string]int{}
		}
		c.failed[why]++
		return
	}
	c.served++
	c.slowest = max(c.slowest, took)
}

func (c *tally) add(other *tally) {
	other.mu.Lock()
	defer other.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.served += other.served
	c.slowest = max(c.slowest, other.slowest)
	for why, n := range other.failed {
		if c.failed == nil {
			c.failed = map[string]int{}
		}
		c.failed[why] += n
	}
}

func (c *tally) lost() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range c.failed {
		n += of
	}
	return n
}

func (c *tally) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := fmt.Sprintf("%d served, longest %s", c.served, c.slowest.Round(time.Millisecond))
	for _, why := range slices.Sorted(maps.Keys(c.failed)) {
		text += fmt.Sprintf(", %d× %s", c.failed[why], why)
	}
	return text
}

// read asks r which agent serves a customer of a merchant. It returns "" for WeChat's answer,
// otherwise what the caller was told.
func (w *world) read(r *replica, id wechat.AppID) (why string) {
	return w.send(r, http.MethodGet, id, "/customservice/kfsession/getsession?openid="+string(stranger), nil, "kf_account")
}

// shut closes the session of a merchant's agent with a customer.
func (w *world) shut(r *replica, id wechat.AppID, kf wechat.KFAccount, customer wechat.OpenID) (why string) {
	body, _ := json.Marshal(map[string]any{"kf_account": kf, "openid": customer})
	return w.send(r, http.MethodPost, id, "/customservice/kfsession/close", body, `"errcode":0`)
}

// send sends a request to r and counts the result, unless the connection was refused.
func (w *world) send(r *replica, method string, id wechat.AppID, path string, body []byte, wants string) (why string) {
	began := time.Now()
	if why = w.sendUncounted(r, method, id, path, body, wants); why != refused {
		w.total.note(why, time.Since(began))
	}
	return why
}

func (w *world) sendUncounted(r *replica, method string, id wechat.AppID, path string, body []byte, wants string) (why string) {
	ctx, cancel := context.WithTimeout(context.Background(), 45*second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+r.public+"/v1/authorizers/"+string(id)+path, bytes.NewReader(body))
	if err != nil {
		return err.Error()
	}
	request.Header.Set("Authorization", "Bearer "+w.jwt)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := w.http.Do(request)
	if err != nil {
		return trouble(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return trouble(err)
	}
	if answer.StatusCode != http.StatusOK || !strings.Contains(string(text), wants) {
		var problem struct{ Type string }
		_ = json.Unmarshal(text, &problem)
		return fmt.Sprintf("%d %s", answer.StatusCode, strings.TrimPrefix(problem.Type, "/problems/"))
	}
	return ""
}

const refused = "connection refused"

func trouble(err error) string {
	text := err.Error()
	for _, known := range []string{refused, "connection reset", "EOF", "deadline exceeded", "broken pipe"} {
		if strings.Contains(text, known) {
			return known
		}
	}
	return text
}

// crowd is n simultaneous callers, spread over the merchants and over the replicas that live and
// are not left out when it starts.
type crowd struct {
	sync.WaitGroup
	of map[*replica]*tally
}

func (w *world) crowd(n int, ids ...wechat.AppID) *crowd {
	c := &crowd{of: map[*replica]*tally{}}
	var living []*replica
	for _, r := range w.replicas {
		c.of[r] = &tally{}
		if r.alive() && !r.out.Load() {
			living = append(living, r)
		}
	}
	for i := range n {
		r, id := living[i%len(living)], ids[i/len(living)%len(ids)]
		c.Go(func() {
			began := time.Now()
			c.of[r].note(w.read(r, id), time.Since(began))
		})
	}
	return c
}

// all returns the tally of the crowd without the callers of some replicas, once all were answered.
func (c *crowd) all(but ...*replica) *tally {
	c.Wait()
	sum := &tally{}
	for r, t := range c.of {
		if !slices.Contains(but, r) {
			sum.add(t)
		}
	}
	return sum
}

// load is callers who keep calling until stopped.
type load struct {
	tally
	sync.WaitGroup
	over atomic.Bool
}

// load starts callers of merchants at all replicas, as through a balancer.
func (w *world) load(callers int, pause time.Duration, ids ...wechat.AppID) *load {
	l := &load{}
	for n := range callers {
		l.Go(func() {
			for i := n; !l.over.Load(); i++ {
				began := time.Now()
				l.note(w.balanced(i, ids[i%len(ids)]), time.Since(began))
				time.Sleep(pause)
			}
		})
	}
	return l
}

func (w *world) balanced(i int, id wechat.AppID) (why string) {
	return w.through(i/len(w.replicas), func(r *replica) string { return w.read(r, id) })
}

// through sends through the i-th replica, or the next one that is not left out and accepts the
// connection.
func (w *world) through(i int, send func(*replica) string) (why string) {
	why = refused
	for try := 0; try < len(w.replicas) && why == refused; try++ {
		if r := w.replicas[(i+try)%len(w.replicas)]; !r.out.Load() {
			why = send(r)
		}
	}
	return why
}

// closers repeatedly open a session and close it through the platform.
func (w *world) closers(callers int, pause time.Duration, ids []wechat.AppID) *load {
	l := &load{}
	for n := range callers {
		l.Go(func() {
			customer := wechat.OpenID(fmt.Sprintf("oCLOSER%021d", n))
			for i := n; !l.over.Load(); i++ {
				id := ids[i%len(ids)]
				kf := wechatsim.SyntheticKF(i % len(ids))
				if err := w.sim.OpenSession(id, kf, customer); err != nil {
					l.note("simulator: "+err.Error(), 0)
					return
				}
				began := time.Now()
				l.note(w.through(i, func(r *replica) string { return w.shut(r, id, kf, customer) }), time.Since(began))
				time.Sleep(pause)
			}
		})
	}
	return l
}

// stop ends the load and waits for the last answers.
func (l *load) stop() *load {
	l.over.Store(true)
	l.Wait()
	return l
}
