package main

import (
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// private handles the operations listener, which only the operator reaches.
func (p *platform) private() http.Handler {
	mux := http.NewServeMux()
	for pattern, handler := range p.privateRoutes() {
		mux.Handle(pattern, handler)
	}
	if p.pprof {
		handleProfiles(mux)
	}
	return mux
}

// privateRoutes are the routes of the operations listener, without Go's profiles.
func (p *platform) privateRoutes() map[string]http.Handler {
	return map[string]http.Handler{
		"GET /healthz": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) }),
		"GET /readyz":  http.HandlerFunc(p.answerReady),
		"GET /metrics": promhttp.HandlerFor(p.metrics, promhttp.HandlerOpts{}),
	}
}

// handleProfiles serves Go's profiles.
func handleProfiles(mux *http.ServeMux) {
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
}
