package quota

import (
	"sync"
	"time"

	"wxplatform/wechat"
)

// Call pauses one API of the component while WeChat refuses it because its quota is used up. Each
// replica has its own pause, so n replicas send n useless requests. It is safe for concurrent use.
type Call struct {
	API string // its path

	mu    sync.Mutex
	pause Pause
}

// Permit fails with *PauseError during a pause. One call in ten minutes is let through, to see
// whether a day's quota was raised or cleared.
func (c *Call) Permit(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.pause.holds(now) {
		return nil
	}
	if now.Before(c.pause.probe) {
		return &PauseError{Code: c.pause.Code, Until: c.pause.Until, API: c.API}
	}
	c.pause.probe = now.Add(quotaProbeEvery)
	return nil
}

// Done takes the result of a call that Permit allowed: the code with which WeChat refused it, or 0,
// and whether WeChat answered at all. A refusal for a used-up quota begins a pause, and any other
// answer ends it.
func (c *Call) Done(code wechat.Code, answered bool, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case code.IsQuota():
		c.pause = quotaPause(code, now)
	case answered:
		c.pause = Pause{}
	}
}

// Paused reports whether the API is paused now.
func (c *Call) Paused(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pause.holds(now)
}
