package wechatsim

import (
	"math"
	"slices"
	"time"
)

const (
	// never is an expiry that no clock reaches.
	never = math.MaxInt64
	// maxReplaced limits how many replaced tokens of one owner are remembered while they overlap.
	maxReplaced = 256
)

// chain holds the tokens of one owner and kind: the newest, and those that it replaced and that
// still work for a while. Times are Unix nanoseconds, which take a third of the memory of a
// time.Time.
type chain struct {
	newest   issue
	replaced []issue
}

type issue struct {
	number   uint64
	expires  int64
	dies     int64 // when it stops working because it was replaced
	rejected bool  // refused before its time is over
}

// issue makes number the newest. With concurrent calls the last one counts.
func (c *chain) issue(number uint64, now time.Time, life, overlap time.Duration) {
	c.prune(now.UnixNano())
	if c.newest.number != 0 {
		old := c.newest
		old.dies = now.Add(overlap).UnixNano()
		c.replaced = append(c.replaced, old)
	}
	c.newest = issue{number: number, expires: expiry(now, life)}
}

func expiry(now time.Time, life time.Duration) int64 {
	if life == never {
		return never
	}
	return now.Add(life).UnixNano()
}

func (c *chain) prune(now int64) {
	c.replaced = slices.DeleteFunc(c.replaced, func(i issue) bool { return i.dies <= now })
	if extra := len(c.replaced) - maxReplaced; extra > 0 {
		c.replaced = slices.Delete(c.replaced, 0, extra)
	}
	if len(c.replaced) == 0 {
		c.replaced = nil
	}
}

// check returns nil if number works, or why not: 42001 if it expired, 40001 if it was replaced or
// rejected.
func (c *chain) check(number uint64, now time.Time) error {
	i, known := c.find(number)
	switch at := now.UnixNano(); {
	case !known || i.rejected:
		return refuse(40001)
	case at >= i.expires:
		return refuse(42001)
	case i.dies != 0 && at >= i.dies:
		return refuse(40001)
	}
	return nil
}

func (c *chain) find(number uint64) (issue, bool) {
	if c.newest.number == number && number != 0 {
		return c.newest, true
	}
	if i := slices.IndexFunc(c.replaced, func(i issue) bool { return i.number == number }); i >= 0 {
		return c.replaced[i], true
	}
	return issue{}, false
}
