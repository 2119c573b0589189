//go:build failpoints

package faults

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"wxplatform/internal/db"
	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

const (
	authorizerToken = "/cgi-bin/component/api_authorizer_token"
	componentToken  = "/cgi-bin/component/api_component_token"
	queryAuth       = "/cgi-bin/component/api_query_auth"
	callers         = 300
	slack           = 4 * second // that a busy machine of two cores may add
)

// askedFor counts the token requests for the given merchants since the calls were reset.
func (w *world) askedFor(ids ...wechat.AppID) (n int) {
	of := map[wechat.AppID]bool{}
	for _, id := range ids {
		of[id] = true
	}
	for _, call := range w.sim.CallLog() {
		if call.Path == authorizerToken && of[call.AppID] {
			n++
		}
	}
	return n
}

// oneRefresh has a crowd call for one cold merchant while WeChat is slow.
func (w *world) oneRefresh(delay time.Duration) string {
	w.t.Helper()
	id := w.merchants(1)[0]
	w.sim.ResetCalls()
	w.sim.Fault(wechatsim.Fault{Path: authorizerToken, AppID: id, Count: wechatsim.Always, Delay: delay})
	got := w.crowd(callers, id).all()
	asks := w.askedFor(id)
	w.sim.ClearFaults()
	if asks != 1 || got.served != callers {
		w.t.Errorf("WeChat answers in %s: %d asks for one merchant, %s; want 1 and %d served", delay, asks, got, callers)
	}
	return fmt.Sprintf("%d ask, %s", asks, got)
}

// oneComponentToken has the component token rejected, and a crowd call that needs it.
func (w *world) oneComponentToken(delay time.Duration) string {
	w.t.Helper()
	ids := w.merchants(callers / 10)
	w.allowForced()
	before := w.componentAsks()
	w.sim.Fault(wechatsim.Fault{Path: componentToken, Count: wechatsim.Always, Delay: delay})
	if err := w.sim.Reject(wechatsim.DefaultAppID); err != nil {
		w.t.Fatal(err)
	}
	got := w.crowd(callers, ids...).all()
	asks := w.componentAsks() - before
	w.sim.ClearFaults()
	if asks != 1 || got.served != callers {
		w.t.Errorf("WeChat answers in %s: %d asks for the component token, %s; want 1 and %d served", delay, asks, got, callers)
	}
	return fmt.Sprintf("%d ask, %s", asks, got)
}

// allowForced resets the count of forced refreshes of the component token: this suite makes more
// than ten minutes allow.
func (w *world) allowForced() {
	w.t.Helper()
	if _, err := db.Exec(context.Background(), w.db, `UPDATE tokens SET forced_at = 0, forced_version = 0 WHERE kind = 'component'`); err != nil {
		w.t.Fatal(err)
	}
}

// holder kills the holder of the lease at a step of its refresh, or stops it and continues it after
// its lease. Every caller of the other replicas is served within the lease plus one call.
func (w *world) holder(step, what string) string {
	w.t.Helper()
	w.watch.beStrict()
	ids := w.merchants(1)
	kind, _, _ := strings.Cut(step, ".")
	if kind == "component" {
		w.allowForced()
		if err := w.sim.Reject(wechatsim.DefaultAppID); err != nil {
			w.t.Fatal(err)
		}
	}
	at := "token." + step
	fault, underWay := w.underWay(step)
	if underWay {
		at = "token." + kind + ".sending"
		w.arm(at, "")
		w.sim.Fault(fault)
	} else {
		w.arm(at, what)
	}
	c := w.crowd(callers, ids...)
	hit := w.struck(at)
	landed := time.After(fault.Delay + second)
	if underWay {
		time.Sleep(300 * time.Millisecond)
		hit.signal(map[string]syscall.Signal{"kill": syscall.SIGKILL, "stop": syscall.SIGSTOP}[what])
	}
	if what == "stop" {
		time.Sleep(w.plan.times.Lease + second)
		hit.signal(syscall.SIGCONT)
	}
	others, its := c.all(hit), c.of[hit]
	if what == "kill" {
		<-hit.gone
		hit.start()
	} else if its.lost() > 0 {
		w.t.Errorf("%s %s: the callers of the holder: %s", what, step, its)
	}
	if others.lost() > 0 || others.slowest > w.plan.times.Lease+w.plan.times.Call+slack {
		w.t.Errorf("%s %s: the callers of the others: %s; want all served within lease and call", what, step, others)
	}
	<-landed
	return others.String()
}

// underWay sets what WeChat does with a request whose sender is struck: it has acted and its answer
// is on the way, or the request arrives late, when another process has taken the lease and been
// answered.
func (w *world) underWay(step string) (wechatsim.Fault, bool) {
	kind, at, _ := strings.Cut(step, ".")
	path := map[string]string{"authorizer": authorizerToken, "component": componentToken}[kind]
	switch at {
	case "working":
		return wechatsim.Fault{Path: path, When: wechatsim.After, Delay: second}, true
	case "landing":
		return wechatsim.Fault{Path: path, When: wechatsim.Before, Delay: w.plan.times.Lease + w.plan.times.Call}, true
	}
	return wechatsim.Fault{}, false
}
