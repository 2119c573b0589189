package wechat

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

func TestAConnectionSettlesBetweenCalls(t *testing.T) {
	base, opened := answers(t, func(_ int64, w io.Writer) bool {
		_, _ = io.WriteString(w, plainAnswer)
		return true
	})
	client := NewClient(base, Observer{})
	defer client.CloseIdle()
	for range 2 {
		if _, err := client.Do(context.Background(), call()); err != nil {
			t.Fatal(err)
		}
	}
	if got := opened.Load(); got != 2 {
		t.Errorf("got %d connections for two calls at once after the other, want 2", got)
	}
	time.Sleep(settleTime)
	if _, err := client.Do(context.Background(), call()); err != nil || opened.Load() != 2 {
		t.Errorf("got %v on %d connections, want one of the two, which have rested", err, opened.Load())
	}
}

func conns(since ...time.Duration) *idle {
	i := &idle{}
	for _, s := range since {
		i.conns = append(i.conns, &connection{since: time.Now().Add(-s)})
	}
	return i
}

func TestTheSettledConnectionUsedLastIsTaken(t *testing.T) {
	i := conns(4*settleTime, 3*settleTime, 2*settleTime, settleTime/4, settleTime/8)
	want := i.conns[2]
	if got := i.take(1); got != want || len(i.conns) != 4 {
		t.Errorf("got one that is idle for %v, want %v", time.Since(got.since), 2*settleTime)
	}
	if got := conns(settleTime / 4).take(1); got != nil {
		t.Error("got a connection that has not rested, want nil so that one is dialled")
	}
	const inUse = 30
	many := &idle{}
	for range mostIdle - inUse {
		many.conns = append(many.conns, &connection{since: time.Now()})
	}
	if got := many.take(inUse); got != nil {
		t.Error("got a connection that has not rested, want nil while there may be more")
	}
	want = many.conns[0]
	if got := many.take(inUse + 1); got != want {
		t.Error("got another than the one that has rested for longest of very many")
	}
}

// Without file descriptors, the open connections are still used.
func TestAnUnsettledConnectionIsUsedIfNoneCanBeDialled(t *testing.T) {
	base, opened := answers(t, func(_ int64, w io.Writer) bool {
		_, _ = io.WriteString(w, plainAnswer)
		return true
	})
	client := NewClient(base, Observer{})
	defer client.CloseIdle()
	if _, err := client.Do(context.Background(), call()); err != nil {
		t.Fatal(err)
	}
	client.host.address = "127.0.0.1:1"
	if _, err := client.Do(context.Background(), call()); err != nil || opened.Load() != 1 {
		t.Errorf("got %v on %d connections, want the one that there is", err, opened.Load())
	}
}

func TestAfterSurplusBytesEachConnectionIsUsedOnce(t *testing.T) {
	host := &requestsBy{of: map[string]int{}}
	server := httptest.NewServer(host)
	defer server.Close()
	var surplus atomic.Int64
	client := NewClient(server.URL, Observer{Surplus: func(SurplusBytes) { surplus.Add(1) }})
	defer client.CloseIdle()
	one := func() {
		t.Helper()
		if _, err := client.Do(context.Background(), call()); err != nil {
			t.Fatal(err)
		}
		rested(client)
	}
	one()
	client.host.found(SurplusIdle)
	if surplus.Load() != 1 || len(client.host.idle.conns) != 0 {
		t.Errorf("got %d reports and %d idle connections, want one and none", surplus.Load(), len(client.host.idle.conns))
	}
	for range 3 {
		one()
	}
	if host.going != 1 || len(host.of) < 4 || host.most() != 1 {
		t.Errorf("got %d requests that let their connection go on, and %d at most on one", host.going, host.most())
	}
	until := client.host.made.Add(time.Duration(client.host.onceUntil.Load()) * time.Millisecond)
	if left := time.Until(until); left < 9*time.Minute || left > 10*time.Minute {
		t.Errorf("got that this lasts for %v, want ten minutes", left)
	}
	client.host.onceUntil.Store(time.Since(client.host.made).Milliseconds())
	one()
	one()
	if host.most() != 2 {
		t.Errorf("got %d requests at most on one connection after that, want 2", host.most())
	}
}

// repeats asks twice. The host closes the first connection without an answer to its second request.
func repeats(t *testing.T, how Call) (requests int64, err error) {
	t.Helper()
	var got atomic.Int64
	base, _ := answers(t, func(n int64, w io.Writer) bool {
		if got.Store(n); n == 2 {
			return false
		}
		_, _ = io.WriteString(w, plainAnswer)
		return true
	})
	client := NewClient(base, Observer{})
	defer client.CloseIdle()
	if _, err := client.Do(context.Background(), how); err != nil {
		t.Fatal(err)
	}
	rested(client)
	_, err = client.Do(context.Background(), how)
	return got.Load(), err
}

func TestOnlyWhatIsSafeToRepeatIsRepeatedWhereAKeptConnectionEnds(t *testing.T) {
	read := Call{Method: http.MethodGet, Path: "/x", As: AccessToken, Repeatable: true}
	if requests, err := repeats(t, read); err != nil || requests != 3 {
		t.Errorf("got %v after %d requests, want a read to be repeated", err, requests)
	}
	if requests, err := repeats(t, call()); !MayHaveActed(err) || requests != 2 {
		t.Errorf("got %v after %d requests, want a write's outcome to be unknown", err, requests)
	}
}

// A host that never answers gets a read at most twice.
func TestAReadIsRepeatedOnce(t *testing.T) {
	var requests atomic.Int64
	base, _ := answers(t, func(n int64, w io.Writer) bool {
		requests.Store(n)
		if n > 3 {
			return false
		}
		_, _ = io.WriteString(w, plainAnswer)
		return true
	})
	client := NewClient(base, Observer{})
	defer client.CloseIdle()
	read := Call{Method: http.MethodGet, Path: "/x", As: AccessToken, Repeatable: true}
	for range 3 {
		if _, err := client.Do(context.Background(), read); err != nil {
			t.Fatal(err)
		}
	}
	rested(client)
	if _, err := client.Do(context.Background(), read); !MayHaveActed(err) || requests.Load() != 5 {
		t.Errorf("got %v after %d requests, want a failure after the second of this read", err, requests.Load()-3)
	}
}

// What arrives sooner than any answer could was sent before the request was written.
func TestBytesThatComeTooEarlyAreNotAnAnswer(t *testing.T) {
	base, _ := answers(t, func(_ int64, w io.Writer) bool {
		_, _ = io.WriteString(w, plainAnswer)
		return true
	})
	var found []SurplusBytes
	client := NewClient(base, Observer{Surplus: func(where SurplusBytes) { found = append(found, where) }})
	defer client.CloseIdle()
	if _, err := client.Do(context.Background(), call()); err != nil {
		t.Fatal(err)
	}
	rested(client)
	client.host.idle.conns[0].early = time.Minute // as if the host were that far away
	if _, err := client.Do(context.Background(), call()); !MayHaveActed(err) || len(found) != 1 || found[0] != SurplusAnswered {
		t.Errorf("got %v and %v, want an unknown outcome and surplus bytes in the place of an answer", err, found)
	}
}
