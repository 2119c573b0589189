package main

import (
	"context"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"wxplatform/token"
)

// measureCustody adds what there is to know of tokens, of what is away, and of the problems that were answered.
func (p *platform) measureCustody() {
	p.gauge("wxplatform_sql_up", "1 while the database answers.", p.health.sql.up)
	p.gauge("wxplatform_redis_up", "1 while Redis answers; always for the in-process one.", p.health.redis.up)
	p.gauge("wxplatform_misconfigured", "1 while WeChat refuses for a reason that only the operator can put right: 61004, 40125, 61005, 61006, 61011.", func() float64 {
		_, is := p.health.misconfigured(time.Now())
		return truth(is)
	})
	p.gauge("wxplatform_sealing_key_missing", "1 while other replicas seal with a key that this one has not got.", func() float64 { return truth(p.health.missingKeys() != nil) })
	p.problems = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wxplatform_problems_total", Help: "Problems answered, by slug (docs/errors.md)."}, []string{"slug"})
	for _, r := range problemTypes() {
		p.problems.WithLabelValues(r.slug) // all from the start, so that the first one is seen as a rise
	}
	left := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "wxplatform_token_left_seconds",
		Help:    "How long the old token still lived when one in use was refreshed; below 0 is too late. By kind.",
		Buckets: []float64{0, 60, 300, 600, 1200, 1800, 2700, 3600, 4800, 7200},
	}, []string{"kind"})
	p.metrics.MustRegister(p.problems, left)
	for kind, store := range p.stores() {
		renewed := left.WithLabelValues(string(kind))
		store.Renewed = func(d time.Duration) { renewed.Observe(d.Seconds()) }
		p.countAsks(kind, store)
	}
	p.metrics.MustRegister(&sampled{sample: p.sampleBacklogs})
}

func (p *platform) stores() map[token.Kind]*token.Store {
	return map[token.Kind]*token.Store{token.Component: p.tokens.component, token.Authorizer: p.tokens.authorizer}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// countAsks shows a store's counters.
func (p *platform) countAsks(kind token.Kind, store *token.Store) {
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
		count("wxplatform_token_refreshes_total", "Refreshes of tokens by kind and outcome; dead is a refresh token refused for good.", prometheus.Labels{"outcome": outcome}, value)
	}
	for how, value := range map[string]func(token.Counts) int64{
		"lost":   func(c token.Counts) int64 { return c.Lost },
		"waited": func(c token.Counts) int64 { return c.Waited },
	} {
		count("wxplatform_token_lease_conflicts_total", "Claims that another made first (lost), and waits for another's lease.", prometheus.Labels{"how": how}, value)
	}
	count("wxplatform_token_forced_limited_total", "Rejected tokens that were not replaced, because that one was replaced too often lately.", prometheus.Labels{}, func(c token.Counts) int64 { return c.Limited })
	count("wxplatform_token_stored_late_total", "Answers of WeChat that SQL did not take at once: they are tried until it does.", prometheus.Labels{}, func(c token.Counts) int64 { return c.Insisted })
}

// countProblems counts what next answers.
func (p *platform) countProblems(next echo.HTTPErrorHandler) echo.HTTPErrorHandler {
	return func(err error, c echo.Context) {
		if !c.Response().Committed {
			p.problems.WithLabelValues(problemOf(err).slug).Inc()
		}
		next(err, c)
	}
}

const (
	sampleEvery    = 10 * time.Second
	samplePatience = 3 * time.Second
)

// sampled is metrics that SQL is asked for, at most once in ten seconds however often they are scraped. Those that SQL does not tell are not there.
type sampled struct {
	sample func(context.Context) []prometheus.Metric

	mu   sync.Mutex
	at   time.Time
	last []prometheus.Metric
}

// Describe names all that may be there.
func (*sampled) Describe(into chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{dueDesc, oldestDueDesc, suspectDesc, suspectPastDesc, statesDesc, pausedDesc, budgetDesc, spentDesc, waitingDesc, oldestEventDesc} {
		into <- d
	}
}

// Collect gives what was last read, or reads it again.
func (s *sampled) Collect(into chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.at) >= sampleEvery {
		ctx, cancel := context.WithTimeout(context.Background(), samplePatience)
		s.last, s.at = s.sample(ctx), now
		cancel()
	}
	for _, m := range s.last {
		into <- m
	}
}

var (
	dueDesc         = prometheus.NewDesc("wxplatform_tokens_due", "Tokens that keepers should renew now, by kind; counted up to 10,000.", []string{"kind"}, nil)
	oldestDueDesc   = prometheus.NewDesc("wxplatform_tokens_oldest_due_seconds", "For how long the token that waits longest for its renewal has been due, by kind; 0 where none is.", []string{"kind"}, nil)
	suspectDesc     = prometheus.NewDesc("wxplatform_tokens_suspect", "Tokens that may not be WeChat's newest, so that one more refresh is to come, by kind; counted up to 10,000.", []string{"kind"}, nil)
	suspectPastDesc = prometheus.NewDesc("wxplatform_tokens_oldest_suspect_seconds", "For how long the oldest suspicion could have been ended by a refresh, by kind; 0 where there is none.", []string{"kind"}, nil)
	waitingDesc     = prometheus.NewDesc("wxplatform_events_waiting", "Component events that are stored and not worked off.", nil, nil)
	statesDesc      = prometheus.NewDesc("wxplatform_authorizers", "Authorizers by state.", []string{"state"}, nil)
	pausedDesc      = prometheus.NewDesc("wxplatform_refreshes_paused", "1 while no access tokens are asked for at all: WeChat's quota, or a fault of ours.", nil, nil)
	budgetDesc      = prometheus.NewDesc("wxplatform_refresh_budget", "Access tokens that may be asked for today, by PLATFORM_REFRESH_BUDGET or WeChat's quota/get; 0 where neither says.", nil, nil)
	spentDesc       = prometheus.NewDesc("wxplatform_refresh_budget_used", "Access tokens that all replicas asked for today (Beijing), by the same count as the budget.", nil, nil)
	oldestEventDesc = prometheus.NewDesc("wxplatform_events_oldest_due_seconds", "For how long the event that waits longest has been due, 0 where none is.", nil, nil)
)

func (p *platform) sampleBacklogs(ctx context.Context) (all []prometheus.Metric) {
	if p.mirror.Away() {
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
	gauge(pausedDesc, truth(paused))
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
