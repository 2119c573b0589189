package main

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"wxplatform/internal/plainhttp"
)

// errOverloaded says that too many requests are in flight on the public listener.
var errOverloaded = errors.New("too many requests are in flight")

// How many requests may be in flight on the public listener. WeChat's pushes have a bound of their
// own, so that neither they nor the calls of tenants and browsers can crowd out the other. Of the
// calls, 512 may be at WeChat, as many may wait for a slot, and as many do anything else.
const (
	mostCalls  = 3 * 512
	mostPushes = 256
)

// bound limits how many requests are in flight. Those whose body is still arriving may be half of
// them at most: how long a body takes is up to the caller, so they could be made to last.
type bound struct {
	most                        int64
	inFlight, arriving, refused atomic.Int64
}

// enter admits a request, or refuses it. whole says that its body has arrived; otherwise arrived
// must be called once when it has, or when the request ends.
func (b *bound) enter(whole bool) bool {
	inFlight, arriving := b.inFlight.Add(1), int64(0)
	if !whole {
		arriving = b.arriving.Add(1)
	}
	if inFlight <= b.most && arriving <= b.most/2 {
		return true
	}
	if !whole {
		b.arrived()
	}
	b.leave()
	b.refused.Add(1)
	return false
}

func (b *bound) arrived() { b.arriving.Add(-1) }

// leave ends a request that was admitted.
func (b *bound) leave() { b.inFlight.Add(-1) }

// arrivingBody is a body that net/http reads from the connection. An upload may still be reading it
// when its request ends, because WeChat answered early.
type arrivingBody struct {
	io.ReadCloser
	of   *bound
	over atomic.Bool // it has arrived, or does not arrive any more
}

func (a *arrivingBody) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if err != nil {
		a.end()
	}
	return n, err
}

func (a *arrivingBody) end() {
	if a.over.CompareAndSwap(false, true) {
		a.of.arrived()
	}
}

// overload bounds the requests of the public listener, whichever server reads them.
type overload struct{ calls, pushes bound }

func newOverload() *overload {
	return &overload{bound{most: mostCalls}, bound{most: mostPushes}}
}

// serve calls next, or refuses the request beyond the bound with errOverloaded, before its body is
// read.
func (o *overload) serve(c echo.Context, next echo.HandlerFunc) error {
	r, of := c.Request(), &o.calls
	if strings.HasPrefix(r.URL.Path, "/wechat/") {
		of = &o.pushes
	}
	whole := plainhttp.Whole(r)
	if !of.enter(whole) {
		if !whole { // net/http would wait for the body before it answers
			c.Response().Header().Set(echo.HeaderConnection, "close")
		}
		return errOverloaded
	}
	defer of.leave()
	if !whole {
		body := &arrivingBody{ReadCloser: r.Body, of: of}
		defer body.end()
		r.Body = body
	}
	return next(c)
}

// measureEdge registers what the public listener has in flight, has open and has refused.
func (p *platform) measureEdge() {
	for kind, b := range map[string]*bound{"call": &p.overload.calls, "push": &p.overload.pushes} {
		labels := prometheus.Labels{"kind": kind}
		p.metrics.MustRegister(
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wxplatform_requests_in_flight", ConstLabels: labels,
				Help: "Requests in flight on the public listener: WeChat's pushes, and all others (call)."},
				func() float64 { return float64(b.inFlight.Load()) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "wxplatform_requests_overloaded_total", ConstLabels: labels,
				Help: "Requests refused because too many were in flight."},
				func() float64 { return float64(b.refused.Load()) }))
	}
	p.gauge("wxplatform_connections_open", "Open connections of the public listener.", func() float64 { return float64(p.front.Connections().Open) })
	p.gauge("wxplatform_connections_limit", "How many connections of the public listener may be open, from the process's limit of open files.",
		func() float64 { return float64(p.front.Connections().Most) })
	for reason, count := range map[string]func(plainhttp.Connections) int64{
		"idle": func(c plainhttp.Connections) int64 { return c.Evicted }, "refused": func(c plainhttp.Connections) int64 { return c.Refused },
	} {
		p.metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "wxplatform_connections_closed_total", ConstLabels: prometheus.Labels{"reason": reason},
			Help: "Connections closed at the limit: the one idle for longest, or a new one because none was idle (refused).",
		}, func() float64 { return float64(count(p.front.Connections())) }))
	}
}
