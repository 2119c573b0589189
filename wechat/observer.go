package wechat

import "time"

// Observer is told what a Client does. Its functions may be nil. They must be quick, and safe for
// concurrent use: they are called in the goroutines that make the calls. None is told a secret.
type Observer struct {
	// Called is told of every call: its path, WeChat's errcode or 0, how long it took and, if it
	// failed, its error, an *Error.
	Called func(path string, code Code, took time.Duration, err error)
	// Odd is told of a member of an answer that was tolerated, skipped or missing: the call's path,
	// the member's name with those of the enclosing objects, and one of the Odd constants.
	Odd func(path, field, what string)
	// Surplus is told that a connection was closed because it held bytes that no call had asked
	// for.
	Surplus func(SurplusBytes)
}

// SurplusBytes says when surplus bytes were found.
type SurplusBytes string

const (
	// SurplusIdle means before a request was written.
	SurplusIdle SurplusBytes = "idle"
	// SurplusAnswered means together with an answer, or instead of one.
	SurplusAnswered SurplusBytes = "answered"
)

func (o Observer) called(path string, took time.Duration, err error) {
	if o.Called != nil {
		o.Called(path, codeOf(err), took, err)
	}
}

// oddIn returns Odd for the answers to one path.
func (o Observer) oddIn(path string) func(field, what string) {
	if o.Odd == nil {
		return nil
	}
	return func(field, what string) { o.Odd(path, field, what) }
}

func (o Observer) surplus(found SurplusBytes) {
	if o.Surplus != nil {
		o.Surplus(found)
	}
}
