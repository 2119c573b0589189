package tenant

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestNextPace(t *testing.T) {
	for what, c := range map[string]struct {
		pace         int64
		rate, mean   float64
		alone, queue bool
		want         int64
	}{
		"a tenant that is alone":                        {pace: 800, rate: 9000, mean: 9000, alone: true, queue: true, want: 0},
		"nobody waits":                                  {rate: 9000, mean: 4550, want: 0},
		"one takes nearly all":                          {rate: 9000, mean: 4550, queue: true, want: 7200},
		"it is not enough":                              {pace: 7200, rate: 7000, mean: 3550, queue: true, want: 5600},
		"it was refused much":                           {pace: 5600, rate: 8000, mean: 4050, queue: true, want: 4480},
		"one takes no more than the others":             {rate: 3000, mean: 3000, queue: true, want: 0},
		"one slowed down takes no more":                 {pace: 3000, rate: 3000, mean: 3000, queue: true, want: 3000},
		"the least pace":                                {pace: 510, rate: 505, mean: 255, queue: true, want: leastPace},
		"few requests":                                  {rate: 300, mean: 155, queue: true, want: leastPace},
		"nobody waits any more, and it uses its pace":   {pace: 2000, rate: 1900, mean: 1000, want: 2061},
		"nobody waits, and it does not use its pace":    {pace: 2000, rate: 900, mean: 500, want: 2000},
		"nobody waits, and it has become a quiet one":   {pace: 2000, rate: 190, mean: 150, want: 0},
		"others take more than one that is slowed down": {pace: 700, rate: 600, mean: 2000, queue: true, want: 700},
	} {
		if got := nextPace(c.pace, c.rate, c.mean, c.alone, c.queue); got != c.want {
			t.Errorf("%s: got %d, want %d", what, got, c.want)
		}
	}
}

// crowd simulates tenants that send as much as they may of what they want, on a machine that can
// answer so many requests a second, with a queue as soon as it gets more.
type crowd struct {
	limits   limits
	now      time.Time
	capacity float64
	wants    map[ID]float64
}

func (c *crowd) pass(steps int) (sent map[ID]float64) {
	for range steps {
		c.now = c.now.Add(paceEvery)
		sent = map[ID]float64{}
		total := 0.0
		for id, want := range c.wants {
			if pace := c.limits.of(id).pace.Load(); pace > 0 {
				want = min(want, float64(pace))
			}
			sent[id] = want
			total += want
		}
		for id := range sent {
			if total > c.capacity {
				sent[id] *= c.capacity / total
			}
			c.limits.of(id).admitted.Add(int64(sent[id] * paceEvery.Seconds()))
		}
		c.limits.step(c.now, paceEvery, total > c.capacity)
	}
	return sent
}

func TestTenantsBelowTheirPartAreNeverSlowedDown(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		c := &crowd{now: time.Unix(1, 0), capacity: 2000 + 20_000*random.Float64(), wants: map[ID]float64{}}
		for i := range 2 + random.IntN(5) {
			c.wants[ID(rune('a'+i))] = c.capacity * (0.5 + 2*random.Float64())
		}
		quiet := ID("quiet")
		c.wants[quiet] = 10 + c.capacity/10*random.Float64()
		for step := range 300 {
			sent := c.pass(1)
			if pace := c.limits.of(quiet).pace.Load(); pace > 0 {
				t.Fatalf("seed %d, step %d: got %s slowed down to %d, want it free", seed, step, quiet, pace)
			}
			if step > 100 && sent[quiet] < c.wants[quiet]*0.7 {
				t.Fatalf("seed %d, step %d: got %.0f of its %.0f requests served", seed, step, sent[quiet], c.wants[quiet])
			}
		}
		total, sent := 0.0, c.pass(1)
		for _, n := range sent {
			total += n
		}
		if total < c.capacity*0.6 {
			t.Errorf("seed %d: got %.0f of %.0f requests a second used, want most of them", seed, total, c.capacity)
		}
	}
}

func TestATenantThatIsAloneIsFreeAgain(t *testing.T) {
	c := &crowd{now: time.Unix(1, 0), capacity: 5000, wants: map[ID]float64{"loud": 20_000, "quiet": 50}}
	if sent := c.pass(100); sent["loud"] > 5000 || c.limits.of("loud").pace.Load() == 0 {
		t.Fatalf("got %.0f requests a second and no pace for the one that sends 20,000", sent["loud"])
	}
	c.wants["quiet"] = 0
	c.pass(int(activeFor/paceEvery) + 1)
	if pace := c.limits.of("loud").pace.Load(); pace != 0 {
		t.Errorf("got a pace of %d with nobody else active, want none", pace)
	}
}

func TestAPaceIsALimit(t *testing.T) {
	w := newWorld(t)
	w.DefaultLimit = Limit{PerSecond: 100_000, Burst: 200_000}
	w.limits.of(w.tenant.ID).pace.Store(leastPace)
	admitted := 0
	for w.spend(w.tenant.ID, Limit{}) == nil {
		admitted++
	}
	if want := leastPace / 10; admitted != want {
		t.Errorf("got %d requests admitted at once, want %d", admitted, want)
	}
	if got := w.Paces()[w.tenant.ID]; got != leastPace {
		t.Errorf("got a pace of %d, want %d", got, leastPace)
	}
	if own := (Limit{PerSecond: 10, Burst: 20}); own.within(leastPace) != own {
		t.Error("got a tenant's lower limit raised by a pace")
	}
}

func TestABurstSlowsNobodyDown(t *testing.T) {
	c := &crowd{now: time.Unix(1, 0), capacity: 5000, wants: map[ID]float64{"loud": 20_000, "quiet": 50}}
	c.pass(burstSteps - 1)
	if pace := c.limits.of("loud").pace.Load(); pace != 0 {
		t.Errorf("got a pace of %d after a burst, want none", pace)
	}
	c.pass(1)
	if pace := c.limits.of("loud").pace.Load(); pace == 0 {
		t.Error("got no pace after half a second of waiting")
	}
}

// At the edge of what the processors can do, the queue is sometimes empty for a moment.
func TestAQueueWithGapsIsNoBurst(t *testing.T) {
	c := &crowd{now: time.Unix(1, 0), capacity: 5000, wants: map[ID]float64{"loud": 20_000, "quiet": 50}}
	for range burstSteps {
		c.pass(2)
		c.limits.step(c.now, paceEvery, false)
	}
	if pace := c.limits.of("loud").pace.Load(); pace == 0 {
		t.Error("got no pace with a queue in two of three steps")
	}
}
