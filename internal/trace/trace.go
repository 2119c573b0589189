// Package trace records what a request waits for, as spans of OpenTelemetry, and reads which trace
// of its caller's a request belongs to.
//
// Request begins the span of a request at the edge. Below it, Begin and Call begin those of its
// steps, with the request's context. If traces are off, or this one is not recorded, they return
// the context as it is and the zero Span, and allocate nothing. No span holds a secret, or what a
// caller sent: the names are constants and patterns of routes, and the constants of type Key say
// what each attribute is.
package trace

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	otel "go.opentelemetry.io/otel/trace"
)

// scope names this program in the spans.
const scope = "wxplatform"

// Tracer begins the spans of requests. The zero value begins none.
type Tracer struct{ tracer otel.Tracer }

// New returns a Tracer whose spans go to provider.
func New(provider otel.TracerProvider) Tracer { return Tracer{provider.Tracer(scope)} }

// Request begins the span of a request to a route, named after the route's pattern. It belongs to
// the caller's trace if parent names one.
func (t Tracer) Request(ctx context.Context, route string, parent Parent) (context.Context, Span) {
	if t.tracer == nil {
		return ctx, Span{}
	}
	traced, span := t.tracer.Start(parent.in(ctx), route, otel.WithSpanKind(otel.SpanKindServer))
	if !span.IsRecording() {
		return ctx, Span{}
	}
	return traced, Span{span}
}

// Step is a part of a request that has a span of its own.
type Step string

// The steps. The calls of WeChat are not among them: their spans are named after WeChat's paths.
const (
	AdmitCaller    Step = "admission.caller"
	AdmitAccount   Step = "admission.account"
	AccessToken    Step = "token.access"
	ComponentToken Step = "token.component"
)

// Begin begins the span of a step of the request that ctx belongs to.
func Begin(ctx context.Context, step Step) (context.Context, Span) {
	return begin(ctx, string(step), otel.SpanKindInternal)
}

// Call begins the span of a call of WeChat. path comes from the catalogue or is a constant.
func Call(ctx context.Context, path string) (context.Context, Span) {
	return begin(ctx, path, otel.SpanKindClient)
}

// begin begins a span below that of ctx, even if that one has ended: work that callers share goes
// on after the first of them has left.
func begin(ctx context.Context, name string, kind otel.SpanKind) (context.Context, Span) {
	parent := Of(ctx)
	if !parent.On() {
		return ctx, Span{}
	}
	ctx, span := parent.span.TracerProvider().Tracer(scope).Start(ctx, name, otel.WithSpanKind(kind))
	return ctx, Span{span}
}

// Span is one step of a request. The zero Span is none: its methods do nothing. It is safe for
// concurrent use.
type Span struct{ span otel.Span }

// Of returns the innermost span of ctx.
func Of(ctx context.Context) Span {
	span := otel.SpanFromContext(ctx)
	if !span.SpanContext().IsSampled() {
		return Span{}
	}
	return Span{span}
}

// On reports whether the span is recorded.
func (s Span) On() bool { return s.span != nil }

// TraceID returns the id of the span's trace, 32 hex digits in lower case, or "" for the zero Span.
func (s Span) TraceID() string {
	if s.span == nil {
		return ""
	}
	return s.span.SpanContext().TraceID().String()
}

// Text sets an attribute, or nothing if the key is empty.
func (s Span) Text(key Key, value string) {
	if s.span != nil && key != "" {
		s.span.SetAttributes(attribute.String(string(key), value))
	}
}

// Number is Text for a number.
func (s Span) Number(key Key, value int) {
	if s.span != nil && key != "" {
		s.span.SetAttributes(attribute.Int(string(key), value))
	}
}

// End ends the span. failed marks it as an error, of which nothing else is recorded.
func (s Span) End(failed bool) {
	if s.span == nil {
		return
	}
	if failed {
		s.span.SetStatus(codes.Error, "")
	}
	s.span.End()
}
