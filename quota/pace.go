package quota

import "time"

const (
	// Slot is how long each renewal counts as running at least, however fast WeChat answers, so that
	// AtOnce also limits the renewals per second.
	Slot = 320 * time.Millisecond

	fewAtOnce  = 8    // so that few requests are wasted when WeChat begins to refuse
	manyAtOnce = 160  // a million accounts in steady use need 350 refreshes a second: 110 at once at WeChat's 0.3 s
	rounds     = 8    // slots per stride
	fewListed  = 500  // ids
	mostListed = 8000 // ids, half a minute's work: listing a large backlog is expensive
)

// Pace is how fast a keeper renews: 25 refreshes a second at first, twice as many after each stride
// of two and a half seconds that went well, at most 500. So a backlog after a restart, an import or
// an outage is worked off evenly, never in a burst. A stride goes well if nine in ten renewals
// succeed, because among very many accounts some always fail.
type Pace struct {
	atOnce int
	batch  int
}

// NewPace returns the slowest pace.
func NewPace() *Pace { return &Pace{fewAtOnce, fewListed} }

// AtOnce is how many refreshes run at the same time.
func (p *Pace) AtOnce() int { return p.atOnce }

// Batch is how many due ids are listed at a time.
func (p *Pace) Batch() int { return p.batch }

// Stride is how many renewals are made before the pace is adjusted.
func (p *Pace) Stride() int { return rounds * p.atOnce }

// Went adjusts the pace after a stride of that many renewals, of which renewed succeeded.
func (p *Pace) Went(renewed, of int) {
	switch {
	case 10*renewed >= 9*of:
		p.atOnce = min(2*p.atOnce, manyAtOnce)
	case 2*renewed < of:
		p.atOnce = fewAtOnce
	}
}

// Listed adjusts the batch after a list of due ids. While lists are full, more ids are listed at a
// time.
func (p *Pace) Listed(full bool) {
	if full {
		p.batch = min(2*p.batch, mostListed)
	} else {
		p.batch = fewListed
	}
}
