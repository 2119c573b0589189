package trace_test

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	otel "go.opentelemetry.io/otel/trace"

	"wxplatform/internal/trace"
)

// recorded returns a Tracer, and a function that returns the spans that have ended, in their order.
func recorded(sampler sdk.Sampler) (trace.Tracer, func() tracetest.SpanStubs) {
	ended := tracetest.NewInMemoryExporter()
	return trace.New(sdk.NewTracerProvider(sdk.WithSyncer(ended), sdk.WithSampler(sampler))), ended.GetSpans
}

// request is a request with each of its steps, as one that is traced makes them.
func request(ctx context.Context, tracer trace.Tracer, from trace.Parent) trace.Span {
	ctx, span := tracer.Request(ctx, "/v1/authorizers/:appid", from)
	below, step := trace.Begin(ctx, trace.AccessToken)
	trace.Of(below).Text(trace.Source, trace.SQL)
	_, call := trace.Call(below, "/cgi-bin/component/api_authorizer_token")
	call.Number(trace.Code, 61023)
	call.End(true)
	step.End(false)
	span.Text(trace.Tenant, "t1")
	span.End(false)
	return span
}

func TestTheStepsOfARequestAreSpansBelowItsOwn(t *testing.T) {
	tracer, ended := recorded(sdk.AlwaysSample())
	id := request(t.Context(), tracer, trace.Parent{}).TraceID()
	spans := ended()
	if len(spans) != 3 {
		t.Fatalf("got %d spans, want 3", len(spans))
	}
	call, step, top := spans[0], spans[1], spans[2]
	for _, want := range []struct {
		span, above tracetest.SpanStub
		name        string
		kind        otel.SpanKind
		status      codes.Code
		attribute   attribute.KeyValue
	}{
		{call, step, "/cgi-bin/component/api_authorizer_token", otel.SpanKindClient, codes.Error, attribute.Int("wechat.errcode", 61023)},
		{step, top, "token.access", otel.SpanKindInternal, codes.Unset, attribute.String("wxplatform.token.source", "sql")},
		{top, tracetest.SpanStub{}, "/v1/authorizers/:appid", otel.SpanKindServer, codes.Unset, attribute.String("wxplatform.tenant", "t1")},
	} {
		got := want.span
		if got.Name != want.name || got.SpanKind != want.kind || got.Status != (sdk.Status{Code: want.status}) || got.InstrumentationScope.Name != "wxplatform" {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if got.Parent.SpanID() != want.above.SpanContext.SpanID() || got.SpanContext.TraceID().String() != id {
			t.Errorf("%s: got the trace %s and the parent %s, want %s and %s", got.Name, got.SpanContext.TraceID(), got.Parent.SpanID(), id, want.above.SpanContext.SpanID())
		}
		if len(got.Attributes) != 1 || got.Attributes[0] != want.attribute {
			t.Errorf("%s: got %v, want %v", got.Name, got.Attributes, want.attribute)
		}
	}
}

func TestARequestBelongsToItsCallersTrace(t *testing.T) {
	tracer, ended := recorded(sdk.ParentBased(sdk.NeverSample()))
	request(t.Context(), tracer, trace.ParseParent([]string{parent}))
	spans := ended()
	if len(spans) != 3 {
		t.Fatalf("got %d spans, want 3: the caller's trace is sampled", len(spans))
	}
	if top := spans[2]; top.Parent.SpanID().String() != "00f067aa0ba902b7" || !top.Parent.IsRemote() || top.SpanContext.TraceID().String() != traceID {
		t.Errorf("got %+v, want a child of %s", top, parent)
	}
	request(t.Context(), tracer, trace.ParseParent([]string{parent[:len(parent)-2] + "00"}))
	if spans := ended(); len(spans) != 3 {
		t.Errorf("got %d spans, want no more than before: the caller's trace is not sampled", len(spans))
	}
}

func TestAStepIsRecordedThoughTheRequestHasEnded(t *testing.T) {
	tracer, ended := recorded(sdk.AlwaysSample())
	ctx, span := tracer.Request(t.Context(), "/", trace.Parent{})
	span.End(false)
	_, step := trace.Begin(ctx, trace.ComponentToken)
	step.End(true)
	if spans := ended(); len(spans) != 2 || spans[1].Parent.SpanID() != spans[0].SpanContext.SpanID() {
		t.Errorf("got %+v, want the step below the request", spans)
	}
}

func TestWhatIsNotRecordedAllocatesNothing(t *testing.T) {
	never, ended := recorded(sdk.NeverSample())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	unsampled, span := never.Request(ctx, "/", trace.Parent{})
	if unsampled != ctx || span.On() || span.TraceID() != "" {
		t.Errorf("got a span of a trace that is not sampled, want none")
	}
	if n := testing.AllocsPerRun(100, func() { request(ctx, trace.Tracer{}, trace.Parent{}) }); n != 0 {
		t.Errorf("got %.0f allocations while traces are off, want none", n)
	}
	if spans := ended(); len(spans) != 0 {
		t.Errorf("got %+v, want no spans", spans)
	}
}

// What a request with three steps costs that is not traced, below contexts as a request has them.
func BenchmarkOff(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	ctx, end := context.WithCancel(ctx)
	defer end()
	b.ReportAllocs()
	for b.Loop() {
		request(ctx, trace.Tracer{}, trace.Parent{})
	}
}
