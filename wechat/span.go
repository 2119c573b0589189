package wechat

import (
	"wxplatform/internal/trace"
)

// endSpan ends the span of a call with what became of it. The span has no query, header or body.
// That of a streamed answer ends before the stream does.
func endSpan(span trace.Span, call Call, a Answer, err error) {
	if !span.On() {
		return
	}
	span.Text(trace.Method, call.Method)
	span.Text(trace.Template, call.name())
	span.Number(trace.Attempt, call.Repeats+1)
	if a.Status != 0 {
		span.Number(trace.Status, a.Status)
	}
	if e := asError(err); e != nil {
		span.Text(trace.ErrorType, e.result.span())
	}
	if code := codeOf(err); code != 0 || err == nil {
		span.Number(trace.Code, int(code))
	}
	span.End(err != nil)
}

// span returns the outcome as spans name it.
func (o outcome) span() string {
	switch o {
	case refused:
		return trace.Refused
	case notSent:
		return trace.NotSent
	}
	return trace.Unknown
}
