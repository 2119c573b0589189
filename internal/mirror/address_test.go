package mirror

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wxplatform/internal/seal"
)

func TestASentinelURLNamesTheSentinelsTheMasterAndTwoPasswords(t *testing.T) {
	a, err := parseAddress("rediss+sentinel://app:p%40ss@one.example,two.example:7001,[::1]/my-master/3?sentinel_username=watch&sentinel_password=s3&read_timeout=2s")
	if err != nil {
		t.Fatal(err)
	}
	o, err := redis.ParseFailoverURL(a.url)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"one.example:26379", "two.example:7001", "[::1]:26379"}; !slices.Equal(o.SentinelAddrs, want) {
		t.Errorf("got Sentinels %q, want %q", o.SentinelAddrs, want)
	}
	got := []string{o.MasterName, o.Username, o.Password, o.SentinelUsername, o.SentinelPassword}
	if want := []string{"my-master", "app", "p@ss", "watch", "s3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if o.DB != 3 || o.ReadTimeout != 2*time.Second || o.TLSConfig == nil {
		t.Errorf("got database %d, %v, TLS %v, want 3, 2s and TLS", o.DB, o.ReadTimeout, o.TLSConfig)
	}
}

func TestASentinelURLNeedsNoPassword(t *testing.T) {
	a, err := parseAddress("redis+sentinel://one:26379/mymaster")
	if err != nil {
		t.Fatal(err)
	}
	o, err := redis.ParseFailoverURL(a.url)
	if err != nil || o.Username+o.Password+o.SentinelUsername+o.SentinelPassword != "" || o.DB != 0 || o.TLSConfig != nil {
		t.Errorf("got %+v, %v, want no user, no password, database 0 and no TLS", o, err)
	}
}

func TestAClusterURLNamesSomeNodes(t *testing.T) {
	for path, tls := range map[string]bool{"redis+cluster://app:pw@one:7000,two/": false, "rediss+cluster://app:pw@one:7000,two/0?read_timeout=2s": true} {
		a, err := parseAddress(path)
		if err != nil {
			t.Fatal(err)
		}
		o, err := redis.ParseClusterURL(a.url)
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"one:7000", "two:6379"}; !slices.Equal(o.Addrs, want) {
			t.Errorf("got nodes %q, want %q", o.Addrs, want)
		}
		if o.Username != "app" || o.Password != "pw" || (o.TLSConfig != nil) != tls {
			t.Errorf("got %q, %q, TLS %v, want app, pw, %v", o.Username, o.Password, o.TLSConfig, tls)
		}
	}
}

func TestABadRedisURLSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]error{
		"canary-11":                                                              errRedisScheme,
		"http://:canary-11@host":                                                 errRedisScheme,
		"redis+sentinels://:canary-11@host/m":                                    errRedisScheme,
		"unix+cluster:///canary-11":                                              errRedisScheme,
		"redis://user:canary-11@host:port":                                       errRedisInvalid,
		"redis://user:canary-11@host?color=red":                                  errRedisInvalid,
		"redis+cluster://:canary-11@":                                            errRedisHosts,
		"redis+cluster://:canary-11@one,,two":                                    errRedisHosts,
		"redis+cluster://:canary-11@one:port":                                    errRedisHosts,
		"redis+cluster://:canary-11@one:70000":                                   errRedisHosts,
		"redis+cluster://:canary-11@::1":                                         errRedisHosts,
		"redis+cluster://:can/ary-11@one":                                        errRedisHosts,
		"redis+cluster://:canary%-11@one":                                        errRedisInvalid,
		"redis+cluster://:canary-11@one#two":                                     errRedisInvalid,
		"redis+cluster://:canary-11@one/1":                                       errRedisPath,
		"redis+cluster://:canary-11@one?color=red":                               errRedisOption,
		"redis+cluster://:canary-11@one?read_only=true":                          errRedisOption,
		"redis+cluster://:canary-11@one?read_timeout=-1":                         errRedisOption,
		"redis+sentinel://:canary-11@one":                                        errRedisMaster,
		"redis+sentinel://:canary-11@one/?master_name=m":                         errRedisOption,
		"redis+sentinel://:canary-11@one/m/db":                                   errRedisPath,
		"redis+sentinel://:canary-11@one/m/1/2":                                  errRedisPath,
		"redis+sentinel://one/m?password=canary-11":                              errRedisOption,
		"redis+sentinel://one/m?route_randomly=true&sentinel_password=canary-11": errRedisOption,
		"redis+sentinel://one/m?can=ary-11&sentinel_password=canary-11":          errRedisOption,
		"redis://:canary-11@host?read_timeout=-1":                                errRedisOption,
	} {
		_, err := openShared(seal.NewSecret(text), "id", func(dial dialer) dialer { return dial })
		if !errors.Is(err, want) || strings.Contains(err.Error(), "ary-11") {
			t.Errorf("%s: got %v, want %v", text, err, want)
		}
	}
}
