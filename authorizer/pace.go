package authorizer

import "time"

const (
	fewAtOnce  = 8                      // so that little is sent in vain when WeChat begins to refuse
	manyAtOnce = 160                    // a million authorizers in steady use need 350 refreshes a second, which takes some 110 at WeChat's 0.3 s
	slot       = 320 * time.Millisecond // each refresh takes up its place for at least this long, however fast WeChat is
	rounds     = 8                      // that a stride takes
	mostListed = 8000                   // ids, which is half a minute's work, for the listing of a large backlog is dear
)

// pace is how fast a keeper goes: 25 refreshes a second at first, twice as many after each stride of two and a half seconds that went well, 500 at most. What a restart,
// an import or an outage made due at once is so worked off evenly, and never in a burst. Among very many some always fail, so that a stride may go well though not all of it does.
type pace struct {
	atOnce int
	batch  int // how many are listed at once
}

func newPace() *pace { return &pace{fewAtOnce, batch} }

// stride is how many are renewed before it is seen how that went.
func (p *pace) stride() int { return rounds * p.atOnce }

// went takes how many of a stride were renewed.
func (p *pace) went(renewed, of int) {
	switch {
	case 10*renewed >= 9*of:
		p.atOnce = min(2*p.atOnce, manyAtOnce)
	case 2*renewed < of:
		p.atOnce = fewAtOnce
	}
}

// listed takes whether there was more than a batch.
func (p *pace) listed(full bool) {
	if full {
		p.batch = min(2*p.batch, mostListed)
	} else {
		p.batch = batch
	}
}
