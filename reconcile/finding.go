package reconcile

import (
	"time"

	"wxplatform/authorizer"
	"wxplatform/wechat"
)

// Finding is what a walk found about one account.
type Finding string

// The findings.
const (
	Adopted      Finding = "adopted"       // WeChat lists it and it was not stored: it is now, for no tenant
	Returned     Finding = "returned"      // it withdrew and authorized again without an event: kept, for no tenant
	NotExchanged Finding = "not-exchanged" // WeChat lists it, but its auth code was never exchanged: there is no refresh token
	Offered      Finding = "refresh-token" // WeChat lists another refresh token, which is tried if ours is refused
	Ended        Finding = "reauthorize"   // WeChat refused its refresh token and lists no other one
	Missing      Finding = "missing"       // WeChat no longer lists it, and is asked whether it withdrew
)

// findingsKept is how many findings are named. All are counted.
const findingsKept = 1000

// Found is a finding with its appid.
type Found struct {
	AppID   wechat.AppID `json:"appid"`
	Finding Finding      `json:"finding"`
}

// Report is what a walk found so far. The first thousand findings are named, all are counted.
type Report struct {
	Begun    time.Time       `json:"begun"`
	Listed   int             `json:"listed"` // entries seen so far
	Total    int             `json:"total"`  // by WeChat's count
	Counts   map[Finding]int `json:"counts"`
	Findings []Found         `json:"findings"`
}

func newReport(begun time.Time) Report {
	return Report{Begun: begun.UTC(), Counts: map[Finding]int{}, Findings: []Found{}}
}

func (r *Report) add(id wechat.AppID, what Finding) {
	r.Counts[what]++
	if len(r.Findings) < findingsKept {
		r.Findings = append(r.Findings, Found{id, what})
	}
}

func (r *Report) addAll(some []authorizer.Listing, what Finding) {
	for _, one := range some {
		r.add(one.AppID, what)
	}
}
