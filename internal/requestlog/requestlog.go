// Package requestlog gives each request an id, a log line and a place in the metrics, and turns a
// handler's panic into an error. Handlers add fields to the line with Add. Nothing that a caller
// sent reaches the line or the metrics: no URL, query, header or body, only which route matched and
// the caller's address.
package requestlog

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"wxplatform/internal/address"
)

// Header is the response header field with the request's id. The same field of a request is
// ignored.
const Header = "Request-Id"

// Unmatched is logged as the route of a request that matches no route.
const Unmatched = "unmatched"

// Log writes the lines and records the durations. It is safe for concurrent use.
type Log struct {
	logger  *slog.Logger
	took    *prometheus.HistogramVec
	proxies address.Proxies
}

// New registers the histogram wxplatform_http_request_duration_seconds. A caller's address is what
// proxies say that it is.
func New(logger *slog.Logger, metrics prometheus.Registerer, proxies address.Proxies) (*Log, error) {
	took := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "wxplatform_http_request_duration_seconds",
		Help:    "How long requests took to answer, by the route's pattern, method and class of status.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
	}, []string{"route", "method", "status"})
	return &Log{logger, took, proxies}, metrics.Register(took)
}

// Middleware must be the outermost one (the first in Echo.Use). It passes errors to Echo's error
// handler itself, so that the line tells what was answered.
func (l *Log) Middleware(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		began := time.Now()
		r := newRecord(c.Request().Context())
		r.address = l.proxies.Caller(c.Request())
		c.SetRequest(c.Request().WithContext(r))
		c.Response().Header().Set(Header, r.id)
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
	r.add(cause(err)...)
	begun := c.Response().Committed
	if failed := safely(func() error { c.Error(err); return nil }); failed != nil {
		r.add(cause(failed)...)
		c.Response().WriteHeader(http.StatusInternalServerError) // Echo ignores it if the response was begun
	}
	if begun {
		panic(http.ErrAbortHandler) // a response that was cut off must not look complete
	}
}

// cause leaves out the texts of Echo's own errors: they may repeat what the caller sent, and the
// status says enough.
func cause(err error) []slog.Attr {
	var p *panicked
	var echos *echo.HTTPError
	switch {
	case errors.As(err, &p):
		return p.attrs()
	case errors.As(err, &echos):
		return nil
	default:
		return []slog.Attr{slog.String("error", err.Error())}
	}
}

func (l *Log) write(c echo.Context, r *record, took time.Duration, aborted bool) {
	response := c.Response()
	route, method := route(c), method(c.Request().Method)
	l.took.WithLabelValues(route, method, class(response.Status)).Observe(took.Seconds())
	r.add(
		slog.String("request_id", r.id),
		slog.String("address", r.address),
		slog.String("method", method),
		slog.String("route", route),
		slog.Int("status", response.Status),
		slog.Int64("bytes", response.Size),
		slog.Float64("took_ms", float64(took.Microseconds())/1000),
	)
	if aborted {
		r.add(slog.Bool("aborted", true)) // the connection was cut, whatever the status says
	}
	l.emit(r, level(response.Status), r.line())
}

// emit is slog.Logger.LogAttrs without looking up its caller.
func (l *Log) emit(ctx context.Context, level slog.Level, attrs []slog.Attr) {
	handler := l.logger.Handler()
	if !handler.Enabled(ctx, level) {
		return
	}
	line := slog.NewRecord(time.Now(), level, "request", 0)
	line.AddAttrs(attrs...)
	_ = handler.Handle(ctx, line) // a log that cannot be written cannot say so
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
