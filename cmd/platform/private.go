package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// private is the handler for the operator alone.
func (p *platform) private() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", p.answerReady)
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// readiness is what /readyz says. Degraded is ready: it serves, but something is away.
type readiness struct {
	Status  string   `json:"status"` // "ready", "degraded"
	Reasons []string `json:"reasons,omitempty"`
}

func (p *platform) ready(ctx context.Context) readiness {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	r := readiness{Status: "ready"}
	because := func(reason string) { r.Status, r.Reasons = "degraded", append(r.Reasons, reason) }
	if p.db.Ping(ctx) != nil {
		because("the database is away: known merchants are served from what is known")
	}
	if p.mirror.Ping(ctx) != nil {
		because("Redis is away: tokens come from the database")
	}
	if p.component.Newest().Value.IsZero() {
		because("no component_verify_ticket yet: WeChat pushes one every 10 minutes to /wechat/events")
	}
	return r
}

func (p *platform) answerReady(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(p.ready(r.Context()))
}
