package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// request is an HTTP request with a JWT, as it is sent.
type request string

func (r request) jwt() string {
	_, jwt, _ := strings.Cut(string(r), "Bearer ")
	jwt, _, _ = strings.Cut(jwt, "\r\n")
	return jwt
}

// tally is what became of the requests of one tenant.
type tally struct {
	served, refused, other int
	took                   []float64 // by those that were served, in ms
}

func (t tally) calls() int { return t.served + t.refused + t.other }

func (t tally) String() string {
	return fmt.Sprintf("%d served, %d refused, %d other, p50 %.2f ms", t.served, t.refused, t.other, t.quantile(0.5))
}

func (t tally) quantile(q float64) float64 {
	if len(t.took) == 0 {
		return 0
	}
	slices.Sort(t.took)
	return t.took[int(q*float64(len(t.took)-1))]
}

func (t *tally) add(status int, took time.Duration) {
	switch status {
	case http.StatusOK:
		t.served++
		t.took = append(t.took, float64(took.Microseconds())/1000)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		t.refused++
	default:
		t.other++
	}
}

// load is how requests are sent: over how many connections, how long each waits between two, and
// whether one that was refused waits as Retry-After says.
type load struct {
	request
	connections int
	pause       time.Duration
	obeys       bool
}

// start sends requests until ctx ends. The function it returns waits for the end.
func (l load) start(ctx context.Context, address string) func() tally {
	var all tally
	var mu sync.Mutex
	var sending sync.WaitGroup
	for range l.connections {
		sending.Go(func() {
			t := l.send(ctx, address)
			mu.Lock()
			defer mu.Unlock()
			all.served, all.refused, all.other = all.served+t.served, all.refused+t.refused, all.other+t.other
			all.took = append(all.took, t.took...)
		})
	}
	return func() tally { sending.Wait(); return all }
}

// send sends requests over one connection, and over another one where that is closed.
func (l load) send(ctx context.Context, address string) (t tally) {
	for ctx.Err() == nil {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			err = l.converse(ctx, c, &t)
		}
		if err != nil && ctx.Err() == nil {
			t.other++
			wait(ctx, 100*time.Millisecond)
		}
	}
	return t
}

// converse sends one request after the other over c.
func (l load) converse(ctx context.Context, c net.Conn, t *tally) error {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	in := bufio.NewReader(c)
	for ctx.Err() == nil {
		began := time.Now()
		if _, err := io.WriteString(c, string(l.request)); err != nil {
			return err
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return err
		}
		t.add(answer.StatusCode, time.Since(began))
		seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
		if l.obeys && seconds > 0 {
			wait(ctx, time.Duration(seconds)*time.Second)
		}
		wait(ctx, l.pause)
		if answer.Close {
			return nil
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
