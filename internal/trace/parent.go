package trace

import (
	"context"
	"encoding/hex"

	otel "go.opentelemetry.io/otel/trace"
)

// Parent names the span of a caller that a request belongs to. The zero value names none.
type Parent struct{ text string }

// The layout of version 00: version, trace id, span id and flags, with a hyphen between them.
const (
	parentLength = 55
	traceBegins  = 3
	traceEnds    = 35
	spanBegins   = 36
	spanEnds     = 52
	flagsBegin   = 53
)

// ParseParent reads the values of a request's header field traceparent (W3C Trace Context). It
// accepts one value of version 00 in exactly the form that the standard gives it: hex digits in
// lower case, neither id all zeros. Anything else names no span. It allocates nothing: the Parent
// shares memory with the value.
func ParseParent(values []string) Parent {
	if len(values) != 1 || !isParent(values[0]) {
		return Parent{}
	}
	return Parent{values[0]}
}

// TraceID returns the id of the trace, 32 hex digits in lower case, or "" if none is named.
func (p Parent) TraceID() string {
	if p.text == "" {
		return ""
	}
	return p.text[traceBegins:traceEnds]
}

// in returns ctx with the caller's span, if there is one, as the current span.
func (p Parent) in(ctx context.Context) context.Context {
	if p.text == "" {
		return ctx
	}
	var c otel.SpanContextConfig
	var flags [1]byte
	_, _ = hex.Decode(c.TraceID[:], []byte(p.text[traceBegins:traceEnds])) // ParseParent has checked the digits
	_, _ = hex.Decode(c.SpanID[:], []byte(p.text[spanBegins:spanEnds]))
	_, _ = hex.Decode(flags[:], []byte(p.text[flagsBegin:]))
	c.TraceFlags = otel.TraceFlags(flags[0]) & otel.FlagsSampled
	return otel.ContextWithRemoteSpanContext(ctx, otel.NewSpanContext(c))
}

func isParent(text string) bool {
	return len(text) == parentLength && text[:traceBegins] == "00-" && text[traceEnds] == '-' && text[spanEnds] == '-' &&
		isID(text[traceBegins:traceEnds]) && isID(text[spanBegins:spanEnds]) && isHex(text[flagsBegin:])
}

func isID(text string) bool { return isHex(text) && !isZero(text) }

func isHex(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isZero(text string) bool {
	for i := range len(text) {
		if text[i] != '0' {
			return false
		}
	}
	return true
}
