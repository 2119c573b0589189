package wechat

import "time"

// PlausibleTime returns the time of WeChat's Unix seconds, or the zero time if it is before
// earliest or after latest.
func PlausibleTime(seconds int64, earliest, latest time.Time) time.Time {
	at := time.Unix(seconds, 0)
	if at.Before(earliest) || at.After(latest) {
		return time.Time{}
	}
	return at
}
