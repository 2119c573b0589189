//go:build !linux

package main

import (
	"errors"
	"time"
)

// alarm exists on Linux only, like all that bench measures.
type alarm struct{}

func newAlarm() (*alarm, error) { return nil, errors.New("latency is measured on Linux only") }

func (*alarm) wait(time.Time) error { return nil }

func (*alarm) close() error { return nil }
