package main

import (
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wxplatform/internal/seal"
)

const (
	unopenedAgain = 10 * time.Minute // after which a value is logged again
	unopenedMost  = 1000             // values remembered at a time
)

// unopenedValues counts sealed values of SQL that do not open, and logs each once in ten minutes.
type unopenedValues struct {
	log   *slog.Logger
	count *prometheus.CounterVec

	mu     sync.Mutex
	since  time.Time // when logged was begun
	logged map[string]bool
}

// newUnopenedValues has the ring report values that do not open. It comes before the ring is used.
func newUnopenedValues(log *slog.Logger, metrics prometheus.Registerer, ring *seal.Ring) {
	u := &unopenedValues{
		log: log,
		count: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wxplatform_sealed_unopened_total",
			Help: "Reads of sealed values that do not open, by table: a row was changed, or a value was copied from another row.",
		}, []string{"table"}),
		logged: map[string]bool{},
	}
	metrics.MustRegister(u.count)
	for _, table := range []string{"signing_keys", "tickets", "tokens", "events"} {
		u.count.WithLabelValues(table) // The alert needs the zero before the first increase.
	}
	ring.Unopened = u.note
}

// note counts a value that does not open. Redis's do not count, because losing them costs nothing;
// and a missing sealing key has a metric of its own.
func (u *unopenedValues) note(place seal.Place, err error) {
	if table := place[0]; table == "redis" || table == "sealing_keys" {
		return
	}
	u.count.WithLabelValues(place[0]).Inc()
	where := strings.Join(place[1:], " ")
	if u.first(place[0]+" "+where, time.Now()) {
		u.log.Warn("a stored value does not open: its row was changed, or it was copied from another row. Logged once in ten minutes, counted in wxplatform_sealed_unopened_total", "table", place[0], "value", where, "error", err.Error(), "alarm", true)
	}
}

// first reports whether the value is to be logged. Beyond the limit none is.
func (u *unopenedValues) first(where string, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now.Sub(u.since) >= unopenedAgain {
		u.since, u.logged = now, map[string]bool{}
	}
	if u.logged[where] || len(u.logged) == unopenedMost {
		return false
	}
	u.logged[where] = true
	return true
}
