package wechatsim

import (
	"testing"
	"time"
)

func TestShelfForgetsWhatIsOld(t *testing.T) {
	var s shelf[int]
	start := time.Unix(1_700_000_000, 0)
	for i := range 100 {
		s.put(uint64(i), &i, start.Add(time.Duration(i)*time.Hour))
	}
	if len(s.items) != 25 || len(s.ages) != 25 || s.items[99] == nil || s.items[75] == nil {
		t.Errorf("got %d items, want those of the last day", len(s.items))
	}
}

func TestRingKeepsTheNewest(t *testing.T) {
	var r ring[int]
	for i := range ringSize + 10 {
		r.add(i)
	}
	all := r.all()
	if len(all) != ringSize || all[0] != 10 || all[ringSize-1] != ringSize+9 {
		t.Errorf("got %d items from %d to %d", len(all), all[0], all[len(all)-1])
	}
}

func TestUnknownPathsAreCountedUpToALimit(t *testing.T) {
	r := newRig(t)
	for i := range maxCountedPaths + 10 {
		r.arrive(&call{url: "/x" + string(rune(i))})
	}
	r.want(0, r.do(componentTokenPath, nil, r.credentials()))
	if got := len(r.CallCounts()); got != maxCountedPaths+1 || r.Calls(componentTokenPath) != 1 {
		t.Errorf("got %d paths, want %d and the known one", got, maxCountedPaths)
	}
}
