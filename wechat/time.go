package wechat

import "time"

// oldest is before WeChat had components or customer service.
var oldest = time.Date(2011, 1, 1, 0, 0, 0, 0, time.UTC)

// PlausibleTime returns the time of WeChat's Unix seconds, or the zero time if they cannot be
// right: before 2011, or after latest.
func PlausibleTime(seconds int64, latest time.Time) time.Time {
	at := time.Unix(seconds, 0)
	if at.Before(oldest) || at.After(latest) {
		return time.Time{}
	}
	return at
}
