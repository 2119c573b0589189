package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wxplatform/token"
)

// measureTokens registers the metrics of each token store.
func (p *platform) measureTokens() {
	left := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "wxplatform_token_left_seconds",
		Help:    "Remaining lifetime of the old token when a token in use was refreshed, by kind; below 0 is too late.",
		Buckets: []float64{0, 60, 300, 600, 1200, 1800, 2700, 3600, 4800, 7200},
	}, []string{"kind"})
	p.metrics.MustRegister(left)
	for kind, store := range p.stores() {
		renewed := left.WithLabelValues(string(kind))
		store.Renewed = func(d time.Duration) { renewed.Observe(d.Seconds()) }
		p.countRefreshes(kind, store)
	}
}

func (p *platform) stores() map[token.Kind]*token.Store {
	return map[token.Kind]*token.Store{token.Component: p.tokens.component, token.Authorizer: p.tokens.authorizer}
}

// countRefreshes registers a store's counters.
func (p *platform) countRefreshes(kind token.Kind, store *token.Store) {
	count := func(name, help string, labels prometheus.Labels, value func(token.Counts) int64) {
		labels["kind"] = string(kind)
		p.metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(value(store.Counts())) }))
	}
	for outcome, value := range map[string]func(token.Counts) int64{
		"answered":  func(c token.Counts) int64 { return c.Answered },
		"refused":   func(c token.Counts) int64 { return c.Refused },
		"dead":      func(c token.Counts) int64 { return c.Dead },
		"not-sent":  func(c token.Counts) int64 { return c.Unsent },
		"not-asked": func(c token.Counts) int64 { return c.NotAsked },
		"unknown":   func(c token.Counts) int64 { return c.Unknown },
	} {
		count("wxplatform_token_refreshes_total", "Refreshes of tokens, by kind and outcome; dead is a refresh token that WeChat refused for good.", prometheus.Labels{"outcome": outcome}, value)
	}
	for how, value := range map[string]func(token.Counts) int64{
		"lost":   func(c token.Counts) int64 { return c.Lost },
		"waited": func(c token.Counts) int64 { return c.Waited },
	} {
		count("wxplatform_token_lease_conflicts_total", "Leases that another process took first (lost), and waits for another's lease (waited).", prometheus.Labels{"how": how}, value)
	}
	count("wxplatform_token_forced_limited_total", "Rejected tokens that were not replaced, because they had been replaced too often.", prometheus.Labels{}, func(c token.Counts) int64 { return c.Limited })
	count("wxplatform_token_stored_late_total", "Answers of WeChat that SQL did not store at the first attempt; they are retried until it does.", prometheus.Labels{}, func(c token.Counts) int64 { return c.StoredLate })
}
