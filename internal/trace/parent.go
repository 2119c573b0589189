package trace

// Parent names the span of a caller that a request belongs to. The zero value names none.
type Parent struct{ text string }

// The form of version 00: version, trace id, span id and flags, with a hyphen between them.
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
