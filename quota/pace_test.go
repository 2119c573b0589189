package quota

import "testing"

func TestAPaceGrowsWhileItGoesWell(t *testing.T) {
	p, sent, seconds := NewPace(), 0, 0.0
	for seconds < 10 {
		sent += p.Stride()
		seconds += rounds * Slot.Seconds()
		p.Went(p.Stride()-p.Stride()/20, p.Stride()) // of very many some always fail
	}
	if sent > 1000 || p.atOnce < 128 {
		t.Errorf("got %d in %v s and %d at once after that, want at most 100 a second, and more then", sent, seconds, p.atOnce)
	}
	for range 5 {
		p.Went(1, 1)
	}
	if rate := float64(p.atOnce) / Slot.Seconds(); rate < 400 || rate > 600 {
		t.Errorf("got %v a second at most, want 500", rate)
	}
	if p.Went(70, 100); p.atOnce != manyAtOnce {
		t.Error("got it slower by a third that failed, want it kept")
	}
	if p.Went(40, 100); p.atOnce != fewAtOnce {
		t.Error("got it kept though most failed, want it begun anew")
	}
}

func TestABatchGrowsWithTheBacklog(t *testing.T) {
	p := NewPace()
	for range 10 {
		p.Listed(true)
	}
	if p.batch != mostListed {
		t.Errorf("got %d, want %d", p.batch, mostListed)
	}
	if p.Listed(false); p.batch != fewListed {
		t.Errorf("got %d, want %d again", p.batch, fewListed)
	}
}
