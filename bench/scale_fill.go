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

// open migrates the database, as the platform would, and claims it for the component.
func (s *scale) open(ctx context.Context) (err error) {
	settings := map[string]string{}
	for _, line := range s.settings {
		name, value, _ := strings.Cut(line, "=")
		settings[name] = value
	}
	if s.ring, err = seal.NewRing(seal.NewSecret(settings["PLATFORM_SEALING_KEYS"])); err != nil {
		return err
	}
	if s.database, err = db.Open(ctx, seal.NewSecret(settings["PLATFORM_DATABASE_URL"])); err != nil {
		return err
	}
	if err := s.database.Migrate(ctx, migrations.Files); err != nil {
		return err
	}
	if err := s.database.Claim(ctx, settings["PLATFORM_COMPONENT_APPID"]); err != nil {
		return err
	}
	u, err := url.Parse(settings["PLATFORM_REDIS_URL"])
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

// fill writes tenants, authorizers and tokens.
func (s *scale) fill(ctx context.Context) error {
	began := time.Now()
	group, filling := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for first := 0; first < s.n; first += fillAtOnce {
		group.Go(func() error {
			some := make([]filled, min(fillAtOnce, s.n-first))
			for i := range some {
				some[i] = s.one(first + i)
			}
			text, err := json.Marshal(some)
			if err != nil {
				return err
			}
			return s.insert(filling, string(text))
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := s.analyze(ctx); err != nil {
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
	id := wechatsim.SyntheticAppID(i)
	f := filled{ID: id, Name: fmt.Sprintf("合成商家 %d", i), Owner: tenantOf(i)}
	early, late := share(life, 0.55, 0.65), share(life, 2.0/24, 5.0/24)
	var got, due, used time.Time
	switch hot, daily, warm := s.mix.use(i); {
	case hot:
		got, used = now.Add(-share(life-early, 0, 1)), now.Add(-share(life, 0, 0.45))
		due = got.Add(life - early)
	case daily:
		got, used = now.Add(-share(life-late, 0, 1)), now.Add(-share(life, 0.6, 11))
		due = got.Add(life - late)
	case warm:
		got, used, f.Warm = now.Add(-share(life-late, 0, 1)), now.Add(-share(life, 13, 80)), 1
		due = got.Add(life - late)
	default:
		used = now.Add(-share(life, 100, 1000))
		got = used
	}
	expires := got.Add(life)
	f.Version, f.Expires, f.Early, f.Late = got.UnixMilli(), expires.UnixMilli(), expires.Add(-early).UnixMilli(), expires.Add(-late).UnixMilli()
	if f.Used = used.UnixMilli(); !due.IsZero() {
		f.Due = due.UnixMilli()
	}
	f.Access = s.sealed("access", id, seal.NewSecret("77_"+strings.Repeat(rand.Text(), 5)))
	f.Refresh = s.sealed("refresh", id, seal.NewSecret(s.sim.RefreshToken(id)))
	return f
}

func (s *scale) sealed(column string, id wechat.AppID, secret seal.Secret) string {
	return base64.StdEncoding.EncodeToString(s.ring.Seal(secret, "tokens", column, string(token.Authorizer), string(id)))
}

func logOf(folder string) string {
	text, _ := os.ReadFile(folder + "/platform.log")
	return string(text)
}
