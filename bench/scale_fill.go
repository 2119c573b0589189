package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	mrand "math/rand/v2"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/migrations"
	"wxplatform/token"
	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

// mix is the percentage of authorizers in each use. The rest is cold.
type mix struct{ hot, daily, warm int }

const fillAtOnce = 2000

// store is the platform's database, written beside the platform.
type store struct {
	database *db.DB
	ring     *seal.Ring
}

func (s *store) close() error {
	if s.database == nil {
		return nil
	}
	return s.database.Close()
}

// open migrates the database, as the platform would, and claims it for the component.
func (b *bench) open(ctx context.Context) (err error) {
	if b.ring, err = seal.NewRing(seal.NewSecret(b.setting("PLATFORM_SEALING_KEYS"))); err != nil {
		return err
	}
	if b.database, err = db.Open(ctx, seal.NewSecret(b.setting("PLATFORM_DATABASE_URL"))); err != nil {
		return err
	}
	if err := b.database.Migrate(ctx, migrations.Files); err != nil {
		return err
	}
	return b.database.Claim(ctx, b.setting("PLATFORM_COMPONENT_APPID"))
}

// find finds the processes of PostgreSQL and Redis.
func (s *scale) find(ctx context.Context) error {
	u, err := url.Parse(s.setting("PLATFORM_REDIS_URL"))
	if err != nil {
		return err
	}
	s.redis = u.Host
	s.server, err = s.serverProcess(ctx)
	return err
}

func timesSetting(t token.Times) string {
	text, _ := json.Marshal(t) // durations always marshal
	return "PLATFORM_TEST_TIMES=" + string(text)
}

// filled is one authorizer with its token, as SQL has them in the middle of a day. Times are Unix
// milliseconds, secrets are sealed and in base64.
type filled struct {
	ID      wechat.AppID `json:"id"`
	Name    string       `json:"name"`
	Owner   string       `json:"owner"`
	Warm    int          `json:"warm"`
	Version int64        `json:"version"`
	Access  string       `json:"access"`
	Refresh string       `json:"refresh"`
	Expires int64        `json:"expires"`
	Early   int64        `json:"early"`
	Late    int64        `json:"late"`
	Due     int64        `json:"due"`
	Used    int64        `json:"used"`
}

// renewal is when an access token was got, when it was last used, and when it is renewed.
type renewal struct {
	got, used, due    time.Time // due is zero if it is not renewed ahead of time
	life, early, late time.Duration
	warm              int
}

// row returns the i-th synthetic merchant as an authorizer of the owner.
func (b *bench) row(i int, owner, access string, r renewal) filled {
	id, expires := wechatsim.SyntheticAppID(i), r.got.Add(r.life)
	f := filled{ID: id, Name: fmt.Sprintf("合成商家 %d", i), Owner: owner, Warm: r.warm, Version: r.got.UnixMilli(), Expires: expires.UnixMilli(), Used: r.used.UnixMilli()}
	f.Early, f.Late = expires.Add(-r.early).UnixMilli(), expires.Add(-r.late).UnixMilli()
	if !r.due.IsZero() {
		f.Due = r.due.UnixMilli()
	}
	f.Access = b.sealed("access", id, seal.NewSecret(access))
	f.Refresh = b.sealed("refresh", id, seal.NewSecret(b.sim.RefreshToken(id)))
	return f
}

// fill writes n authorizers with their tenants and tokens.
func (b *bench) fill(ctx context.Context, n int, one func(i int) filled) error {
	group, filling := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for first := 0; first < n; first += fillAtOnce {
		group.Go(func() error {
			some := make([]filled, min(fillAtOnce, n-first))
			for i := range some {
				some[i] = one(first + i)
			}
			text, err := json.Marshal(some)
			if err != nil {
				return err
			}
			return b.insert(filling, string(text))
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return b.analyze(ctx)
}

// fill writes all authorizers.
func (s *scale) fill(ctx context.Context) error {
	began := time.Now()
	if err := s.bench.fill(ctx, s.n, s.one); err != nil {
		return err
	}
	size, err := s.databaseSize(ctx)
	s.progress("%d authorizers written in %v, %d MB", s.n, time.Since(began).Round(time.Second), size>>20)
	return err
}

// tenantOf gives a fifth of the authorizers to one tenant, a fifth to ten, three tenths to a
// thousand, and each of the others a tenant of its own.
func tenantOf(i int) string {
	switch d := i % 10; {
	case d < 2:
		return "tbig"
	case d < 4:
		return fmt.Sprintf("tten%d", i/10%10)
	case d < 7:
		return fmt.Sprintf("tmid%d", i/10%1000)
	}
	return fmt.Sprintf("t%d", i)
}

// use is the tier of the i-th authorizer. All tenants have the same share of each tier.
func (m mix) use(i int) (hot, daily, warm bool) {
	d := i / 10 * 37 % 100
	return d < m.hot, d < m.hot+m.daily, d < m.hot+m.daily+m.warm
}

// one returns the i-th authorizer as steady operation leaves it: renewed a while ago, and due when
// its tier says.
func (s *scale) one(i int) filled {
	now, life := time.Now().Add(-s.behind), s.times.Life
	share := func(of time.Duration, from, to float64) time.Duration {
		return time.Duration((from + (to-from)*mrand.Float64()) * float64(of))
	}
	r := renewal{life: life, early: share(life, 0.55, 0.65), late: share(life, 2.0/24, 5.0/24)}
	switch hot, daily, warm := s.mix.use(i); {
	case hot:
		r.got, r.used = now.Add(-share(life-r.early, 0, 1)), now.Add(-share(life, 0, 0.45))
		r.due = r.got.Add(life - r.early)
	case daily:
		r.got, r.used = now.Add(-share(life-r.late, 0, 1)), now.Add(-share(life, 0.6, 11))
		r.due = r.got.Add(life - r.late)
	case warm:
		r.got, r.used, r.warm = now.Add(-share(life-r.late, 0, 1)), now.Add(-share(life, 13, 80)), 1
		r.due = r.got.Add(life - r.late)
	default:
		r.used = now.Add(-share(life, 100, 1000))
		r.got = r.used
	}
	return s.row(i, tenantOf(i), "77_"+strings.Repeat(rand.Text(), 5), r)
}

func (b *bench) sealed(column string, id wechat.AppID, secret seal.Secret) string {
	return base64.StdEncoding.EncodeToString(b.ring.Seal(secret, "tokens", column, string(token.Authorizer), string(id)))
}

func logOf(folder string) string {
	text, _ := os.ReadFile(folder + "/platform.log")
	return string(text)
}
