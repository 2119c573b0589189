package wechat

import "time"

// WeChat's day begins at 00:00 in Beijing, which has no daylight saving time, and its minute at
// second 0 (docs/wechat.md, "Quotas").
var beijing = time.FixedZone("Beijing", 8*60*60)

// Resets returns when the used-up quota that c is about starts again: the next day for DayQuota,
// else the next minute.
func (c Code) Resets(now time.Time) time.Time {
	if c != DayQuota {
		return now.Truncate(time.Minute).Add(time.Minute)
	}
	return Day(now).Add(24 * time.Hour)
}

// Day returns when WeChat's day that contains now began.
func Day(now time.Time) time.Time {
	year, month, day := now.In(beijing).Date()
	return time.Date(year, month, day, 0, 0, 0, 0, beijing)
}

// IsQuota reports whether c says that a quota is used up.
func (c Code) IsQuota() bool { return c == DayQuota || c == MinuteQuota }
