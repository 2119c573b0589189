package otlp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"wxplatform/internal/otlp"
	"wxplatform/internal/otlptest"
	"wxplatform/internal/testenv"
	"wxplatform/internal/trace"
)

// The packages that the exporter imports, and net/http's client of the tests, start nothing that
// outlives Close.
func TestMain(m *testing.M) { goleak.VerifyTestMain(testenv.Clean{M: m}) }

const canary = "canary-5d20"

// sender is an open Exporter, with what it logs.
type sender struct {
	*otlp.Exporter
	t   *testing.T
	mu  sync.Mutex
	log bytes.Buffer
}

func (s *sender) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

// said returns the messages that were logged, and everything that was.
func (s *sender) said() (messages []string, all string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(s.log.String()) {
		var read struct {
			Msg string `json:"msg"`
		}
		if err := json.Unmarshal([]byte(line), &read); err != nil {
			s.t.Fatal(err)
		}
		messages = append(messages, read.Msg)
	}
	return messages, s.log.String()
}

func read(settings map[string]string) (*otlp.Settings, error) {
	return otlp.ReadSettings(func(name string) string { return settings[name] })
}

func open(t *testing.T, settings map[string]string) *sender {
	t.Helper()
	s, err := read(settings)
	if err != nil || s == nil {
		t.Fatalf("got %v, %v, want settings", s, err)
	}
	opened := &sender{t: t}
	if opened.Exporter, err = otlp.Open(*s, "v1.2.3", slog.New(slog.NewJSONHandler(opened, nil))); err != nil {
		t.Fatal(err)
	}
	return opened
}

// span makes a span.
func (s *sender) span(name string) {
	_, span := s.Tracer().Request(s.t.Context(), name, trace.Parent{})
	span.End(false)
}

func (s *sender) close() {
	s.t.Helper()
	if err := s.Close(); err != nil {
		s.t.Error(err)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestSpansAreSentAsTheSettingsSay(t *testing.T) {
	for name, c := range map[string]struct {
		settings map[string]string
		path     string
		header   map[string]string
		resource map[string]any
	}{
		"the endpoint of all signals": {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, "/v1/traces", map[string]string{"Content-Type": "application/x-protobuf", "Content-Encoding": ""}, map[string]any{"service.name": "wxplatform", "service.version": "v1.2.3", "telemetry.sdk.language": "go"}},
		"with a path":                 {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "/otlp/"}, "/otlp/v1/traces", nil, nil},
		"the endpoint of traces":      {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "/x"}, "/x", nil, nil},
		"the endpoint without a path": {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ""}, "/", nil, nil},
		"fields":                      {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_EXPORTER_OTLP_HEADERS": "X-A=b%20c, x-d = e=f"}, "/v1/traces", map[string]string{"X-A": "b c", "X-D": "e=f"}, nil},
		"fields of traces":            {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_EXPORTER_OTLP_HEADERS": "x-a=1", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-b=2"}, "/v1/traces", map[string]string{"X-A": "", "X-B": "2"}, nil},
		"compressed":                  {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}, "/v1/traces", map[string]string{"Content-Encoding": "gzip"}, nil},
		"in JSON":                     {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "/v1/traces", map[string]string{"Content-Type": "application/json"}, nil},
		"a service":                   {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_SERVICE_NAME": "a", "OTEL_RESOURCE_ATTRIBUTES": "service.name=b,x=y%20z"}, "/v1/traces", nil, map[string]any{"service.name": "a", "x": "y z"}},
		"a service among others":      {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_RESOURCE_ATTRIBUTES": "service.name=b"}, "/v1/traces", nil, map[string]any{"service.name": "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			collector := otlptest.New(t, nil)
			for _, endpoint := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
				if path, set := c.settings[endpoint]; set {
					c.settings[endpoint] = collector.URL + path
				}
			}
			s := open(t, c.settings)
			s.span("a route")
			s.close()
			spans, sent := collector.Spans(), collector.Sent()
			if len(spans) != 1 || spans[0].Name != "a route" || len(sent) != 1 || sent[0].Path != c.path {
				t.Fatalf("got %+v, %+v, want a span at %s", spans, sent, c.path)
			}
			for field, want := range c.header {
				if got := sent[0].Header.Get(field); got != want {
					t.Errorf("%s: got %q, want %q", field, got, want)
				}
			}
			for attribute, want := range c.resource {
				if got := spans[0].Resource[attribute]; got != want {
					t.Errorf("%s: got %v, want %v", attribute, got, want)
				}
			}
		})
	}
}

func TestACollectorIsCheckedByItsCertificate(t *testing.T) {
	collector := otlptest.New(t, func(s *httptest.Server) {
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
	})
	file := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: collector.Certificate().Raw})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, certificate := range []string{"", file} { // spans that are taken
		s := open(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL, "OTEL_EXPORTER_OTLP_CERTIFICATE": certificate})
		s.span("x")
		s.close()
		messages, all := s.said()
		if got := len(collector.Spans()); got != want || len(messages) != 1-want {
			t.Errorf("%q: got %d spans and the log %s, want %d", certificate, got, all, want)
		}
		if want == 0 && !strings.Contains(all, "certificate") {
			t.Errorf("got the log %s, want what is wrong with the certificate", all)
		}
	}
}

func TestTracesAreOffUnlessAnEndpointIsSet(t *testing.T) {
	const url = "http://127.0.0.1:1"
	for name, settings := range map[string]map[string]string{
		"nothing is set":            {},
		"only other settings":       {"OTEL_EXPORTER_OTLP_HEADERS": "a", "OTEL_TRACES_EXPORTER": "otlp", "OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"},
		"the SDK is disabled":       {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_SDK_DISABLED": "true"},
		"it is disabled in capital": {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_SDK_DISABLED": "True"},
		"no exporter":               {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": url, "OTEL_TRACES_EXPORTER": "none"},
	} {
		if got, err := read(settings); got != nil || err != nil {
			t.Errorf("%s: got %v, %v, want none", name, got, err)
		}
	}
	if got, err := read(map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_SDK_DISABLED": "false"}); got == nil || err != nil {
		t.Errorf("got %v, %v, want settings", got, err)
	}
	var off *otlp.Exporter
	if _, span := off.Tracer().Request(t.Context(), "/", trace.Parent{}); span.On() || off.Close() != nil {
		t.Error("got a span of no exporter")
	}
}

func TestWrongSettingsAreNamedWithoutTheirValues(t *testing.T) {
	const url = "https://127.0.0.1:1/" + canary
	for _, c := range []struct{ name, value, says string }{
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://" + canary, "OTEL_EXPORTER_OTLP_ENDPOINT is not"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", canary + ":4318", "OTEL_EXPORTER_OTLP_ENDPOINT is not"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://\x00" + canary, "OTEL_EXPORTER_OTLP_ENDPOINT is not"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "https://user:" + canary + "@127.0.0.1", "a password belongs in OTEL_EXPORTER_OTLP_HEADERS"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", url + "?key=" + canary, "without user, query and fragment"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", canary, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is not"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "a=b," + canary, "OTEL_EXPORTER_OTLP_HEADERS: entry 2 is not name=value"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "a=" + canary + "%zz", "OTEL_EXPORTER_OTLP_HEADERS: entry 1"},
		{"OTEL_EXPORTER_OTLP_HEADERS", canary + " x=b", "is not a header field"},
		{"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=" + canary + "%0d%0ab", "OTEL_EXPORTER_OTLP_TRACES_HEADERS: one of them is not a header field"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL is none of http/protobuf, http/json"},
		{"OTEL_EXPORTER_OTLP_COMPRESSION", canary, "OTEL_EXPORTER_OTLP_COMPRESSION is none of none, gzip"},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", canary, "OTEL_EXPORTER_OTLP_TIMEOUT is not a number above 0"},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "0", "OTEL_EXPORTER_OTLP_TIMEOUT is not a number above 0"},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/" + canary, "OTEL_EXPORTER_OTLP_CERTIFICATE names no readable file"},
		{"OTEL_EXPORTER_OTLP_CLIENT_KEY", "/nowhere/" + canary, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY name no readable files"},
		{"OTEL_TRACES_EXPORTER", canary, "OTEL_TRACES_EXPORTER is neither"},
		{"OTEL_TRACES_SAMPLER", canary, "OTEL_TRACES_SAMPLER is none of parentbased_always_on"},
		{"OTEL_TRACES_SAMPLER_ARG", "1.5", "OTEL_TRACES_SAMPLER_ARG is not a number from 0 to 1"},
		{"OTEL_TRACES_SAMPLER_ARG", canary, "OTEL_TRACES_SAMPLER_ARG is not a number from 0 to 1"},
		{"OTEL_RESOURCE_ATTRIBUTES", canary, "OTEL_RESOURCE_ATTRIBUTES: entry 1"},
		{"OTEL_BSP_SCHEDULE_DELAY", "-1", "OTEL_BSP_SCHEDULE_DELAY is not"},
		{"OTEL_BSP_EXPORT_TIMEOUT", canary, "OTEL_BSP_EXPORT_TIMEOUT is not"},
		{"OTEL_BSP_MAX_QUEUE_SIZE", "x", "OTEL_BSP_MAX_QUEUE_SIZE is not"},
		{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "x", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE is not"},
	} {
		settings := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_TRACES_SAMPLER": "traceidratio"}
		settings[c.name] = c.value
		_, err := read(settings)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s=%q: got %v, want %q and no value", c.name, c.value, err, c.says)
		}
	}
	_, err := read(map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1", "OTEL_EXPORTER_OTLP_CERTIFICATE": "x", "OTEL_BSP_MAX_QUEUE_SIZE": "x"})
	for _, says := range []string{"CERTIFICATE needs an endpoint with https", "OTEL_BSP_MAX_QUEUE_SIZE"} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q among all faults", err, says)
		}
	}
}

func TestNamesAreTheSettingsThatAreRead(t *testing.T) {
	asked := map[string]bool{}
	_, _ = otlp.ReadSettings(func(name string) string {
		asked[strings.Replace(name, "OTLP_TRACES_", "OTLP_", 1)] = true
		return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1", "OTEL_TRACES_SAMPLER": "traceidratio"}[name]
	})
	for _, name := range otlp.Names {
		if !asked[name] {
			t.Errorf("%s is not read", name)
		}
		delete(asked, name)
	}
	if len(asked) > 0 {
		t.Errorf("got %v read, want them among the names", asked)
	}
}

func TestTheSamplerDecidesWhichTracesAreSent(t *testing.T) {
	sampled := trace.ParseParent([]string{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"})
	unsampled := trace.ParseParent([]string{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"})
	for _, c := range []struct {
		sampler, arg string
		want         string // which requests are recorded, by their caller's traceparent
	}{
		{"", "", "none sampled"}, {"parentbased_always_on", "", "none sampled"}, {"parentbased_always_off", "", "sampled"},
		{"always_on", "", "none sampled unsampled"}, {"always_off", "", ""},
		{"traceidratio", "0", ""}, {"traceidratio", "1", "none sampled unsampled"}, {"traceidratio", "", "none sampled unsampled"},
		{"parentbased_traceidratio", "0", "sampled"}, {"parentbased_traceidratio", "1.0", "none sampled"},
	} {
		collector := otlptest.New(t, nil)
		s := open(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL, "OTEL_TRACES_SAMPLER": c.sampler, "OTEL_TRACES_SAMPLER_ARG": c.arg})
		for _, one := range []struct {
			name string
			from trace.Parent
		}{{"none", trace.Parent{}}, {"sampled", sampled}, {"unsampled", unsampled}} {
			_, span := s.Tracer().Request(t.Context(), one.name, one.from)
			span.End(false)
		}
		s.close()
		var got []string
		for _, span := range collector.Spans() {
			got = append(got, span.Name)
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s %s: got %q, want %q", c.sampler, c.arg, text, c.want)
		}
	}
}

func TestAnOutageIsLoggedOnceWithoutSecrets(t *testing.T) {
	collector := otlptest.New(t, nil)
	s := open(t, map[string]string{
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.URL + "/" + canary, "OTEL_EXPORTER_OTLP_HEADERS": "authorization=" + canary, "OTEL_BSP_SCHEDULE_DELAY": "1",
	})
	for i, status := range []int64{http.StatusUnauthorized, http.StatusNotFound} {
		collector.Status.Store(status)
		for refused := collector.Asked.Load() + 3; collector.Asked.Load() < refused; time.Sleep(time.Millisecond) {
			s.span("lost")
		}
		collector.Status.Store(0)
		eventually(t, "the end of the outage", func() bool { s.span("sent"); messages, _ := s.said(); return len(messages) == 2*(i+1) })
	}
	s.close()
	messages, all := s.said()
	if want := strings.Repeat("traces are lost: the collector does not take them|traces are sent again|", 2); strings.Join(messages, "|")+"|" != want {
		t.Errorf("got %s, want a line for the beginning and the end of each outage", all)
	}
	if !strings.Contains(all, `"error":"answered with status 401"`) || !strings.Contains(all, `"error":"answered with status 404"`) {
		t.Errorf("got %s, want the statuses", all)
	}
	for _, secret := range []string{canary, collector.URL} {
		if strings.Contains(all, secret) {
			t.Errorf("the log shows %s: %s", secret, all)
		}
	}
}

func TestAnUnreachableCollectorIsLoggedWithTheReason(t *testing.T) {
	collector := otlptest.New(t, nil)
	collector.Server.Close()
	s := open(t, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.URL + "/" + canary})
	s.span("lost")
	s.close()
	if _, all := s.said(); !strings.Contains(all, "connection refused") || strings.Contains(all, canary) {
		t.Errorf("got %s, want the reason and no path", all)
	}
}

// stuck is a collector that answers nothing until the test ends.
func stuck(t *testing.T) string {
	end := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-end }))
	t.Cleanup(func() { close(end); server.Close() })
	return server.URL
}

// If a span waited for the collector, this test would never end.
func TestNoSpanWaitsForTheCollector(t *testing.T) {
	s := open(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": stuck(t), "OTEL_BSP_MAX_QUEUE_SIZE": "2", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1"})
	for i := range 10_000 {
		s.span(fmt.Sprint(i))
	}
	began := time.Now()
	s.close()
	if took := time.Since(began); took > 10*otlp.FlushTime {
		t.Errorf("got closed after %s, want about %s", took, otlp.FlushTime)
	}
	if messages, all := s.said(); len(messages) != 1 {
		t.Errorf("got the log %s, want one line", all)
	}
}

func TestNothingFollowsARedirect(t *testing.T) {
	elsewhere := otlptest.New(t, nil)
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	s := open(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL, "OTEL_EXPORTER_OTLP_HEADERS": "x-key=" + canary})
	s.span("x")
	s.close()
	if n := elsewhere.Asked.Load(); n != 0 {
		t.Errorf("got %d requests where the redirect leads, want none", n)
	}
	if _, all := s.said(); !strings.Contains(all, "answered with status 307") {
		t.Errorf("got %s, want the status", all)
	}
}

func TestAPanicIsNoPartOfASpan(t *testing.T) {
	collector := otlptest.New(t, nil)
	s := open(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL})
	func() {
		defer func() { _ = recover() }()
		ctx, span := s.Tracer().Request(context.Background(), "x", trace.Parent{})
		defer span.End(true)
		_, step := trace.Begin(ctx, trace.AdmitCaller)
		defer step.End(false)
		panic(canary)
	}()
	s.close()
	for _, sent := range collector.Sent() {
		if bytes.Contains(sent.Body, []byte(canary)) {
			t.Errorf("got the panic's value in %q", sent.Body)
		}
	}
	if n := len(collector.Spans()); n != 2 {
		t.Errorf("got %d spans, want 2", n)
	}
}
