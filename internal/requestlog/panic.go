package requestlog

import (
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
)

// panicked is a handler's panic as an error. It holds the type of the value and the functions on
// the stack, but neither the value's text nor arguments, which may be secret.
type panicked struct{ kind, stack string }

func (p *panicked) Error() string { return "a handler panicked with a value of type " + p.kind }

// safely runs f and turns a panic into an error, except http.ErrAbortHandler, which goes on to
// net/http.
func safely(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = caught(v)
		}
	}()
	return f()
}

func caught(value any) error {
	if value == http.ErrAbortHandler {
		panic(http.ErrAbortHandler)
	}
	return &panicked{kind: fmt.Sprintf("%T", value), stack: functions()}
}

const deepest = 64

// functions names the functions between the panic and the middleware, innermost first, as
// function:line.
func functions() string {
	var pcs [deepest]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(0, pcs[:])])
	var names []string
	panicking := false
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		switch {
		case f.Function == "runtime.gopanic":
			panicking = true
		case strings.HasSuffix(f.Function, "requestlog.safely"):
			more = false
		case panicking:
			names = append(names, f.Function+":"+strconv.Itoa(f.Line))
		}
	}
	return strings.Join(names, " ")
}
