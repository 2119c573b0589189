package requestlog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"wxplatform/internal/address"
	"wxplatform/internal/requestlog"
	"wxplatform/internal/trace"
)

const canary = "canary-7c1e"

// server is an Echo under the middleware, with what it logged and counted.
type server struct {
	*echo.Echo
	log      *bytes.Buffer
	metrics  *prometheus.Registry
	requests *requestlog.Log
}

func newServer(t testing.TB, trusted ...string) *server {
	t.Helper()
	proxies, err := address.ParseProxies(trusted)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Echo: echo.New(), log: &bytes.Buffer{}, metrics: prometheus.NewRegistry()}
	l, err := requestlog.New(s.log, s.metrics, proxies)
	if err != nil {
		t.Fatal(err)
	}
	s.requests = l
	s.Use(l.Middleware)
	return s
}

func (s *server) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func (s *server) get(path string) *httptest.ResponseRecorder {
	return s.do(httptest.NewRequest(http.MethodGet, path, nil))
}

// line returns the only line that was logged.
func (s *server) line(t *testing.T) map[string]any {
	t.Helper()
	if n := strings.Count(s.log.String(), "\n"); n != 1 {
		t.Fatalf("got %d lines, want 1: %s", n, s.log)
	}
	var line map[string]any
	if err := json.Unmarshal(s.log.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	return line
}

func want(t *testing.T, line map[string]any, key string, value any) {
	t.Helper()
	if line[key] != value {
		t.Errorf("%s: got %v, want %v", key, line[key], value)
	}
}

func ok(c echo.Context) error { return c.String(http.StatusOK, "ok") }

func TestARequestGetsOneLine(t *testing.T) {
	s := newServer(t)
	s.GET("/v1/authorizers/:appid", func(c echo.Context) error {
		time.Sleep(5 * time.Millisecond)
		return ok(c)
	})
	answer := s.get("/v1/authorizers/wx1?x=1")
	line := s.line(t)
	want(t, line, "msg", "request")
	want(t, line, "level", "INFO")
	want(t, line, "method", "GET")
	want(t, line, "route", "/v1/authorizers/:appid")
	want(t, line, "status", 200.0)
	want(t, line, "bytes", 2.0)
	want(t, line, "request_id", answer.Header().Get("Request-Id"))
	if took, ok := line["took_ms"].(float64); !ok || took < 5 {
		t.Errorf("took_ms: got %v, want some more than 5", line["took_ms"])
	}
}

func TestAnUnmatchedRequestIsLoggedWithoutItsPath(t *testing.T) {
	s := newServer(t)
	s.GET("/a/:b", ok)
	s.get("/" + canary)
	line := s.line(t)
	want(t, line, "route", "unmatched")
	want(t, line, "status", 404.0)
}

func TestAWrongMethodIsLoggedUnderThePattern(t *testing.T) {
	s := newServer(t)
	s.GET("/a/:b", ok)
	s.do(httptest.NewRequest(http.MethodPost, "/a/"+canary, nil))
	line := s.line(t)
	want(t, line, "route", "/a/:b")
	want(t, line, "status", 405.0)
}

func TestTheIDIsOursWhateverTheCallerSends(t *testing.T) {
	s := newServer(t)
	s.GET("/", func(c echo.Context) error { return c.String(http.StatusOK, requestlog.ID(c.Request().Context())) })
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Request-Id", canary)
	r.Header.Set("X-Request-Id", canary)
	answer := s.do(r)
	id := answer.Header().Get("Request-Id")
	if !regexp.MustCompile(`^[0-9a-z]{20}$`).MatchString(id) {
		t.Errorf("got id %q, want 20 letters and digits", id)
	}
	if answer.Body.String() != id {
		t.Errorf("got id %q in the handler, want %q as in the header", answer.Body, id)
	}
	if again := s.get("/").Header().Get("Request-Id"); again == id {
		t.Error("got the same id twice")
	}
}

func TestTheCallersAddressIsOnTheLineAndInTheContext(t *testing.T) {
	for _, c := range []struct {
		trusted []string
		want    string
	}{{nil, "192.0.2.1"}, {[]string{"10.0.0.0/8"}, "192.0.2.1"}, {[]string{"192.0.2.1"}, "203.0.113.5"}} {
		s := newServer(t, c.trusted...)
		s.GET("/", func(c echo.Context) error { return c.String(http.StatusOK, requestlog.Address(c.Request().Context())) })
		r := httptest.NewRequest(http.MethodGet, "/", nil) // from 192.0.2.1
		r.Header.Set("X-Forwarded-For", canary+", 203.0.113.5")
		if answer := s.do(r); answer.Body.String() != c.want {
			t.Errorf("trusting %q: got %q, want %s", c.trusted, answer.Body, c.want)
		}
		want(t, s.line(t), "address", c.want)
		mustNotHold(t, s.log.String(), canary)
	}
	if got := requestlog.Address(context.Background()); got != "" {
		t.Errorf("got %q without a request, want nothing", got)
	}
}

func TestTheIDOfTheCallersTraceIsOnTheLine(t *testing.T) {
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	for sent, logged := range map[string]any{"00-" + id + "-00f067aa0ba902b7-01": id, canary: nil, "01-" + id + "-00f067aa0ba902b7-01": nil, "": nil} {
		s := newServer(t)
		s.GET("/", ok)
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("traceparent", sent)
		r.Header.Set("tracestate", canary)
		r.Header.Set("baggage", canary)
		s.do(r)
		want(t, s.line(t), "trace_id", logged)
		mustNotHold(t, s.log.String(), canary)
	}
}

// traced makes the server trace its requests, and returns the spans that have ended.
func (s *server) traced() func() tracetest.SpanStubs {
	ended := tracetest.NewInMemoryExporter()
	s.requests.Tracer = trace.New(sdk.NewTracerProvider(sdk.WithSyncer(ended)))
	return ended.GetSpans
}

func TestARequestsSpanHasWhatItsLineHas(t *testing.T) {
	s := newServer(t)
	ended := s.traced()
	s.GET("/v1/authorizers/:appid", func(c echo.Context) error {
		ctx := c.Request().Context()
		requestlog.Add(ctx, "tenant", "t1")
		requestlog.Add(ctx, "client", "c1")
		requestlog.Add(ctx, "appid", "wx1")
		requestlog.Add(ctx, "api", "/cgi-bin/menu/get")
		requestlog.Add(ctx, "problem", "wechat-unavailable")
		requestlog.Add(ctx, "outcome", "inferred")
		requestlog.Add(ctx, "error", "a text of "+canary)
		requestlog.AddNumber(ctx, "errcode", 45009)
		requestlog.AddTrue(ctx, "alarm")
		return c.NoContent(http.StatusServiceUnavailable)
	})
	answer := s.get("/v1/authorizers/" + canary + "?q=" + canary)
	spans, line := ended(), s.line(t)
	if len(spans) != 1 {
		t.Fatalf("got %d spans, want 1", len(spans))
	}
	span, got := spans[0], map[string]any{}
	for _, a := range span.Attributes {
		got[string(a.Key)] = a.Value.AsInterface()
	}
	if wanted := map[string]any{
		"http.request.method": "GET", "http.route": "/v1/authorizers/:appid", "http.response.status_code": int64(503),
		"wxplatform.request_id": answer.Header().Get("Request-Id"), "wxplatform.tenant": "t1", "wxplatform.client": "c1", "wxplatform.appid": "wx1",
		"wxplatform.api": "/cgi-bin/menu/get", "wxplatform.outcome": "inferred", "error.type": "wechat-unavailable", "wechat.errcode": int64(45009),
	}; !maps.Equal(got, wanted) {
		t.Errorf("got %v, want %v", got, wanted)
	}
	if span.Name != "/v1/authorizers/:appid" || span.Status.Code != codes.Error || span.Status.Description != "" {
		t.Errorf("got %+v, want the route's pattern, failed without a text", span)
	}
	want(t, line, "trace_id", span.SpanContext.TraceID().String())
}

func TestASpanEndsThoughTheHandlerPanics(t *testing.T) {
	for name, handler := range map[string]echo.HandlerFunc{
		"panics": func(echo.Context) error { panic(canary) },
		"aborts": func(echo.Context) error { panic(http.ErrAbortHandler) },
	} {
		s := newServer(t)
		ended := s.traced()
		s.GET("/", handler)
		func() {
			defer func() { _ = recover() }()
			s.get("/")
		}()
		if spans := ended(); len(spans) != 1 || spans[0].Status.Code != codes.Error || len(spans[0].Events) != 0 {
			t.Errorf("%s: got %+v, want one span that failed, without the panic", name, spans)
		}
	}
}

func TestHandlersAddFieldsThroughAnyContextOfTheRequest(t *testing.T) {
	s := newServer(t)
	s.GET("/", func(c echo.Context) error {
		ctx, cancel := context.WithCancel(c.Request().Context())
		defer cancel()
		requestlog.Add(ctx, "tenant", "t1")
		requestlog.AddNumber(ctx, "errcode", 65413)
		requestlog.AddTrue(ctx, "alarm")
		return c.NoContent(http.StatusNoContent)
	})
	s.get("/")
	line := s.line(t)
	want(t, line, "tenant", "t1")
	want(t, line, "errcode", 65413.0)
	want(t, line, "alarm", true)
	want(t, line, "status", 204.0)
}

func TestOutsideARequestThereIsNoIDAndAddDoesNothing(t *testing.T) {
	requestlog.Add(context.Background(), "tenant", "t1")
	if id := requestlog.ID(context.Background()); id != "" {
		t.Errorf("got id %q, want none", id)
	}
}

func TestGoroutinesMayAddWhileTheLineIsWritten(t *testing.T) {
	s := newServer(t)
	var adding sync.WaitGroup
	s.GET("/", func(c echo.Context) error {
		ctx := c.Request().Context()
		adding.Go(func() {
			for range 100 {
				requestlog.AddNumber(ctx, "n", 1)
			}
		})
		return nil
	})
	s.get("/")
	adding.Wait()
	s.line(t)
}

func TestTheHandlersErrorIsAnsweredByEchosHandlerAndLogged(t *testing.T) {
	s := newServer(t)
	reason := errors.New("no such authorizer")
	s.HTTPErrorHandler = func(err error, c echo.Context) {
		if !errors.Is(err, reason) {
			t.Errorf("got %v, want the handler's error", err)
		}
		requestlog.Add(c.Request().Context(), "slug", "unknown-authorizer")
		_ = c.NoContent(http.StatusNotFound)
	}
	s.GET("/", func(echo.Context) error { return reason })
	s.get("/")
	line := s.line(t)
	want(t, line, "status", 404.0)
	want(t, line, "error", "no such authorizer")
	want(t, line, "slug", "unknown-authorizer")
}

func TestAServersFaultIsAWarning(t *testing.T) {
	s := newServer(t)
	s.GET("/", func(echo.Context) error { return errors.New("database unavailable") })
	s.get("/")
	want(t, s.line(t), "level", "WARN")
}

func TestTheTextOfEchosErrorsIsNotLogged(t *testing.T) {
	s := newServer(t)
	s.GET("/", func(c echo.Context) error {
		return echo.NewHTTPError(http.StatusBadRequest, "cannot read "+canary).SetInternal(errors.New(canary))
	})
	s.get("/")
	want(t, s.line(t), "status", 400.0)
	mustNotHold(t, s.log.String(), canary)
}

func TestAPanicBecomesA500ForTheErrorHandler(t *testing.T) {
	s := newServer(t)
	var handed error
	s.HTTPErrorHandler = func(err error, c echo.Context) {
		handed = err
		_ = c.NoContent(http.StatusInternalServerError)
	}
	s.GET("/", func(echo.Context) error { panic(errors.New(canary)) })
	if answer := s.get("/"); answer.Code != http.StatusInternalServerError {
		t.Errorf("got status %d, want 500", answer.Code)
	}
	line := s.line(t)
	want(t, line, "status", 500.0)
	want(t, line, "panic", "*errors.errorString")
	if handed == nil || strings.Contains(handed.Error(), canary) {
		t.Errorf("got error %v, want one without the panic's value", handed)
	}
}

type secretive struct{ token string }

func TestAPanicsLineNamesFunctionsAndNoValues(t *testing.T) {
	s := newServer(t)
	s.GET("/x/:secret", func(c echo.Context) error { return fail(c.Param("secret")) })
	s.get("/x/" + canary + "?q=" + canary)
	line := s.line(t)
	want(t, line, "panic", "requestlog_test.secretive")
	stack, _ := line["stack"].(string)
	if first, _, _ := strings.Cut(stack, " "); !regexp.MustCompile(`^wxplatform/internal/requestlog_test\.fail:\d+$`).MatchString(first) {
		t.Errorf("got stack %q, want it to begin where the panic was", stack)
	}
	mustNotHold(t, s.log.String(), canary)
	mustNotHold(t, stack, "0x")
	mustNotHold(t, stack, "ServeHTTP") // below the middleware the stack is the same for every request
}

//go:noinline
func fail(secret string) error { panic(secretive{token: secret}) }

func TestAnErrorHandlerThatPanicsIsAnsweredFor(t *testing.T) {
	s := newServer(t)
	s.HTTPErrorHandler = func(error, echo.Context) { panic(canary) }
	s.GET("/", func(echo.Context) error { return errors.New("refused") })
	if answer := s.get("/"); answer.Code != http.StatusInternalServerError {
		t.Errorf("got status %d, want 500", answer.Code)
	}
	want(t, s.line(t), "panic", "string")
	mustNotHold(t, s.log.String(), canary)
}

func TestAnErrorHandlerThatPanicsAfterItsAnswerLeavesItAsItIs(t *testing.T) {
	s := newServer(t)
	var echos bytes.Buffer
	s.Logger.SetOutput(&echos)
	s.HTTPErrorHandler = func(_ error, c echo.Context) {
		_ = c.NoContent(http.StatusConflict)
		panic(canary)
	}
	s.GET("/", func(echo.Context) error { return errors.New("refused") })
	s.get("/")
	want(t, s.line(t), "status", 409.0)
	if echos.Len() != 0 {
		t.Errorf("got %s from Echo's own log, want nothing", &echos)
	}
}

func TestAnAnswerCutOffDoesNotLookWhole(t *testing.T) {
	for name, end := range map[string]func() error{
		"by a panic":  func() error { panic(canary) },
		"by an error": func() error { return errors.New("upstream went away") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.GET("/", func(c echo.Context) error {
				_ = c.String(http.StatusOK, "half")
				c.Response().Flush()
				return end()
			})
			over := httptest.NewServer(s)
			defer over.Close()
			answer, err := http.Get(over.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			if body, err := io.ReadAll(answer.Body); err == nil {
				t.Errorf("got %q as the whole answer, want the connection cut", body)
			}
		})
	}
}

func TestAbortingAConnectionStaysPossible(t *testing.T) {
	s := newServer(t)
	s.GET("/", func(echo.Context) error { panic(http.ErrAbortHandler) })
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("got panic %v, want http.ErrAbortHandler", v)
		}
		want(t, s.line(t), "aborted", true)
	}()
	s.get("/")
}

func TestNothingThatACallerSentReachesLogOrMetrics(t *testing.T) {
	s := newServer(t)
	s.GET("/v1/:id", ok)
	for _, path := range []string{"/v1/" + canary, "/" + canary + "/x", "/v1/1?access_token=" + canary, "//" + canary} {
		r := httptest.NewRequest(http.MethodGet, path, strings.NewReader(canary))
		r.Header.Set("Authorization", "Bearer "+canary)
		r.Header.Set("Cookie", canary)
		r.Header.Set("User-Agent", canary)
		r.Header.Set("X-Forwarded-For", canary)
		r.Header.Set("Traceparent", canary)
		r.Host = canary
		s.do(r)
	}
	s.do(httptest.NewRequest(canary, "/v1/1", nil))
	mustNotHold(t, s.log.String(), canary)
	mustNotHold(t, s.scrape(t), canary)
	if n := strings.Count(s.log.String(), "\n"); n != 5 {
		t.Errorf("got %d lines for 5 requests", n)
	}
}

func TestDurationsAreCountedByRouteMethodAndClass(t *testing.T) {
	s := newServer(t)
	s.GET("/v1/:id", ok)
	s.get("/v1/1")
	s.get("/v1/2")
	s.get("/nowhere")
	got := s.scrape(t)
	for _, line := range []string{
		`route:/v1/:id method:GET status:2xx count:2`,
		`route:unmatched method:GET status:4xx count:1`,
	} {
		if !strings.Contains(got, line) {
			t.Errorf("got %s, want %s in it", got, line)
		}
	}
}

func TestTwoLogsDoNotShareARegistry(t *testing.T) {
	metrics := prometheus.NewRegistry()
	if _, err := requestlog.New(io.Discard, metrics, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := requestlog.New(io.Discard, metrics, nil); err == nil {
		t.Error("got two histograms of one name, want an error")
	}
}

// scrape returns the recorded durations, one line per set of labels.
func (s *server) scrape(t *testing.T) string {
	t.Helper()
	families, err := s.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			out.WriteString("route:" + labels["route"] + " method:" + labels["method"] + " status:" + labels["status"])
			out.WriteString(" count:" + itoa(m.GetHistogram().GetSampleCount()) + "\n")
		}
	}
	return out.String()
}

func itoa(n uint64) string {
	text, _ := json.Marshal(n)
	return string(text)
}

func mustNotHold(t *testing.T, text, secret string) {
	t.Helper()
	if strings.Contains(text, secret) {
		t.Errorf("got %s, want no %s in it", text, secret)
	}
}

// The request's id, its record, the request with it, and Echo's composition of the middleware.
const mostAllocated = 4

func TestALoggedRequestAllocatesLittle(t *testing.T) {
	l, err := requestlog.New(io.Discard, prometheus.NewRegistry(), nil)
	if err != nil {
		t.Fatal(err)
	}
	e := echo.New()
	e.Use(l.Middleware)
	e.GET("/v1/authorizers/:appid", func(c echo.Context) error {
		requestlog.Add(c.Request().Context(), "tenant", "tabcdefghijk")
		return nil
	})
	for name, header := range map[string]string{"untraced": "", "traced by its caller": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"} {
		r, w := httptest.NewRequest(http.MethodGet, "/v1/authorizers/wx1", nil), httptest.NewRecorder()
		r.Header.Set("traceparent", header)
		got := testing.AllocsPerRun(1000, func() {
			clear(w.Header())
			e.ServeHTTP(w, r)
		})
		if got > mostAllocated+poolsLose {
			t.Errorf("%s: got %.0f allocations, want at most %d", name, got, mostAllocated)
		}
	}
}

// The difference between the two is the cost of the middleware.
func BenchmarkRequest(b *testing.B) {
	l, err := requestlog.New(io.Discard, prometheus.NewRegistry(), nil)
	if err != nil {
		b.Fatal(err)
	}
	bare, logged := echo.New(), echo.New()
	logged.Use(l.Middleware)
	for name, e := range map[string]*echo.Echo{"bare": bare, "logged": logged} {
		e.GET("/v1/authorizers/:appid", func(c echo.Context) error {
			ctx := c.Request().Context()
			requestlog.Add(ctx, "tenant", "tabcdefghijk")
			requestlog.Add(ctx, "appid", "wx0123456789abcdef")
			return nil
		})
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, "/v1/authorizers/wx1", nil)
			w := httptest.NewRecorder()
			b.ReportAllocs()
			for b.Loop() {
				clear(w.Header())
				e.ServeHTTP(w, r)
			}
		})
	}
}
