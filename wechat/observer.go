package wechat

import "time"

// Observer is told what a Client does. A nil function is not called; the others must be quick, for
// they are called in the goroutine of whoever calls WeChat. None is told a secret.
type Observer struct {
	// Called is told of every call: its path, WeChat's errcode or 0, how long it took, and its
	// error, an *Error, if it failed.
	Called func(path string, code Code, took time.Duration, err error)
	// Surplus is told that a kept connection was closed because it held bytes that no call had
	// asked for.
	Surplus func()
}

func (o Observer) called(path string, took time.Duration, err error) {
	if o.Called != nil {
		o.Called(path, codeOf(err), took, err)
	}
}

func (o Observer) surplus() {
	if o.Surplus != nil {
		o.Surplus()
	}
}
