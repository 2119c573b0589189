package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// alarm wakes a goroutine within some microseconds of a time. Go's own timers may be a millisecond
// late: its runtime waits for them in whole milliseconds.
type alarm struct {
	fd   int
	file *os.File // of fd, which the runtime waits for as it does for a connection
}

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	return &alarm{fd, os.NewFile(uintptr(fd), "timer")}, nil
}

// wait returns at a time. One goroutine at once may call it.
func (a *alarm) wait(until time.Time) error {
	left := time.Until(until)
	if left <= 0 {
		return nil
	}
	at := unix.ItimerSpec{Value: unix.NsecToTimespec(left.Nanoseconds())}
	if err := unix.TimerfdSettime(a.fd, 0, &at, nil); err != nil {
		return fmt.Errorf("set a timer: %w", err)
	}
	var expired [8]byte
	_, err := a.file.Read(expired[:])
	return err
}

func (a *alarm) close() error { return a.file.Close() }
