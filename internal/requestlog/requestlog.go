// Package requestlog gives each request an id, a log line and a place in the metrics, and turns a
// handler's panic into an error. Handlers add fields to the line with Add. Nothing that a caller
// sent reaches the line or the metrics: no URL, query, header or body. The exceptions are the
// caller's address and the id of its trace, on the line. If requests are traced, the span of each
// has the same fields as its line, except texts of errors and the address.
package requestlog

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"wxplatform/internal/address"
	"wxplatform/internal/trace"
)

// Header is the response header field with the request's id. The same field of a request is
// ignored.
const Header = "Request-Id"

// Unmatched is logged as the route of a request that matches no route.
const Unmatched = "unmatched"

// Log writes the lines and records the durations. It is safe for concurrent use.
type Log struct {
	// Tracer begins the spans of the requests. Set it before the first request.
	Tracer trace.Tracer

	to      io.Writer
	took    *prometheus.HistogramVec
	proxies address.Proxies
}

// New registers the histogram wxplatform_http_request_duration_seconds. Each line is a JSON object
// and is written to the writer with one call. A caller's address is what proxies say that it is.
func New(to io.Writer, metrics prometheus.Registerer, proxies address.Proxies) (*Log, error) {
	took := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "wxplatform_http_request_duration_seconds",
		Help:    "How long requests took to answer, by the route's pattern, method and class of status.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
	}, []string{"route", "method", "status"})
	return &Log{to: to, took: took, proxies: proxies}, metrics.Register(took)
}

// Middleware must be the outermost one (the first in Echo.Use). It passes errors to Echo's error
// handler itself, so that the line tells what was answered.
func (l *Log) Middleware(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		began := time.Now()
		parent := trace.ParseParent(c.Request().Header["Traceparent"])
		ctx, span := l.Tracer.Request(c.Request().Context(), route(c), parent)
		r := newRecord(ctx)
		r.address, r.traceID, r.span = l.proxies.Caller(c.Request()), parent.TraceID(), span
		if r.traceID == "" {
			r.traceID = span.TraceID()
		}
		c.SetRequest(c.Request().WithContext(r))
		c.Response().Header()[Header] = r.ids[:]
		aborted := true
		defer func() { l.write(c, r, time.Since(began), aborted) }()
		if err := safely(func() error { return next(c) }); err != nil {
			answer(c, r, err)
		}
		aborted = false
		return nil
	}
}

// answer lets Echo's error handler answer, and sends a bare 500 if that panics too.
func answer(c echo.Context, r *record, err error) {
	r.addCause(err)
	begun := c.Response().Committed
	if failed := safely(func() error { c.Error(err); return nil }); failed != nil {
		r.addCause(failed)
		c.Response().WriteHeader(http.StatusInternalServerError) // Echo ignores it if the response was begun
	}
	if begun {
		panic(http.ErrAbortHandler) // a response that was cut off must not look complete
	}
}

// addCause leaves out the texts of Echo's own errors: they may repeat what the caller sent, and the
// status says enough.
func (r *record) addCause(err error) {
	var p *panicked
	var echos *echo.HTTPError
	switch {
	case errors.As(err, &p):
		r.add("panic", p.kind)
		r.add("stack", p.stack)
	case !errors.As(err, &echos):
		r.add("error", err.Error())
	}
}

func (l *Log) write(c echo.Context, r *record, took time.Duration, aborted bool) {
	response := c.Response()
	route, method := route(c), method(c.Request().Method)
	l.took.WithLabelValues(route, method, class(response.Status)).Observe(took.Seconds())
	r.endSpan(route, method, response.Status, aborted)
	writeLine(l.to, func(text line) line {
		text = r.appendTo(text.begin(time.Now(), level(response.Status)))
		text = text.text("request_id", r.ids[0]).text("address", r.address).text("method", method).text("route", route)
		text = text.number("status", int64(response.Status)).number("bytes", response.Size).milliseconds("took_ms", took)
		if r.traceID != "" {
			text = text.text("trace_id", r.traceID)
		}
		if aborted {
			text = text.yes("aborted") // the connection was cut, whatever the status says
		}
		return text
	})
}

func level(status int) slog.Level {
	if status >= http.StatusInternalServerError {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

func route(c echo.Context) string {
	if pattern := c.Path(); pattern != "" {
		return pattern
	}
	return Unmatched
}

// method returns the method if it is a standard one: a caller may send any text.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodConnect, http.MethodTrace:
		return m
	default:
		return "other"
	}
}

func class(status int) string {
	classes := [...]string{"1xx", "2xx", "3xx", "4xx", "5xx"}
	if i := status/100 - 1; i >= 0 && i < len(classes) {
		return classes[i]
	}
	return "other"
}
