package mirror

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/redistest"
	"wxplatform/internal/testenv"
)

// The master and the only Sentinel that the replicas know hang together, as if they were on one
// host that is gone. The other Sentinels, which they found through it, elect another master.
func TestASentinelFailoverCostsOnlyTime(t *testing.T) {
	t.Parallel()
	group := startGroup(t, func() (*redistest.Group, error) { return redistest.NewSentinel(t.Context(), 3, time.Second) })
	if group == nil {
		return
	}
	first, rest, _ := strings.Cut(group.URL, ",")
	_, path, _ := strings.Cut(rest, "/")
	p := newPair(t, first+"/"+path)
	p.agree()
	group.Servers[0].Pause()
	group.Sentinels[0].Pause()
	p.agree()
	for _, key := range p.keys {
		if got := group.Servers[1].Do(t.Context(), "HGET", p.there.m.redis.key(p.there.kind, key), fieldVersion); got != fmt.Sprint(p.last[key]) {
			t.Errorf("got version %s of %s in the new master, want %d", got, key, p.last[key])
		}
	}
}

// The node is the one at which the replicas subscribed.
func TestALostClusterNodeCostsOnlyTime(t *testing.T) {
	t.Parallel()
	group := startGroup(t, func() (*redistest.Group, error) { return redistest.NewCluster(t.Context(), 1, 2*time.Second) })
	if group == nil {
		return
	}
	p := newPair(t, group.URL)
	p.agree()
	group.Servers[owner(t, group, p.there.m.redis.channel())].Kill()
	p.agree()
	fresh := NewNewest(p.r.open(t, p.d), "authorizer", 100)
	for _, key := range p.keys {
		if got, ok := fresh.Shared(t.Context(), key); !ok || got.Version != p.last[key] {
			t.Errorf("got version %d, %v of %s in Redis, want %d", got.Version, ok, key, p.last[key])
		}
	}
}

func TestNewsCrossesTheNodesOfACluster(t *testing.T) {
	t.Parallel()
	if testenv.Get("TEST_REDIS_URL") == "" {
		return
	}
	group, err := redises["cluster"]()
	if err != nil {
		t.Fatal(err)
	}
	p := newPair(t, group.URL)
	owners := map[int]bool{}
	for _, key := range p.keys {
		owners[owner(t, group, p.there.m.redis.key(p.there.kind, key))] = true
	}
	if len(owners) != len(group.Servers) {
		t.Fatalf("got keys on %d nodes, want them on all", len(owners))
	}
	p.agree()
}

func TestAClusterThatLacksANodeDoesNotAnswerThePing(t *testing.T) {
	t.Parallel()
	group := startGroup(t, func() (*redistest.Group, error) { return redistest.NewCluster(t.Context(), 0, time.Second) })
	if group == nil {
		return
	}
	r := &redisUnderTest{ring: dbtest.Ring(t), url: group.URL + "&read_timeout=1s"}
	m := r.open(t, dbtest.SQLite(t))
	within(t, patience, func() bool { return m.Ping(t.Context()) == nil })
	group.Servers[1].Kill()
	within(t, patience, func() bool {
		for range 20 { // each asks other nodes too
			if m.Ping(t.Context()) == nil {
				return false
			}
		}
		return true
	})
}

// The permissions are those of docs/operate/configure.md, "Redis".
func TestTheDocumentedPermissionsAreEnough(t *testing.T) {
	t.Parallel()
	group := startGroup(t, func() (*redistest.Group, error) { return redistest.NewCluster(t.Context(), 0, time.Hour) })
	if group == nil {
		return
	}
	const rules = "+@connection +hget +hset +pexpire +publish +subscribe +unsubscribe +eval +evalsha"
	d := dbtest.SQLite(t)
	for _, server := range group.Servers {
		user := []any{"ACL", "SETUSER", "app", "on", ">" + redistest.Password, "~" + d.ID() + ":*", "&" + d.ID() + ":*"}
		for rule := range strings.FieldsSeq(rules + " +cluster|slots") {
			user = append(user, rule)
		}
		if said := server.Do(t.Context(), user...); said != "OK" {
			t.Fatal(said)
		}
	}
	p := newPairOn(t, d, strings.Replace(group.URL, "://:", "://app:", 1))
	p.agree()
	if _, ok := p.there.Shared(t.Context(), p.keys[0]); !ok || p.there.m.Ping(t.Context()) != nil {
		t.Error("got nothing from Redis, or no ping, want both")
	}
}

// startGroup starts servers that end with the test, or returns nil where tests have no real Redis.
func startGroup(t *testing.T, start func() (*redistest.Group, error)) *redistest.Group {
	t.Helper()
	if testenv.Get("TEST_REDIS_URL") == "" {
		return nil
	}
	group, err := start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = group.Close() })
	return group
}

// owner returns which of the three masters of a cluster has a key's slot.
func owner(t *testing.T, group *redistest.Group, key string) int {
	t.Helper()
	slot, err := strconv.Atoi(group.Servers[0].Do(t.Context(), "CLUSTER", "KEYSLOT", key))
	if err != nil {
		t.Fatal(err)
	}
	return slot * 3 / 16384
}

// pair is two replicas on one database and one Redis: there writes tokens, here hears of them.
type pair struct {
	t           *testing.T
	d           *db.DB
	r           *redisUnderTest
	here, there *Newest
	facts       *Facts[tenant]
	keys        []string
	last        map[string]int64 // the versions written
}

func newPair(t *testing.T, url string) *pair {
	t.Helper()
	return newPairOn(t, dbtest.SQLite(t), url)
}

func newPairOn(t *testing.T, d *db.DB, url string) *pair {
	t.Helper()
	p := &pair{t: t, d: d, r: &redisUnderTest{ring: dbtest.Ring(t), url: url + "&read_timeout=1s"}, last: map[string]int64{}}
	here, there := p.r.open(t, d), p.r.open(t, openAgain(t, d))
	p.here, p.there = NewNewest(here, "authorizer", 100), NewNewest(there, "authorizer", 100)
	p.facts = NewFacts[tenant](there, "tenant", 100, nil)
	for i := range 12 {
		key := fmt.Sprint("wx", i)
		p.keys = append(p.keys, key)
		p.here.Filled(t.Context(), key, version(0), p.here.Generation())
	}
	run(t, here)
	run(t, there)
	return p
}

// agree writes until here has heard the newest versions of all keys. Every answer on the way must
// be right and come in time, whatever becomes of Redis.
func (p *pair) agree() {
	p.t.Helper()
	within(p.t, patience, func() bool {
		for _, key := range p.keys {
			p.write(key)
		}
		for range 50 {
			if p.heard() {
				return true
			}
			time.Sleep(5 * time.Millisecond)
		}
		return false
	})
}

func (p *pair) write(key string) {
	p.t.Helper()
	began := time.Now()
	p.last[key]++
	change(p.t, p.there.m.db)
	name := fmt.Sprint(key, " ", p.last[key])
	want(p.t, p.facts, func(context.Context, string) (tenant, error) { return tenant{Name: name}, nil }, name)
	if got := p.there.Put(p.t.Context(), key, version(p.last[key])); got.Version != p.last[key] {
		p.t.Errorf("got version %d of %s put, want %d", got.Version, key, p.last[key])
	}
	if got, ok := p.there.Shared(p.t.Context(), key); ok && got.Version != p.last[key] {
		p.t.Errorf("got version %d of %s, want %d, or nothing", got.Version, key, p.last[key])
	}
	if took := time.Since(began); took > 20*time.Second { // three operations of a second, on a busy machine
		p.t.Errorf("got a round in %v, want nobody kept waiting", took)
	}
}

func (p *pair) heard() bool {
	for _, key := range p.keys {
		if got, _, _ := p.here.Local(key); got.Version != p.last[key] {
			return false
		}
	}
	return true
}
