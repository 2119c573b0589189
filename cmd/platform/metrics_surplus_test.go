package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

const (
	sessionPath = "/customservice/kfsession/getsession"
	theirKF     = "reader@laowang"
)

// twoMerchants opens a session for each of two merchants, with the same customer and different kf
// accounts.
func twoMerchants(t *testing.T) *world {
	t.Helper()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.grant(official, "1")
	w.settles()
	w.open(kfAccount)
	if err := w.sim.OpenSession(official, theirKF, customer); err != nil {
		t.Fatal(err)
	}
	for id, kf := range map[wechat.AppID]wechat.KFAccount{service: kfAccount, official: theirKF} {
		if answer := w.session(id); answer.field("kf_account") != string(kf) {
			t.Fatalf("got %d %s for %s, want %s", answer.status, answer.body, id, kf)
		}
	}
	return w
}

func (w *world) session(id wechat.AppID) reply {
	w.t.Helper()
	return w.ask("GET", fmt.Sprintf("/v1/authorizers/%s%s?openid=%s", id, sessionPath, customer), "")
}

// bothAsk keeps both merchants reading their sessions, and fails if one gets the other's session or
// a token.
func (w *world) bothAsk(each int) {
	w.t.Helper()
	var asking errgroup.Group
	for id, others := range map[wechat.AppID]string{service: theirKF, official: kfAccount} {
		asking.Go(func() error {
			for range each {
				if text := string(w.session(id).body); strings.Contains(text, others) || strings.Contains(text, "_token") {
					return fmt.Errorf("%s got %s", id, text)
				}
			}
			return nil
		})
	}
	if err := asking.Wait(); err != nil {
		w.t.Error(err)
	}
}

func TestASecondAnswerReachesNoOtherMerchant(t *testing.T) {
	t.Parallel()
	for _, wire := range []wechatsim.Wire{wechatsim.StrayAfter, wechatsim.StrayWith, wechatsim.StrayRecords} {
		t.Run(string(wire), func(t *testing.T) {
			w := twoMerchants(t)
			if w.platform.degraded("no call asked for") {
				t.Errorf("got %+v before anything happened", w.platform.ready(anyContext))
			}
			fault := wechatsim.Fault{Path: sessionPath, Wire: wire, Count: wechatsim.Always}
			if wire == wechatsim.StrayAfter {
				fault.Gap = 2 * time.Millisecond
			}
			w.sim.Fault(fault)
			w.bothAsk(40)
			w.eventually("the surplus bytes to be seen", func() bool {
				w.bothAsk(1)
				return w.platform.degraded("WeChat's host sent bytes that no call asked for")
			})
			alarms := 0
			for _, line := range w.lines() {
				if line["alarm"] == true {
					alarms++
				}
			}
			if alarms < 1 || alarms > 2 {
				t.Errorf("got %d alarms, want one for each kind of surplus bytes", alarms)
			}
			if idle, answered := w.scrape(`wxplatform_wechat_surplus_total{found="idle"}`), w.scrape(`wxplatform_wechat_surplus_total{found="answered"}`); idle == "0" && answered == "0" || idle == "" || answered == "" {
				t.Errorf("got %q and %q surplus bytes counted", idle, answered)
			}
		})
	}
}

// The answer to a refresh comes twice. Its tokens must be in no tenant's answer, and must become no
// other merchant's.
func TestASecondAnswerWithATokenReachesNobody(t *testing.T) {
	t.Parallel()
	for _, wire := range []wechatsim.Wire{wechatsim.StrayAfter, wechatsim.StrayWith, wechatsim.StrayRecords} {
		t.Run(string(wire), func(t *testing.T) {
			w := twoMerchants(t)
			fault := wechatsim.Fault{Path: refreshPath, Wire: wire, Count: wechatsim.Always}
			if wire == wechatsim.StrayAfter {
				fault.Gap = 2 * time.Millisecond
			}
			w.sim.Fault(fault)
			for range 3 {
				for _, id := range []wechat.AppID{service, official} {
					if err := w.sim.Reject(id); err != nil {
						t.Fatal(err)
					}
				}
				w.bothAsk(5)
			}
			w.sim.ClearFaults()
			for id, kf := range map[wechat.AppID]wechat.KFAccount{service: kfAccount, official: theirKF} {
				if answer := w.session(id); answer.field("kf_account") != string(kf) || w.authorizer(id).field("state") != "healthy" {
					t.Errorf("got %d %s for %s, want its own session by its own token", answer.status, answer.body, id)
				}
			}
		})
	}
}
