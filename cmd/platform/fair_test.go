package main

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

// One tenant has more calls in flight than there are slots, because WeChat does not answer for its
// account. Another tenant's calls, its renewals and its onboarding do not notice. `make fair`
// measures how little.
func TestANoisyTenantKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	noisy, quiet := w, w.as("quiet")
	noisy.grant(official, "1")
	quiet.grant(service, "1")
	w.settles()
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	w.sim.Fault(wechatsim.Fault{Path: sessionPath, AppID: official, Count: wechatsim.Always, Hold: hold})
	began := time.Now()
	answers := noisy.floods(600)
	for range 600 - 3*wechat.MostConnections/4 { // what an authorizer that is alone does not get
		answer := <-answers
		if answer.status == http.StatusServiceUnavailable && time.Since(began) > wechat.CallPatience {
			w.wants(answer, http.StatusServiceUnavailable, "wechat-unavailable")
			continue // it was admitted, and on a busy machine it timed out before others were sent
		}
		w.wants(answer, http.StatusTooManyRequests, "tenant-limit")
		if answer.header.Get("Retry-After") != "1" {
			t.Errorf("got %v, want it to say when to try again", answer.header)
		}
	}
	for range 50 {
		if answer := quiet.session(service); answer.status != http.StatusOK {
			t.Fatalf("got %d %s for the quiet tenant, want its session", answer.status, answer.body)
		}
	}
	quiet.grant(wechatsim.SampleUnverified, "1")
	renewals := w.sim.Calls(refreshPath)
	w.renewal(service)
	w.eventually("a renewal", func() bool { return w.sim.Calls(refreshPath) > renewals })
	if share, rate := noisy.refused("share"), noisy.refused("rate"); share == "0" && rate == "0" { // rate on a machine that others keep busy
		t.Error("got none refused in the metrics")
	}
	if got := quiet.refused("share"); got != "0" {
		t.Errorf("got %q calls of the quiet tenant refused, want none", got)
	}
	release()
	for range answers { // those that were admitted
	}
	w.eventually("every call to end", func() bool {
		return w.scrape(fmt.Sprintf(`wxplatform_tenant_calls_in_flight{tenant=%q}`, noisy.tenant)) == "0"
	})
}

// refused is how many of the tenant's requests the metrics say were refused, and why.
func (w *world) refused(why string) string {
	return w.scrape(fmt.Sprintf(`wxplatform_tenant_refused_total{reason=%q,tenant=%q}`, why, w.tenant))
}

// floods sends n requests at the same time, and returns their answers as they come.
func (w *world) floods(n int) <-chan reply {
	answers := make(chan reply, n)
	var asking sync.WaitGroup
	for range n {
		asking.Go(func() { answers <- w.session(official) })
	}
	go func() { asking.Wait(); close(answers) }()
	return answers
}
