package db

import (
	"database/sql/driver"
	"fmt"
	"math"
	"time"
)

// Stamp is a time as SQL stores it: a BIGINT of Unix milliseconds, 0 for the zero time. Smaller
// fractions of a second are cut off. A column is scanned into (*Stamp)(&t) and written as Stamp(t).
type Stamp time.Time

// Scan reads a BIGINT. NULL and every other type are errors, and leave s as it is.
func (s *Stamp) Scan(value any) error {
	ms, ok := value.(int64)
	if !ok {
		return fmt.Errorf("a time must be a BIGINT of milliseconds, not %T", value)
	}
	*s = Stamp(fromMillis(ms))
	return nil
}

// Value returns the milliseconds, or an error if they do not fit into a BIGINT.
func (s Stamp) Value() (driver.Value, error) {
	t := time.Time(s)
	if seconds := t.Unix(); seconds <= math.MinInt64/1000 || seconds >= math.MaxInt64/1000 {
		return nil, fmt.Errorf("the time %v does not fit into a BIGINT of milliseconds", t)
	}
	return millis(t), nil
}
