package main

import (
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// oddAnswers counts how WeChat's answers deviate from what is documented, and logs each kind of
// deviation once. The labels are names from our code, so their number is bounded and no value of an
// answer is among them.
type oddAnswers struct {
	log   *slog.Logger
	count *prometheus.CounterVec
	seen  sync.Map // of oddity
}

type oddity struct{ api, field, what string }

func newOddAnswers(log *slog.Logger, metrics prometheus.Registerer) *oddAnswers {
	count := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wxplatform_wechat_odd_answers_total",
		Help: "Fields of WeChat's answers that deviate from the documentation (tolerated, skipped or missing), by API, field and deviation.",
	}, []string{"api", "field", "what"})
	metrics.MustRegister(count)
	return &oddAnswers{log: log, count: count}
}

// note counts one deviation. It is wechat.Observer's Odd.
func (o *oddAnswers) note(api, field, what string) {
	o.count.WithLabelValues(api, field, what).Inc()
	if _, known := o.seen.LoadOrStore(oddity{api, field, what}, true); !known {
		o.log.Warn("WeChat's answer deviates from its documentation; the readable part was used. Logged once, counted in wxplatform_wechat_odd_answers_total", "api", api, "field", field, "what", what)
	}
}
