package quota

import (
	"errors"
	"testing"
	"time"

	"wxplatform/wechat"
)

func TestACallPausesWhileItsQuotaIsUsedUp(t *testing.T) {
	c, now := Call{API: "/cgi-bin/x"}, beijing(t, "12:00:00")
	paused := func(at time.Time) bool {
		err := c.Permit(at)
		pause := (*PauseError)(nil)
		if err != nil && (!errors.As(err, &pause) || pause.API != c.API) {
			t.Errorf("got %v, want a PauseError that names the API", err)
		}
		return err != nil
	}
	for _, code := range []wechat.Code{0, 61009} {
		if c.Done(code, true, now); paused(now) {
			t.Errorf("got a pause after %d", code)
		}
	}
	c.Done(wechat.MinuteQuota, true, now)
	if !paused(now.Add(59*time.Second)) || !c.Paused(now) || paused(now.Add(time.Minute)) {
		t.Error("got no pause until the next minute")
	}
	c.Done(wechat.DayQuota, true, now)
	if !paused(now.Add(quotaProbeEvery-1)) || paused(now.Add(quotaProbeEvery)) || !paused(now.Add(quotaProbeEvery)) {
		t.Error("got no pause with one probe in ten minutes")
	}
	if c.Done(0, false, now); !paused(now.Add(time.Minute)) {
		t.Error("got the pause ended without an answer of WeChat's")
	}
	if c.Done(61009, true, now); paused(now.Add(time.Minute)) {
		t.Error("got the pause kept though WeChat serves the call")
	}
	c.Done(wechat.DayQuota, true, now)
	if paused(beijing(t, "23:59:59").Add(time.Second)) {
		t.Error("got the pause kept into the next day")
	}
}
