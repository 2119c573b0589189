package main

import (
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"wxplatform/inbox"
	"wxplatform/relay"
	"wxplatform/wechat"
)

// observeWeChat returns an observer that counts and times the calls of WeChat. The paths come from
// our code, so their number is bounded.
func observeWeChat(metrics prometheus.Registerer) func(string, wechat.Code, time.Duration, error) {
	calls := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wxplatform_wechat_calls_total",
		Help: "Calls of WeChat, by API, errcode and outcome (ok, refused, not-sent, unknown).",
	}, []string{"api", "code", "outcome"})
	took := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "wxplatform_wechat_call_duration_seconds",
		Help:    "How long WeChat took to answer, by API.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"api"})
	metrics.MustRegister(calls, took)
	return func(path string, code wechat.Code, t time.Duration, err error) {
		calls.WithLabelValues(path, strconv.Itoa(int(code)), outcome(err)).Inc()
		took.WithLabelValues(path).Observe(t.Seconds())
	}
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case wechat.NotSent(err):
		return "not-sent"
	case wechat.MayHaveActed(err):
		return "unknown"
	}
	return "refused"
}

// countDisproved returns a function that counts the APIs that need none of their guessed permission
// sets. The catalogue bounds their number.
func countDisproved(metrics prometheus.Registerer) func(relay.API) {
	counts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wxplatform_api_guesses_disproved_total",
		Help: "Calls that succeeded although the merchant granted none of the permission sets that the catalogue guesses, by API.",
	}, []string{"api"})
	metrics.MustRegister(counts)
	return func(a relay.API) { counts.WithLabelValues(a.Path).Inc() }
}

// measure registers all metrics.
func (p *platform) measure() {
	p.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), currentVersion().info())
	p.gauge("wxplatform_ticket_age_seconds", "Age of the newest component_verify_ticket; -1 while there is none. WeChat pushes one every 600 s.", p.ticketAge)
	p.measureHealth()
	p.measureProblems()
	p.measurePushes(&p.inbox.Counts)
	p.measureInvitations()
	p.measureTokens()
	p.measureEdge()
	p.metrics.MustRegister(&sampled{sample: p.sampleBacklogs}, usage{p})
}

// measureHealth registers whether the things that the platform depends on are in order.
func (p *platform) measureHealth() {
	p.gauge("wxplatform_sql_up", "1 while the database answers and takes writes.", p.health.sqlUp)
	p.gauge("wxplatform_redis_up", "1 while Redis answers and takes writes; always for the in-process one.", p.health.redis.up)
	for _, c := range p.checks() {
		p.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "wxplatform_degraded", Help: "1 while there is this reason to be degraded, as in /readyz.", ConstLabels: prometheus.Labels{"reason": c.code},
		}, func() float64 { return boolToFloat(p.health.has(c.code)) }))
	}
	p.gauge("wxplatform_misconfigured", "1 while WeChat refuses for a reason that only the operator can fix: 61004, 40125, 61005, 61006, 61011.", func() float64 {
		_, is := p.health.misconfigured(time.Now())
		return boolToFloat(is)
	})
	p.gauge("wxplatform_sealing_key_missing", "1 while other replicas seal with a key that this one lacks.", func() float64 {
		return boolToFloat(p.health.missingKeys() != nil)
	})
}

func boolToFloat(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// measureProblems registers the counter of problems, each at zero, so that the first one shows as
// an increase.
func (p *platform) measureProblems() {
	p.problems = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wxplatform_problems_total", Help: "Problems answered, by slug (docs/errors.md)."}, []string{"slug"})
	p.metrics.MustRegister(p.problems)
	for _, problem := range problemTypes() {
		p.problems.WithLabelValues(problem.slug)
	}
}

// countProblems returns an error handler that counts the problem of each error that next answers.
func (p *platform) countProblems(next echo.HTTPErrorHandler) echo.HTTPErrorHandler {
	return func(err error, c echo.Context) {
		if !c.Response().Committed {
			p.problems.WithLabelValues(problemOf(err).slug).Inc()
		}
		next(err, c)
	}
}

func (p *platform) measurePushes(counts *inbox.Counts) {
	counter := func(name, help, label, value string, count func() int64) {
		options := prometheus.CounterOpts{Name: name, Help: help, ConstLabels: prometheus.Labels{label: value}}
		p.metrics.MustRegister(prometheus.NewCounterFunc(options, func() float64 { return float64(count()) }))
	}
	for kind, count := range map[string]func() int64{
		"ticket": counts.Tickets.Load, "event": counts.Events.Load, "unknown": counts.Unknown.Load, "message": counts.Messages.Load,
		"forged": counts.Forged, "clock": func() int64 { return counts.Refused(inbox.BadClock) },
	} {
		counter("wxplatform_pushes_total", "Pushes from WeChat by kind; forged and clock (timestamp more than 10 minutes off) were refused.", "kind", kind, count)
	}
	for _, reason := range inbox.Reasons {
		counter("wxplatform_pushes_refused_total", "Pushes that were refused, or were authentic but changed nothing, by reason.", "reason", string(reason),
			func() int64 { return counts.Refused(reason) })
	}
}

// measureInvitations registers what happens to the calls that anyone with a link causes.
func (p *platform) measureInvitations() {
	for api := range p.invitations.Paused() {
		p.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "wxplatform_onboarding_paused", Help: "1 while this replica does not call an API that invitations need, because its quota is used up.",
			ConstLabels: prometheus.Labels{"api": api},
		}, func() float64 { return boolToFloat(p.invitations.Paused()[api]) }))
	}
	p.metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "wxplatform_codes_misdirected_total", Help: "Auth codes that a browser brought through another invitation than the merchant consented to.",
	}, func() float64 { return float64(p.invitations.Misdirected()) }))
}

func (p *platform) gauge(name, help string, value func() float64) {
	p.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

func (p *platform) ticketAge() float64 {
	newest := p.component.Newest()
	if newest.Value.IsZero() {
		return -1
	}
	return time.Since(newest.Received).Seconds()
}
