package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// measureIdle prints the platform's memory with and without many idle connections, each of which
// has closed a session.
func measureIdle(ctx context.Context, out io.Writer, args []string) error {
	b := &bench{}
	_ = b.newFlags("idle", 5000).Parse(args)
	return b.run(ctx, func(ctx context.Context) error { return b.measureIdle(ctx, out) }, b.startPlatform, b.prepare)
}

func (b *bench) measureIdle(ctx context.Context, out io.Writer) error {
	for range 1000 {
		if err := b.closeOnce(ctx, b.platform); err != nil {
			return err
		}
	}
	before, err := b.platform.memory()
	if err != nil {
		return err
	}
	for range b.connections {
		c, err := b.connect(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
	}
	highest, last, err := b.watchMemory(ctx, 90*time.Second, time.Second)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "resident memory: %.0f MB before, at most %.0f MB with %d idle connections, %.0f MB at the end\n", before, highest, b.connections, last)
	return err
}

// connect opens a connection and closes a session through it.
func (b *bench) connect(ctx context.Context) (net.Conn, error) {
	c, err := dial(ctx, b.address)
	if err != nil {
		return nil, err
	}
	for {
		switch status, body, err := c.send(b.call(b.platform, 0).text()); {
		case err != nil || status == http.StatusOK:
			return c, err
		case status != http.StatusTooManyRequests:
			return nil, fmt.Errorf("the platform answered %d %s", status, strings.TrimSpace(body))
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		time.Sleep(100 * time.Millisecond) // the tenant's rate
	}
}

// watchMemory returns the platform's highest and last memory, in MB, during d or until ctx ends.
func (b *bench) watchMemory(ctx context.Context, d, every time.Duration) (highest, last float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for poll := time.Tick(every); ; {
		if last, err = b.platform.memory(); err != nil {
			return 0, 0, err
		}
		highest = max(highest, last)
		select {
		case <-ctx.Done():
			return highest, last, nil
		case <-poll:
		}
	}
}
