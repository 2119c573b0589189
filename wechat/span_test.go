package wechat

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	otel "go.opentelemetry.io/otel/trace"

	"wxplatform/internal/trace"
)

// spanOf returns the span of what is called, and its attributes.
func spanOf(t *testing.T, do func(context.Context)) (tracetest.SpanStub, map[string]any) {
	t.Helper()
	ended := tracetest.NewInMemoryExporter()
	ctx, _ := trace.New(sdk.NewTracerProvider(sdk.WithSyncer(ended))).Request(t.Context(), "/", trace.Parent{})
	do(ctx)
	spans := ended.GetSpans()
	if len(spans) != 1 {
		t.Fatalf("got %d spans, want 1", len(spans))
	}
	attributes := map[string]any{}
	for _, a := range spans[0].Attributes {
		attributes[string(a.Key)] = a.Value.AsInterface()
	}
	return spans[0], attributes
}

func TestASpanSaysWhatBecameOfACall(t *testing.T) {
	const path = "/customservice/kfsession/close"
	named := map[string]any{"http.request.method": "POST", "url.template": path, "wechat.attempt": int64(1)}
	for name, c := range map[string]struct {
		status int
		body   string
		call   Call
		want   map[string]any
	}{
		"success":  {200, plainOK, call(), map[string]any{"http.response.status_code": int64(200), "wechat.errcode": int64(0)}},
		"refusal":  {200, `{"errcode":65413,"errmsg":"no"}`, call(), map[string]any{"http.response.status_code": int64(200), "wechat.errcode": int64(65413), "error.type": "refused"}},
		"busy":     {200, `{"errcode":-1}`, call(), map[string]any{"http.response.status_code": int64(200), "wechat.errcode": int64(-1), "error.type": "unknown"}},
		"unknown":  {502, "Bad Gateway", call(), map[string]any{"http.response.status_code": int64(502), "error.type": "unknown"}},
		"repeated": {200, plainOK, call().Again(), map[string]any{"http.response.status_code": int64(200), "wechat.errcode": int64(0), "wechat.attempt": int64(2)}},
		"not sent": {0, "", call(), map[string]any{"error.type": "not_sent"}},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}))
		if c.status == 0 {
			server.Close()
		}
		c.call.Query = "openid=" + canary
		span, got := spanOf(t, func(ctx context.Context) {
			client := NewClient(server.URL, Observer{})
			defer client.CloseIdle()
			_, _ = client.Do(ctx, c.call)
		})
		server.Close()
		want := maps.Clone(named)
		maps.Copy(want, c.want)
		if !maps.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
		failed := want["error.type"] != nil
		if span.Name != path || span.SpanKind != otel.SpanKindClient || span.Status.Description != "" || (span.Status.Code == codes.Error) != failed {
			t.Errorf("%s: got %+v, want a client's span, failed %v", name, span, failed)
		}
	}
}

func TestASpanOfACallNamesOnlyPathsOfOurs(t *testing.T) {
	unlisted := call()
	unlisted.Path, unlisted.Name = "/cgi-bin/"+canary, "uncatalogued"
	span, got := spanOf(t, func(ctx context.Context) { _, _ = NewClient("http://127.0.0.1:1", Observer{}).Do(ctx, unlisted) })
	if span.Name != "uncatalogued" || got["url.template"] != "uncatalogued" {
		t.Errorf("got %s and %v, want uncatalogued", span.Name, got)
	}
}

func TestNoFieldOfATraceIsSent(t *testing.T) {
	var header http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		_, _ = io.WriteString(w, plainOK)
	}))
	defer server.Close()
	spanOf(t, func(ctx context.Context) { _, _ = NewClient(server.URL, Observer{}).Do(ctx, call()) })
	for name := range header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "trace") || lower == "baggage" {
			t.Errorf("got %s sent to WeChat", name)
		}
	}
}
