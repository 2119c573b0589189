package token

import "sync/atomic"

// Counts is what a Store did since it was created.
type Counts struct {
	Answered, Refused, Dead, Unsent, NotAsked, Unknown int64 // requests by outcome
	Lost                                               int64 // claims that another process made first
	Waited                                             int64 // waits for another process's lease
	Limited                                            int64 // forced refreshes that were not allowed
	StoredLate                                         int64 // answers that SQL did not store at once
}

type counters struct {
	requests                          [unknown + 1]atomic.Int64
	lost, waited, limited, storedLate atomic.Int64
}

func (c *counters) count(how outcome) { c.requests[how].Add(1) }

// Counts returns a copy of the counters, for metrics.
func (s *Store) Counts() Counts {
	c := &s.counters
	return Counts{
		Answered:   c.requests[answered].Load(),
		Refused:    c.requests[refused].Load(),
		Dead:       c.requests[dead].Load(),
		Unsent:     c.requests[unsent].Load(),
		NotAsked:   c.requests[notAsked].Load(),
		Unknown:    c.requests[unknown].Load(),
		Lost:       c.lost.Load(),
		Waited:     c.waited.Load(),
		Limited:    c.limited.Load(),
		StoredLate: c.storedLate.Load(),
	}
}
