package bucket

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestABucketHoldsABurstAndFillsByItsRate(t *testing.T) {
	var b Bucket
	r := Rate{Every: time.Second, Burst: 3}
	for range 3 {
		if wait, ok := b.Take(r, noon); !ok || wait != 0 {
			t.Fatalf("got %v, %v, want a full bucket's tokens", wait, ok)
		}
	}
	if wait, ok := b.Take(r, noon.Add(200*time.Millisecond)); ok || wait != 800*time.Millisecond {
		t.Errorf("got %v, %v, want none for 800 ms more", wait, ok)
	}
	if wait, ok := b.Take(r, noon.Add(time.Second)); !ok {
		t.Errorf("got %v, want the token that came back: a refusal takes nothing", wait)
	}
	if _, ok := b.Take(r, noon.Add(time.Second)); ok {
		t.Error("got a second token, want one a second")
	}
	taken := 0
	for ; taken < 10; taken++ {
		if _, ok := b.Take(r, noon.Add(time.Hour)); !ok {
			break
		}
	}
	if taken != 3 {
		t.Errorf("got %d tokens after an hour, want the burst of 3", taken)
	}
}

func TestATokenThatIsReturnedCanBeTakenAgain(t *testing.T) {
	var b Bucket
	r := Rate{Every: time.Second, Burst: 1}
	b.Take(r, noon)
	b.Return(r)
	if wait, ok := b.Take(r, noon); !ok {
		t.Errorf("got %v, want the token that was returned", wait)
	}
	if _, ok := b.Take(r, noon); ok {
		t.Error("got two tokens, want one")
	}
	b.Return(r)
	b.Return(r) // of a full bucket
	b.Take(r, noon)
	if _, ok := b.Take(r, noon); ok {
		t.Error("got two tokens of a bucket that holds one")
	}
}

func TestARateMayChange(t *testing.T) {
	var b Bucket
	slow, fast := Rate{Every: time.Hour, Burst: 1}, Rate{Every: time.Second, Burst: 1}
	b.Take(slow, noon)
	if wait, ok := b.Take(fast, noon); ok || wait != time.Second {
		t.Errorf("got %v, %v, want the wait of an empty bucket of the new rate", wait, ok)
	}
	for range 100 {
		if _, ok := b.Take(Rate{}, noon); !ok {
			t.Fatal("got no token, want no limit")
		}
	}
}

func TestAClockThatIsSetBackLocksNobodyOut(t *testing.T) {
	var b Bucket
	r := Rate{Every: time.Second, Burst: 1}
	b.Take(r, noon)
	if wait, _ := b.Take(r, noon.Add(-time.Hour)); wait > time.Second {
		t.Errorf("got %v, want at most what an empty bucket waits", wait)
	}
}

func TestEachKeyHasItsBucket(t *testing.T) {
	s, r := NewSet[string](10), Rate{Every: time.Second, Burst: 1}
	s.Take("a", r, noon)
	if _, ok := s.Take("a", r, noon); ok {
		t.Error("got a second token for a")
	}
	if _, ok := s.Take("b", r, noon); !ok {
		t.Error("got none for b, want its own bucket")
	}
	s.Return("a", r)
	if _, ok := s.Take("a", r, noon); !ok {
		t.Error("got none, want the token that was returned")
	}
}

func TestASetIsBoundedAndKeepsWhatIsInUse(t *testing.T) {
	s, r := NewSet[int](100), Rate{Every: time.Hour, Burst: 1}
	s.Take(-1, r, noon)
	for i := range 10_000 {
		s.Take(i, r, noon)
		if _, ok := s.Take(-1, r, noon); ok {
			t.Fatalf("got a token after %d other keys, want the bucket in use kept", i)
		}
		if s.Len() > 100 {
			t.Fatalf("got %d buckets, want at most 100", s.Len())
		}
	}
}

func TestManyTakeFromOneBucket(t *testing.T) {
	s, r := NewSet[string](10), Rate{Every: time.Hour, Burst: 50}
	var taken atomic.Int64
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for range 100 {
				if _, ok := s.Take("a", r, noon); ok {
					taken.Add(1)
				}
			}
		})
	}
	running.Wait()
	if taken.Load() != 50 {
		t.Errorf("got %d tokens, want 50", taken.Load())
	}
}
