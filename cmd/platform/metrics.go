package main

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"wxplatform/inbox"
	"wxplatform/wechat"
)

// observeWeChat counts and times the calls of WeChat. Paths are those in our code, so their number is bounded.
func observeWeChat(metrics prometheus.Registerer) func(string, wechat.Code, time.Duration, error) {
	calls := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wxplatform_wechat_calls_total",
		Help: "Calls of WeChat by API, errcode and outcome (ok, refused, not-sent, unknown).",
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

// measure adds what the packages know to the metrics.
func (p *platform) measure() {
	p.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	p.gauge("wxplatform_ticket_age_seconds", "Age of the newest component_verify_ticket, -1 while there is none. WeChat pushes every 600 s.", p.ticketAge)
	p.measurePushes(&p.inbox.Counts)
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
		counter("wxplatform_pushes_total", "Pushes of WeChat by kind; forged and clock (timestamp more than 10 minutes off) were refused.", "kind", kind, count)
	}
	for _, reason := range inbox.Reasons {
		counter("wxplatform_pushes_refused_total", "Pushes that were refused, or that are authentic and changed nothing, by reason.", "reason", string(reason),
			func() int64 { return counts.Refused(reason) })
	}
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
