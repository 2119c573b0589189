package mirror

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// dialer connects to one server, with TLS if the URL says so.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

const (
	// dialTimes is how many times as long as an operation a dial through Sentinel may take. It may
	// first have to find twice that the Sentinel that it used is gone. No caller waits for all of it.
	dialTimes = 4
	// stateAge is how long the map of a cluster is used. go-redis reads it again when a node says
	// that a slot has moved, but not when a node is gone.
	stateAge = time.Second
	// redirects is how often an operation is sent to another node of a cluster, within its time.
	redirects = 3
)

// connect returns a client for the URL, and how long one operation may take. Every connection is
// made by what wrap returns for go-redis's dialer.
func connect(text string, wrap func(dialer) dialer) (redis.UniversalClient, time.Duration, error) {
	a, err := parseAddress(text)
	if err != nil {
		return nil, 0, err
	}
	switch a.topology {
	case "sentinel":
		return connectSentinel(a.url, wrap)
	case "cluster":
		return connectCluster(a.url, wrap)
	default:
		return connectOne(a.url, wrap)
	}
}

func connectOne(text string, wrap func(dialer) dialer) (redis.UniversalClient, time.Duration, error) {
	o, err := redis.ParseURL(text)
	if err != nil {
		return nil, 0, errRedisInvalid // its own error may hold the password
	}
	patience, err := operationTime(o.ReadTimeout)
	if err != nil {
		return nil, 0, err
	}
	impatient(o, patience)
	o.Dialer = wrap(redis.NewDialer(o))
	return redis.NewClient(o), patience, nil
}

func connectSentinel(text string, wrap func(dialer) dialer) (redis.UniversalClient, time.Duration, error) {
	o, err := redis.ParseFailoverURL(text)
	if err != nil {
		return nil, 0, errRedisOption
	}
	patience, err := operationTime(o.ReadTimeout)
	if err != nil {
		return nil, 0, err
	}
	impatientSentinel(o, patience)
	o.Dialer = wrap(redis.NewDialer(&redis.Options{DialTimeout: patience, TLSConfig: eachName(o.TLSConfig)}))
	return redis.NewFailoverClient(o), patience, nil
}

func connectCluster(text string, wrap func(dialer) dialer) (redis.UniversalClient, time.Duration, error) {
	o, err := redis.ParseClusterURL(text)
	if err != nil {
		return nil, 0, errRedisOption
	}
	patience, err := operationTime(o.ReadTimeout)
	if err != nil {
		return nil, 0, err
	}
	impatientCluster(o, patience)
	o.Dialer = wrap(redis.NewDialer(&redis.Options{DialTimeout: patience, TLSConfig: eachName(o.TLSConfig)}))
	return redis.NewClusterClient(o), patience, nil
}

// operationTime returns read_timeout of the URL, or its default.
func operationTime(read time.Duration) (time.Duration, error) {
	if read < 0 {
		return 0, errRedisOption
	}
	return cmp.Or(read, redisPatience), nil
}

// eachName has every server prove its own name: go-redis would want that of the first from all.
func eachName(c *tls.Config) *tls.Config {
	if c != nil {
		c.ServerName, c.MinVersion = "", tls.VersionTLS12
	}
	return c
}

// impatient switches off retries and waits in go-redis: the circuits do that.
func impatient(o *redis.Options, patience time.Duration) {
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = patience, patience, patience
	o.PoolTimeout = patience
	o.PoolSize = redisMost
	o.MaxRetries = -1
	o.DialerRetries = 1
	o.ContextTimeoutEnabled = true
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

func impatientSentinel(o *redis.FailoverOptions, patience time.Duration) {
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = dialTimes*patience, patience, patience
	o.PoolTimeout = patience
	o.PoolSize = redisMost
	o.MaxRetries = -1
	o.DialerRetries = 1
	o.ContextTimeoutEnabled = true
	o.DisableIdentity = true
}

// impatientCluster leaves the redirects on, which a cluster needs. Without the routing policies
// go-redis does not ask for the list of all commands, for which it takes up to 5 s.
func impatientCluster(o *redis.ClusterOptions, patience time.Duration) {
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = patience, patience, patience
	o.PoolTimeout = patience
	o.PoolSize = redisMost
	o.MaxRetries, o.MaxRedirects = -1, redirects
	o.DialerRetries = 1
	o.ContextTimeoutEnabled = true
	o.DisableIdentity = true
	o.DisableRoutingPolicies = true
	o.ClusterStateReloadInterval = stateAge
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}
