package main

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	sampleEvery   = 10 * time.Second
	sampleTimeout = 3 * time.Second
)

// sampled collects metrics that are read from SQL, at most once in sampleEvery however often they
// are scraped. A metric that cannot be read is absent.
type sampled struct {
	sample func(context.Context) []prometheus.Metric

	mu   sync.Mutex
	at   time.Time
	last []prometheus.Metric
}

// Describe names all metrics that may be present.
func (*sampled) Describe(into chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{dueDesc, oldestDueDesc, suspectDesc, suspectPastDesc, statesDesc, pausedDesc, budgetDesc, spentDesc, waitingDesc, oldestEventDesc} {
		into <- d
	}
}

// Collect returns what was last read, or reads it again.
func (s *sampled) Collect(into chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.at) >= sampleEvery {
		ctx, cancel := context.WithTimeout(context.Background(), sampleTimeout)
		s.last, s.at = s.sample(ctx), now
		cancel()
	}
	for _, m := range s.last {
		into <- m
	}
}

var (
	dueDesc         = prometheus.NewDesc("wxplatform_tokens_due", "Tokens that are due for renewal, by kind; counted up to 10,000.", []string{"kind"}, nil)
	oldestDueDesc   = prometheus.NewDesc("wxplatform_tokens_oldest_due_seconds", "How long the oldest due token has been due, by kind; 0 if none is.", []string{"kind"}, nil)
	suspectDesc     = prometheus.NewDesc("wxplatform_tokens_suspect", "Tokens that may not be WeChat's newest and will be refreshed once more, by kind; counted up to 10,000.", []string{"kind"}, nil)
	suspectPastDesc = prometheus.NewDesc("wxplatform_tokens_oldest_suspect_seconds", "How long the oldest suspect token could already have been refreshed, by kind; 0 if there is none.", []string{"kind"}, nil)
	waitingDesc     = prometheus.NewDesc("wxplatform_events_waiting", "Component events that are stored but not yet processed.", nil, nil)
	statesDesc      = prometheus.NewDesc("wxplatform_authorizers", "Authorizers by state.", []string{"state"}, nil)
	pausedDesc      = prometheus.NewDesc("wxplatform_refreshes_paused", "1 while no access tokens are requested at all, because of WeChat's quota or a fault of ours.", nil, nil)
	budgetDesc      = prometheus.NewDesc("wxplatform_refresh_budget", "The most access tokens to request today, from PLATFORM_REFRESH_BUDGET or WeChat's quota/get; 0 if unknown.", nil, nil)
	spentDesc       = prometheus.NewDesc("wxplatform_refresh_budget_used", "Access tokens that all replicas requested today (Beijing time), counted as the budget is.", nil, nil)
	oldestEventDesc = prometheus.NewDesc("wxplatform_events_oldest_due_seconds", "How long the oldest waiting event has been due; 0 if none is.", nil, nil)
)

// sampleBacklogs reads backlogs, states and budget from SQL.
func (p *platform) sampleBacklogs(ctx context.Context) (all []prometheus.Metric) {
	if p.mirror.SQLUnavailable() {
		return nil
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		all = append(all, prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...))
	}
	for kind, store := range p.stores() {
		if b, err := store.Backlog(ctx); err == nil {
			gauge(dueDesc, float64(b.Due), string(kind))
			gauge(oldestDueDesc, b.DueFor.Seconds(), string(kind))
			gauge(suspectDesc, float64(b.Suspects), string(kind))
			gauge(suspectPastDesc, max(0, b.SuspectsPast.Seconds()), string(kind))
		}
	}
	if counts, err := p.authorizers.Count(ctx); err == nil {
		for state, n := range counts {
			gauge(statesDesc, float64(n), string(state))
		}
	}
	_, paused := p.quota.Paused(ctx)
	gauge(pausedDesc, boolToFloat(paused))
	if spent, err := p.quota.Usage(ctx); err == nil {
		gauge(budgetDesc, float64(spent.Limit))
		gauge(spentDesc, float64(spent.Used))
	}
	if n, err := p.inbox.Waiting(ctx); err == nil {
		gauge(waitingDesc, float64(n))
	}
	if age, err := p.inbox.Oldest(ctx); err == nil {
		gauge(oldestEventDesc, age.Seconds())
	}
	return all
}
