package wechat

import "time"

// WeChat's day begins at 00:00 in Beijing, which has no summer time; its minute at second 0 (wechat-protocol §7.1).
var beijing = time.FixedZone("Beijing", 8*60*60)

// Resets is when the quota is there again that c says is used up: the day's for DayQuota, else the minute's.
func (c Code) Resets(now time.Time) time.Time {
	if c != DayQuota {
		return now.Truncate(time.Minute).Add(time.Minute)
	}
	return Day(now).Add(24 * time.Hour)
}

// Day is when the day of WeChat's began that now is in.
func Day(now time.Time) time.Time {
	year, month, day := now.In(beijing).Date()
	return time.Date(year, month, day, 0, 0, 0, 0, beijing)
}

// IsQuota reports whether c says that a quota is used up.
func (c Code) IsQuota() bool { return c == DayQuota || c == MinuteQuota }
