package wechat

import (
	"testing"
	"time"
)

func TestAQuotaIsThereAgainInBeijing(t *testing.T) {
	for _, c := range []struct {
		code      Code
		now, want string
	}{
		{DayQuota, "2026-03-01T15:59:59Z", "2026-03-01T16:00:00Z"},
		{DayQuota, "2026-03-01T16:00:00Z", "2026-03-02T16:00:00Z"},
		{DayQuota, "2026-12-31T23:00:00Z", "2027-01-01T16:00:00Z"},
		{MinuteQuota, "2026-03-01T15:59:59.5Z", "2026-03-01T16:00:00Z"},
		{MinuteQuota, "2026-03-01T16:00:00Z", "2026-03-01T16:01:00Z"},
	} {
		now, _ := time.Parse(time.RFC3339, c.now)
		if got := c.code.Resets(now).UTC().Format(time.RFC3339); got != c.want {
			t.Errorf("%d at %s: got %s, want %s", c.code, c.now, got, c.want)
		}
	}
}
