package main

import (
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// oddAnswers counts what is odd about WeChat's answers, and logs each kind once. The labels are
// names from our code, so their number is bounded; no value of an answer is among them.
type oddAnswers struct {
	log   *slog.Logger
	count *prometheus.CounterVec
	seen  sync.Map // of oddity
}

type oddity struct{ api, field, what string }

func newOddAnswers(log *slog.Logger, metrics prometheus.Registerer) *oddAnswers {
	count := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wxplatform_wechat_odd_answers_total",
		Help: "Members of WeChat's answers that were tolerated, passed over or missing, by API, member and what was odd about it.",
	}, []string{"api", "field", "what"})
	metrics.MustRegister(count)
	return &oddAnswers{log: log, count: count}
}

// note is wechat.Observer's Odd.
func (o *oddAnswers) note(api, field, what string) {
	o.count.WithLabelValues(api, field, what).Inc()
	if _, known := o.seen.LoadOrStore(oddity{api, field, what}, true); !known {
		o.log.Warn("WeChat's answer is odd; what is readable in it counts. Logged once, counted in wxplatform_wechat_odd_answers_total", "api", api, "field", field, "what", what)
	}
}
