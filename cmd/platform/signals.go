package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// stopped is the cause of a context that ended because a signal told the process to stop.
type stopped struct{ signal syscall.Signal }

var stopSignals = map[syscall.Signal]string{syscall.SIGINT: "SIGINT", syscall.SIGTERM: "SIGTERM"}

func (s stopped) name() string { return stopSignals[s.signal] }

// Error names the signal.
func (s stopped) Error() string { return "stopped by " + s.name() }

// Is makes errors.Is treat a stopped as context.Canceled.
func (stopped) Is(target error) bool { return target == context.Canceled }

// status is the exit status of a command that was stopped, as a shell has it: 130 for Ctrl-C.
func (s stopped) status() int { return 128 + int(s.signal) }

// stopOf returns the signal that ended ctx, if one did.
func stopOf(ctx context.Context) (by stopped, is bool) {
	is = errors.As(context.Cause(ctx), &by)
	return by, is
}

// untilStopped returns a context that SIGINT or SIGTERM ends; its cause is a stopped then. release
// ends it too, and restores the default handling of the signals.
func untilStopped(parent context.Context) (ctx context.Context, release func()) {
	ctx, end := context.WithCancelCause(parent)
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	for each := range stopSignals {
		signal.Notify(signals, each)
	}
	go func() {
		defer close(done)
		select {
		case got := <-signals:
			end(stopped{got.(syscall.Signal)})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		end(nil)
		<-done
	}
}
