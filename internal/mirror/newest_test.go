package mirror

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/seal"
	"wxplatform/internal/testenv"
)

func TestAnOlderVersionNeverReplacesANewerOne(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		d := dbtest.SQLite(t)
		here, there := NewNewest(r.open(t, d), "authorizer", 100), NewNewest(r.open(t, d), "authorizer", 100)
		here.Put(t.Context(), "wx1", version(7))
		for name, got := range map[string]Versioned{
			"Put":    here.Put(t.Context(), "wx1", version(6)),
			"Filled": here.Filled(t.Context(), "wx1", version(5), here.Generation()),
		} {
			if got.Version != 7 {
				t.Errorf("%s of an older one: got %d, want 7", name, got.Version)
			}
		}
		there.Put(t.Context(), "wx1", version(4)) // this process does not know of 7
		fresh := NewNewest(r.open(t, d), "authorizer", 100)
		if got, ok := fresh.Shared(t.Context(), "wx1"); !ok || got.Version != 7 || got.Secret.Reveal() != "canary-7" {
			t.Errorf("got %v, %v in Redis, want 7", got, ok)
		}
	})
}

func TestANewVersionReachesTheOtherReplicas(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		d := dbtest.SQLite(t)
		m := r.open(t, d)
		here, there := NewNewest(m, "authorizer", 100), NewNewest(r.open(t, d), "authorizer", 100)
		run(t, m)
		within(t, patience, func() bool { return m.generation.Load() > 0 })
		here.Put(t.Context(), "wx1", version(1))
		there.Put(t.Context(), "wx2", version(2))
		there.Put(t.Context(), "wx1", version(2))
		within(t, patience, func() bool { got, _, _ := here.Local("wx1"); return got.Version == 2 })
		if _, _, ok := here.Local("wx2"); ok {
			t.Error("got kept what nobody here asked for, want it passed over")
		}
	})
}

func TestWaitEndsWithANewerVersion(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		d := dbtest.SQLite(t)
		m := r.open(t, d)
		here, there := NewNewest(m, "authorizer", 100), NewNewest(r.open(t, d), "authorizer", 100)
		run(t, m)
		within(t, patience, func() bool { return m.generation.Load() > 0 })
		began := time.Now()
		go func() {
			for !here.awaited("wx1") {
				time.Sleep(time.Millisecond)
			}
			there.Put(t.Context(), "wx1", version(3))
		}()
		here.Wait(t.Context(), "wx1", 2, 2*patience)
		if took := time.Since(began); took > patience {
			t.Errorf("got woken after %v, want at once", took)
		}
		if got, _, ok := here.Local("wx1"); !ok || got.Version != 3 {
			t.Errorf("got %v, want what was waited for", got)
		}
		began = time.Now()
		here.Wait(t.Context(), "wx1", 2, 2*patience)
		here.Wait(t.Context(), "wx1", 3, time.Millisecond)
		if took := time.Since(began); took > patience {
			t.Errorf("got %v waited for what is known already, want none", took)
		}
	})
}

func TestWhatComesFromRedisIsNotFresh(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		d := dbtest.SQLite(t)
		here, there := NewNewest(r.open(t, d), "authorizer", 100), NewNewest(r.open(t, d), "authorizer", 100)
		there.Put(t.Context(), "wx1", version(1))
		if _, ok := here.Shared(t.Context(), "wx1"); !ok {
			t.Error("got nothing from Redis, want what the other replica put there")
		}
		if _, fresh, ok := here.Local("wx1"); !ok || fresh {
			t.Errorf("got fresh %v, %v, want it kept, and SQL read when it is back", fresh, ok)
		}
	})
}

func TestAfterASilenceWhatIsKnownIsNotFreshUntilItIsReadAgain(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		m := r.open(t, dbtest.SQLite(t))
		n := NewNewest(m, "authorizer", 100)
		run(t, m)
		within(t, patience, func() bool { return m.generation.Load() > 0 })
		n.Put(t.Context(), "wx1", version(1))
		if _, fresh, ok := n.Local("wx1"); !ok || !fresh {
			t.Error("got what was put not fresh, want it fresh")
		}
		subscribed := m.generation.Load()
		r.cut()
		r.set("")
		within(t, patience, func() bool { return m.generation.Load() > subscribed })
		if got, fresh, ok := n.Local("wx1"); !ok || fresh || got.Version != 1 {
			t.Errorf("got %v, %v, %v, want it served, and not as fresh", got, fresh, ok)
		}
		n.Filled(t.Context(), "wx1", version(1), n.Generation())
		if _, fresh, _ := n.Local("wx1"); !fresh {
			t.Error("got it not fresh after it was read again, want it fresh")
		}
	})
}

func TestAFillThatBeganBeforeTheSilenceMakesNothingFresh(t *testing.T) {
	m := open(t, "", dbtest.SQLite(t))
	n := NewNewest(m, "authorizer", 100)
	began := n.Generation()
	m.generation.Add(1)
	n.Filled(t.Context(), "wx1", version(1), began)
	if _, fresh, _ := n.Local("wx1"); fresh {
		t.Error("got it fresh, want it read again")
	}
}

func TestARedisThatHangsIsNoticedByTheSubscription(t *testing.T) {
	r := newRedis(t, "")
	m := r.open(t, dbtest.SQLite(t))
	run(t, m)
	within(t, patience, func() bool { return m.generation.Load() == 1 })
	for began := time.Now(); m.generation.Load() == 1; {
		if time.Since(began) > patience {
			t.Fatal("got it not noticed")
		}
		r.set("hang")
		time.Sleep(2*heartbeat + again) // on a busy machine it may take longer: again, then
		r.set("")
		time.Sleep(2 * again)
	}
}

func TestFailuresOfRedisCostOnlyTime(t *testing.T) {
	trouble := map[string]func(*redisUnderTest, *db.DB){
		"cut":   func(r *redisUnderTest, _ *db.DB) { r.cut() },
		"hang":  func(r *redisUnderTest, _ *db.DB) { r.set("hang") },
		"flush": func(r *redisUnderTest, d *db.DB) { r.flush(t, d) },
	}
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		for name, make := range trouble {
			t.Run(name, func(t *testing.T) { bear(t, r, make); r.set("") })
		}
		if r.mini != nil {
			t.Run("readonly", func(t *testing.T) {
				bear(t, r, func(r *redisUnderTest, _ *db.DB) {
					r.mini.SetError("READONLY You can't write against a read only replica.")
				})
			})
		}
	})
}

func bear(t *testing.T, r *redisUnderTest, trouble func(*redisUnderTest, *db.DB)) {
	d := dbtest.SQLite(t)
	m := r.open(t, d)
	facts, n := NewFacts[tenant](m, "tenant", 100, nil), NewNewest(m, "authorizer", 100)
	read := func(context.Context, string) (tenant, error) { return tenant{Name: "A"}, nil }
	want(t, facts, read, "A")
	last := int64(0)
	rounds := func() time.Duration {
		began := time.Now()
		for range 100 {
			last++
			change(t, d)
			want(t, facts, read, "A")
			if got := n.Put(t.Context(), "wx1", version(last)); got.Version != last {
				t.Errorf("got %d, want %d", got.Version, last)
			}
			if got, ok := n.Shared(t.Context(), "wx1"); ok && got.Version != last {
				t.Errorf("got %d, want nothing or the newest", got.Version)
			}
		}
		return time.Since(began)
	}
	healthy := rounds()
	trouble(r, d)
	if took := rounds(); took > healthy+25*time.Second { // half of what 100 failed reads and writes take
		t.Errorf("got 100 rounds in %v, and %v before, want Redis left alone", took, healthy)
	}
}

func TestARedisThatIsDownAtTheStartIsNotAnError(t *testing.T) {
	r := newRedis(t, "")
	r.cut()
	m := r.open(t, dbtest.SQLite(t))
	if err := m.Ping(t.Context()); err == nil {
		t.Error("got Ping content, want an error")
	}
	want(t, NewFacts[tenant](m, "tenant", 100, nil), func(context.Context, string) (tenant, error) { return tenant{Name: "A"}, nil }, "A")
	r.set("")
	if err := m.Ping(t.Context()); err != nil {
		t.Errorf("got %v, want Redis back", err)
	}
}

func TestAValueMovedToAnotherKeyDoesNotOpen(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		d := dbtest.SQLite(t)
		n := NewNewest(r.open(t, d), "authorizer", 100)
		n.Put(t.Context(), "wx1", version(1))
		if strings.Contains(r.dump(t, d), "canary") {
			t.Error("got a secret in Redis in plain, want it sealed")
		}
		client := r.direct(t)
		value := client.HGetAll(t.Context(), n.m.redis.key(n.kind, "wx1")).Val()
		if err := client.HSet(t.Context(), n.m.redis.key(n.kind, "wx2"), value).Err(); err != nil {
			t.Fatal(err)
		}
		if got, ok := n.Shared(t.Context(), "wx2"); ok {
			t.Errorf("got %v, want it refused", got)
		}
	})
}

func TestAValueLeavesRedisWhenItExpires(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *redisUnderTest) {
		d := dbtest.SQLite(t)
		n := NewNewest(r.open(t, d), "authorizer", 100)
		v := version(1)
		n.Put(t.Context(), "wx1", v)
		ttl := r.direct(t).PTTL(t.Context(), n.m.redis.key(n.kind, "wx1")).Val()
		if left := time.Until(v.Expires); ttl <= 0 || ttl > left+time.Second {
			t.Errorf("got it kept for %v, want until it expires in %v", ttl, left)
		}
		v.Version, v.Expires = 2, time.Now().Add(-time.Second)
		n.Put(t.Context(), "wx1", v)
		if got, ok := n.Shared(t.Context(), "wx1"); ok && got.Version != 2 {
			t.Errorf("got %d, want what the process has", got.Version)
		}
	})
}

func TestTheOwnRedisLetsValuesExpire(t *testing.T) {
	m := open(t, "", dbtest.SQLite(t))
	n := NewNewest(m, "authorizer", 100)
	v := version(1)
	v.Expires = time.Now().Add(50 * time.Millisecond)
	n.Put(t.Context(), "wx1", v)
	within(t, patience, func() bool { return m.redis.client.Exists(t.Context(), m.redis.key(n.kind, "wx1")).Val() == 0 })
}

func TestNewsUnderAKeyThatIsNotHereYetMakesStale(t *testing.T) {
	m := open(t, "", dbtest.SQLite(t))
	n := NewNewest(m, "authorizer", 100)
	n.Put(t.Context(), "wx1", version(1))
	n.learn(news{Kind: n.kind, Key: "wx1", Version: 2, Sealed: []byte("sealed under another key")})
	if got, fresh, ok := n.Local("wx1"); !ok || fresh || got.Version != 1 {
		t.Errorf("got %v, %v, %v, want the old one, not fresh", got, fresh, ok)
	}
}

func TestUsesAreNotedOnce(t *testing.T) {
	n := NewNewest(open(t, "", dbtest.SQLite(t)), "authorizer", 100)
	n.Put(t.Context(), "wx1", version(1))
	n.Put(t.Context(), "wx2", version(1))
	n.Local("wx1")
	n.Local("wx1")
	n.Put(t.Context(), "wx1", version(2)) // a newer version keeps the note of the use
	if got := n.TakeUsed(); len(got) != 1 || got[0] != "wx1" {
		t.Errorf("got %v, want wx1 alone", got)
	}
	if got := n.TakeUsed(); len(got) != 0 {
		t.Errorf("got %v, want nothing twice", got)
	}
}

func TestWhatTheProcessKeepsIsBounded(t *testing.T) {
	m := open(t, "", dbtest.SQLite(t))
	n := NewNewest(m, "authorizer", 50)
	for range 500 {
		n.adopt(name(), version(1), 0)
	}
	inBounded(n.known).CleanUp()
	if size := inBounded(n.known).EstimatedSize(); size > 50 {
		t.Errorf("got %d entries, want at most 50", size)
	}
}

func TestTheCircuitTriesOneCallerASecond(t *testing.T) { synctest.Test(t, tryCircuit) }

func tryCircuit(t *testing.T) {
	var c circuit
	broken := errors.New("broken")
	tries := 0
	for range 100 {
		_ = c.try(t.Context(), time.Minute, func(context.Context) error { tries++; return broken })
	}
	if tries != 1 {
		t.Errorf("got %d tries within a second, want 1", tries)
	}
	c.until.Store(1)
	_ = c.try(t.Context(), time.Minute, func(context.Context) error { return nil })
	if err := c.try(t.Context(), time.Minute, func(context.Context) error { return nil }); err != nil {
		t.Errorf("got %v after a success, want everybody let in", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_ = c.try(gone, time.Minute, func(context.Context) error { return context.Canceled })
	if !c.enter(time.Minute) {
		t.Error("got the circuit opened by a caller who left, want it closed")
	}
}

func BenchmarkFactHit(b *testing.B) {
	m, err := Open(b.Context(), seal.Secret{}, dbtest.SQLite(b), dbtest.Ring(b))
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	facts := NewFacts[tenant](m, "tenant", 1000, nil)
	load := func(context.Context, string) (tenant, error) { return tenant{Name: "A"}, nil }
	b.ReportAllocs()
	for b.Loop() {
		_, _ = facts.get(b.Context(), "a", load)
	}
}

func BenchmarkNewestHit(b *testing.B) {
	m, err := Open(b.Context(), seal.Secret{}, dbtest.SQLite(b), dbtest.Ring(b))
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	n := NewNewest(m, "authorizer", 1000)
	n.Put(b.Context(), "wx1", version(1))
	b.ReportAllocs()
	for b.Loop() {
		_, _, _ = n.Local("wx1")
	}
}

func version(n int64) Versioned {
	return Versioned{Secret: seal.NewSecret("canary-" + string(rune('0'+n%10))), Version: n, Expires: time.Now().Add(time.Hour)}
}

func postgresURL(t *testing.T, database string) string {
	u, err := url.Parse(testenv.Get("TEST_POSTGRES_URL"))
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + database
	return u.String()
}
