package wechatsim

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"wxplatform/internal/testenv"
	"wxplatform/wechat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testenv.Clean{M: m}) }

func (r *rig) lastPush() PushRecord {
	r.t.Helper()
	all := r.Pushes()
	if len(all) == 0 {
		r.t.Fatal("nothing was pushed")
	}
	return all[len(all)-1]
}

func TestMessagesAreTriedThreeTimesWithTheSameBytes(t *testing.T) {
	r := newRigAuthorized(t)
	seen := map[wechat.Push]bool{}
	r.inbox.answer = func(n int, p wechat.Push) (int, string) {
		seen[p] = true
		if n < 3 {
			return http.StatusServiceUnavailable, "success"
		}
		return http.StatusOK, "success"
	}
	r.must(r.CustomerMessage(SampleService, SampleCustomer, "hello"))
	if got := r.pushes(); len(got) != 3 || len(seen) != 1 {
		t.Errorf("got %d pushes, %d of them different, want 3 and 1", len(got), len(seen))
	}
	if got := r.lastPush(); !got.OK || got.Attempts != 3 || got.Kind != "text" || got.AppID != SampleService {
		t.Errorf("got %+v, want success at the third attempt", got)
	}
}

func TestOnlyExactlySuccessIsSuccess(t *testing.T) {
	r := newRig(t)
	for answer, want := range map[string]bool{"success": true, "success\n": false, "SUCCESS": false, "": false, `{"errcode":0}`: false} {
		r.inbox.answer = func(int, wechat.Push) (int, string) { return http.StatusOK, answer }
		r.PushTicket()
		r.pushes()
		if got := r.lastPush(); got.OK != want || got.Attempts != 1 {
			t.Errorf("%q: got %+v, want %t", answer, got, want)
		}
	}
	r.inbox.answer = func(int, wechat.Push) (int, string) { return http.StatusInternalServerError, "success" }
	r.PushTicket()
	r.pushes()
	if got := r.lastPush(); got.OK || !strings.Contains(got.Result, "500") {
		t.Errorf("got %+v, want the status", got)
	}
	r.SetBehaviour(Behaviour{RetryEvents: true})
	r.PushTicket()
	r.pushes()
	if got := r.lastPush(); got.Attempts != 3 {
		t.Errorf("got %+v, want three attempts", got)
	}
}

func TestPushGivesUpAfterItsTime(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Times.PushTimeout = 20 * time.Millisecond })
	stuck := make(chan struct{})
	r.inbox.answer = func(int, wechat.Push) (int, string) {
		<-stuck
		return http.StatusOK, "success"
	}
	r.PushTicket()
	r.must(r.Settle(context.Background()))
	close(stuck)
	if got := r.lastPush(); got.OK || strings.Contains(got.Result, "signature") {
		t.Errorf("got %+v, want a time-out without the URL", got)
	}
}

func TestPushesCanBeLostRepeatedAndReordered(t *testing.T) {
	r := newRigAuthorized(t)
	kinds := func() (text string) {
		for _, p := range r.pushes() {
			text += p.Content
		}
		return text
	}
	write := func(texts ...string) {
		for _, text := range texts {
			r.must(r.CustomerMessage(SampleService, SampleCustomer, text))
		}
	}
	r.must(r.FaultPushes(PushFault{Kind: "text", Do: Lose}))
	if write("a", "b"); kinds() != "b" {
		t.Error("the first is not lost, or the second is")
	}
	r.must(r.FaultPushes(PushFault{AppID: SampleService, Do: Repeat}))
	if write("a", "b"); kinds() != "aab" {
		t.Error("the first is not repeated")
	}
	r.must(r.FaultPushes(PushFault{Do: Hold}))
	if write("a", "b", "c"); kinds() != "bac" {
		t.Error("the first did not come after the second")
	}
	r.must(r.FaultPushes(PushFault{Do: Hold, Count: Always}))
	if write("a", "b"); kinds() != "" {
		t.Error("they are not held")
	}
	r.ClearFaults()
	if r.Release(); kinds() != "ab" {
		t.Error("they are not released in order")
	}
	if err := r.FaultPushes(PushFault{Do: "eat"}); err == nil {
		t.Error("got nil for an unknown effect")
	}
}

func TestPushesOfOneAccountKeepTheirOrder(t *testing.T) {
	r := newRigAuthorized(t)
	for i := range 50 {
		r.must(r.CustomerMessage(SampleService, SampleCustomer, string(rune('A'+i))))
	}
	for i, p := range r.pushes() {
		if p.Content != string(rune('A'+i)) {
			t.Fatalf("got %q at %d", p.Content, i)
		}
	}
}

func TestRunPushesTicketsUntilItsContextEnds(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Times.TicketInterval = 5 * time.Millisecond })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	for len(r.Pushes()) < 3 {
		time.Sleep(time.Millisecond)
	}
	r.StopTickets()
	r.must(r.Settle(ctx))
	before := len(r.Pushes())
	time.Sleep(20 * time.Millisecond)
	if got := len(r.Pushes()); got > before {
		t.Errorf("got %d pushes, want %d: tickets are stopped", got, before)
	}
	cancel()
	r.must(<-ended)
	for _, p := range r.pushes() {
		if p.InfoType != "component_verify_ticket" || p.query.Has("openid") {
			t.Errorf("got %+v, want a ticket, without an openid", p)
		}
	}
}

func TestCloseEndsRunAndAbandonsPushes(t *testing.T) {
	r := newRig(t)
	release := make(chan struct{})
	defer close(release)
	r.inbox.answer = func(int, wechat.Push) (int, string) {
		<-release
		return http.StatusOK, "success"
	}
	ended := make(chan error)
	go func() { ended <- r.Run(context.Background()) }()
	r.PushTicket()
	time.Sleep(10 * time.Millisecond)
	r.Close()
	r.must(<-ended)
	r.PushTicket() // this goes nowhere, and starts nothing
	if len(r.queues) != 0 {
		t.Error("a queue is left after Close")
	}
}

func TestProbe(t *testing.T) {
	r := newRig(t)
	r.must(r.Probe(t.Context(), r.Config().EventURL, ""))
	r.must(r.Probe(t.Context(), r.Config().MessageURL, SampleService))
	if err := r.Probe(t.Context(), r.server.URL, ""); err == nil {
		t.Error("got nil from a URL that echoes nothing")
	}
}

func TestSettleEndsWithItsContext(t *testing.T) {
	r := newRig(t)
	release := make(chan struct{})
	r.inbox.answer = func(int, wechat.Push) (int, string) {
		<-release
		return http.StatusOK, "success"
	}
	r.PushTicket()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := r.Settle(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's", err)
	}
	close(release)
	r.must(r.Settle(context.Background()))
}
