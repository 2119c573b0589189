// Package otlptest is an OpenTelemetry collector for tests.
package otlptest

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	collected "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Collector keeps what it is sent. It is safe for concurrent use.
type Collector struct {
	*httptest.Server
	// Status, if not 0, refuses what comes with that status.
	Status atomic.Int64
	// Asked counts the requests.
	Asked atomic.Int64

	t     testing.TB
	mu    sync.Mutex
	sent  []Request
	spans []Span
}

// Request is a request with spans.
type Request struct {
	Path   string
	Header http.Header
	Body   []byte // uncompressed
}

// Span is a span that was sent.
type Span struct {
	Trace, ID, Parent string // in hex; Parent is "" if there is none
	Name, Kind        string // Kind is as in SPAN_KIND_SERVER
	Start             time.Time
	Failed            bool
	Message           string // of the status
	Events, Links     int
	Attributes        map[string]any // string or int64
	Resource          map[string]any
}

// New starts a collector, which ends with the test. start starts its server. If start is nil, the
// server speaks plain HTTP.
func New(t testing.TB, start func(*httptest.Server)) *Collector {
	t.Helper()
	c := &Collector{t: t}
	c.Server = httptest.NewUnstartedServer(c)
	if start == nil {
		start = (*httptest.Server).Start
	}
	start(c.Server)
	t.Cleanup(c.Close)
	return c
}

// ServeHTTP takes spans.
func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.Asked.Add(1)
	if status := c.Status.Load(); status != 0 {
		w.WriteHeader(int(status))
		return
	}
	body, err := read(r)
	var request collected.ExportTraceServiceRequest
	if err == nil && r.Header.Get("Content-Type") == "application/json" {
		err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(body, &request)
	} else if err == nil {
		err = proto.Unmarshal(body, &request)
	}
	if err != nil || r.Method != http.MethodPost {
		c.t.Errorf("the collector got %s %s, %v", r.Method, r.URL, err)
	}
	c.keep(Request{r.URL.Path, r.Header, body}, &request)
}

func read(r *http.Request) ([]byte, error) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		body = unzipped
	}
	return io.ReadAll(body)
}

func (c *Collector) keep(sent Request, read *collected.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, sent)
	for _, resource := range read.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				c.spans = append(c.spans, spanOf(span, resource.GetResource().GetAttributes()))
			}
		}
	}
}

func spanOf(s *otlp.Span, resource []*common.KeyValue) Span {
	return Span{
		Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		Name: s.GetName(), Kind: s.GetKind().String(), Start: time.Unix(0, int64(s.GetStartTimeUnixNano())), Failed: s.GetStatus().GetCode() == otlp.Status_STATUS_CODE_ERROR, Message: s.GetStatus().GetMessage(),
		Events: len(s.GetEvents()), Links: len(s.GetLinks()), Attributes: values(s.GetAttributes()), Resource: values(resource),
	}
}

func values(attributes []*common.KeyValue) map[string]any {
	all := map[string]any{}
	for _, a := range attributes {
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			all[a.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			all[a.GetKey()] = v.IntValue
		default:
			all[a.GetKey()] = v
		}
	}
	return all
}

// Spans returns the spans that came so far.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// Sent returns the requests that came so far and were not refused.
func (c *Collector) Sent() []Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.sent)
}
