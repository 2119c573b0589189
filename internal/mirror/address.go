package mirror

import (
	"errors"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// address is the URL of a Redis, in the form that go-redis's parser for its topology reads. It
// holds passwords.
type address struct {
	topology string // "" for one server, "sentinel" or "cluster"
	url      string
}

// Errors of a URL never quote it: a password with an unescaped character may be in any part of it.
var (
	errRedisScheme  = errors.New("the URL must begin with redis://, rediss://, redis+sentinel://, rediss+sentinel://, redis+cluster:// or rediss+cluster://")
	errRedisHosts   = errors.New("the URL must name servers as host:port, separated by commas")
	errRedisMaster  = errors.New("a URL with +sentinel must name the master after the servers: redis+sentinel://host:26379,host:26379/mymaster")
	errRedisPath    = errors.New("the URL has a path that does not belong there: one server takes /database, Sentinel /master or /master/database, and a cluster has only database 0")
	errRedisOption  = errors.New("the URL has an option that is unknown, not supported, or has a bad value")
	errRedisInvalid = errors.New("the URL is not valid; special characters in a password must be percent-encoded")
)

// parseAddress reads a URL with one server, which stays as it is, or one of
//
//	redis+sentinel://[user:password@]host[:port],…/master[/database][?option=value&…]
//	redis+cluster://[user:password@]host[:port],…[?option=value&…]
//
// with rediss for TLS. User and password are those of the Redis servers; Sentinel's own are the
// options sentinel_username and sentinel_password.
func parseAddress(text string) (address, error) {
	scheme, rest, _ := strings.Cut(text, "://")
	scheme, topology, plus := strings.Cut(strings.ToLower(scheme), "+")
	switch {
	case !plus && slices.Contains([]string{"redis", "rediss", "unix"}, scheme):
		return address{url: text}, nil
	case scheme != "redis" && scheme != "rediss", topology != "sentinel" && topology != "cluster":
		return address{}, errRedisScheme
	}
	u, query, err := parseServers(scheme, rest, topology)
	if err != nil {
		return address{}, err
	}
	if err := rewrite[topology](u, query); err != nil {
		return address{}, err
	}
	u.RawQuery = query.Encode()
	return address{topology, u.String()}, nil
}

var rewrite = map[string]func(*url.URL, url.Values) error{"sentinel": rewriteSentinel, "cluster": rewriteCluster}

// ours are options of go-redis that a URL may not have: the address says them, or the mirror reads
// from masters only.
var ours = []string{
	"addr", "master_name", "username", "password", "db",
	"read_only", "replica_only", "route_by_latency", "route_by_latency_tolerance", "route_randomly", "use_disconnected_replicas",
}

// parseServers returns the URL with the first server only, because net/url knows no lists, and the
// options with the others.
func parseServers(scheme, rest, topology string) (*url.URL, url.Values, error) {
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	at := strings.LastIndex(rest[:end], "@") + 1
	hosts, err := withPorts(strings.Split(rest[at:end], ","), map[string]string{"sentinel": "26379", "cluster": "6379"}[topology])
	if err != nil {
		return nil, nil, err
	}
	u, err := url.Parse(scheme + "://" + rest[:at] + hosts[0] + rest[end:])
	if err != nil || u.Fragment != "" {
		return nil, nil, errRedisInvalid
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || slices.ContainsFunc(ours, query.Has) {
		return nil, nil, errRedisOption
	}
	query["addr"] = hosts[1:]
	return u, query, nil
}

func withPorts(hosts []string, port string) ([]string, error) {
	full := make([]string, len(hosts))
	for i, host := range hosts {
		name, number, err := net.SplitHostPort(host)
		if err != nil {
			name, number = strings.Trim(host, "[]"), port
		}
		if _, err := strconv.ParseUint(number, 10, 16); err != nil || name == "" || strings.Contains(name, ":") && !strings.HasPrefix(host, "[") {
			return nil, errRedisHosts
		}
		full[i] = net.JoinHostPort(name, number)
	}
	return full, nil
}

// rewriteSentinel moves what go-redis expects elsewhere: it takes the URL's user for Sentinel's.
func rewriteSentinel(u *url.URL, query url.Values) error {
	path := strings.Split(strings.Trim(u.Path, "/"), "/")
	if path[0] == "" {
		return errRedisMaster
	}
	query.Set("master_name", path[0])
	if len(path) > 2 || len(path) == 2 && !decimal(path[1]) {
		return errRedisPath
	}
	if len(path) == 2 {
		query.Set("db", path[1])
	}
	if password, ok := u.User.Password(); ok {
		query.Set("password", password)
		query.Set("username", u.User.Username())
	}
	u.Path, u.RawPath = "", ""
	u.User = url.UserPassword(query.Get("sentinel_username"), query.Get("sentinel_password"))
	query.Del("sentinel_username")
	query.Del("sentinel_password")
	return nil
}

func rewriteCluster(u *url.URL, _ url.Values) error {
	if strings.Trim(u.Path, "/") != "" && u.Path != "/0" {
		return errRedisPath
	}
	u.Path, u.RawPath = "", ""
	return nil
}

func decimal(text string) bool {
	_, err := strconv.ParseUint(text, 10, 31)
	return err == nil
}
