package wechatsim

import (
	"maps"
	"math"
	"strings"
	"time"

	"wxplatform/wechat"
)

// maxClearings is how often a quota may be cleared in a month.
const maxClearings = 10

// beijing has no daylight saving time, so a fixed zone is exact.
var beijing = time.FixedZone("Asia/Shanghai", 8*60*60)

// meter counts the calls of one account or of the component, and how often the counts were cleared.
type meter struct {
	usages   []usage // one for each API that was called; there are few
	month    int32
	clearing int32
}

type usage struct {
	endpoint uint8
	day      int32
	minute   int64
	today    uint32
	inMinute uint32
}

// defaultQuotas adds WeChat's documented quotas (docs/wechat.md, "Quotas").
func defaultQuotas(given map[string]Quota) map[string]Quota {
	quotas := map[string]Quota{componentTokenPath: {PerDay: 10_000}, customSendPath: {PerDay: 500_000}}
	maps.Copy(quotas, given)
	return quotas
}

// SetQuota limits an API from now on, for each account separately.
func (s *Sim) SetQuota(path string, q Quota) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quotas[path] = q
}

// spendQuota counts only calls that are not refused because of a quota.
func (s *Sim) spendQuota(c *call) error {
	limit := s.quotas[c.path]
	u := s.meterOf(c).usage(c.id, s.now())
	if limit.PerDay > 0 && int(u.today) >= limit.PerDay {
		return refuse(45009)
	}
	if limit.PerMinute > 0 && int(u.inMinute) >= limit.PerMinute {
		return refuse(45011)
	}
	u.today++
	u.inMinute++
	return nil
}

// meterOf returns the meter of the owner of the call's token. A refresh counts for component and
// authorizer together, or for the component alone: WeChat does not say which.
func (s *Sim) meterOf(c *call) *meter {
	if c.account != nil {
		return &c.account.meter
	}
	if c.path == authorizerTokenPath && !s.behaviour.OneRefreshQuota {
		if a := s.find(c.body.AuthorizerAppID); a != nil {
			return &a.meter
		}
	}
	return &s.componentMeter
}

func (m *meter) usage(endpoint uint8, now time.Time) *usage {
	u := m.find(endpoint)
	if day := beijingDay(now); u.day != day {
		u.day, u.today = day, 0
	}
	if minute := now.Unix() / 60; u.minute != minute {
		u.minute, u.inMinute = minute, 0
	}
	return u
}

func (m *meter) find(endpoint uint8) *usage {
	for i := range m.usages {
		if m.usages[i].endpoint == endpoint {
			return &m.usages[i]
		}
	}
	m.usages = append(m.usages, usage{endpoint: endpoint})
	return &m.usages[len(m.usages)-1]
}

func beijingDay(now time.Time) int32 {
	return int32((now.Unix() + 8*60*60) / (24 * 60 * 60))
}

// clear resets today's counts, except that of one API, at most ten times a month.
func (m *meter) clear(now time.Time, except uint8) error {
	year, month, _ := now.In(beijing).Date()
	if at := int32(year*12 + int(month)); m.month != at {
		m.month, m.clearing = at, 0
	}
	if m.clearing >= maxClearings {
		return refuse(48006)
	}
	m.clearing++
	for i := range m.usages {
		if m.usages[i].endpoint != except {
			m.usages[i].today = 0
		}
	}
	return nil
}

// clearQuota resets the counts of the token's owner. An authorizer's refreshes are the component's
// calls, so it does not reset those.
func (s *Sim) clearQuota(c *call) (any, error) {
	owner, m := s.config.AppID, &s.componentMeter
	if c.account != nil {
		owner, m = c.account.appID, &c.account.meter
	}
	if c.body.AppID == "" {
		return nil, refuse(41002)
	}
	if c.body.AppID != owner {
		return nil, refuse(40013)
	}
	return okAnswer, m.clear(s.now(), s.apis[authorizerTokenPath].id)
}

func (s *Sim) clearComponentQuota(*call) (any, error) {
	return okAnswer, s.componentMeter.clear(s.now(), noEndpoint)
}

// noEndpoint is the id of no API.
const noEndpoint = math.MaxUint8

// clearQuotaBySecret needs no token: a component that used up its quota cannot get one.
func (s *Sim) clearQuotaBySecret(c *call) (any, error) {
	if err := s.checkSecret(c.body.AppSecret); err != nil {
		return nil, err
	}
	if c.body.AppID == "" {
		return okAnswer, s.componentMeter.clear(s.now(), noEndpoint)
	}
	a := s.find(c.body.AppID)
	if a == nil || a.grant == nil {
		return nil, refuse(43007)
	}
	return okAnswer, a.meter.clear(s.now(), noEndpoint)
}

type quotaAnswer struct {
	plainAnswer
	Quota struct {
		DailyLimit int `json:"daily_limit"`
		Used       int `json:"used"`
		Remain     int `json:"remain"`
	} `json:"quota"`
	RateLimit struct {
		CallCount     int `json:"call_count"`
		RefreshSecond int `json:"refresh_second"`
	} `json:"rate_limit"`
}

// unlimited is reported for an API without a quota.
const unlimited = 100_000_000

func (s *Sim) quotaOf(c *call) (any, error) {
	asked, err := s.askedAPI(c.body.CGIPath)
	if err != nil {
		return nil, err
	}
	m := &s.componentMeter
	if c.account != nil {
		m = &c.account.meter
	}
	limit := s.quotas[asked.path]
	a := quotaAnswer{plainAnswer: okAnswer}
	a.Quota.DailyLimit = orUnlimited(limit.PerDay)
	a.Quota.Used = int(m.usage(asked.id, s.now()).today)
	a.Quota.Remain = a.Quota.DailyLimit - a.Quota.Used
	a.RateLimit.CallCount = orUnlimited(limit.PerMinute)
	a.RateLimit.RefreshSecond = 60
	return a, nil
}

func orUnlimited(limit int) int {
	if limit == 0 {
		return unlimited
	}
	return limit
}

func (s *Sim) askedAPI(path string) (endpoint, error) {
	if !strings.HasPrefix(path, "/") {
		return endpoint{}, refuse(76003)
	}
	if strings.HasPrefix(path, "/sns/") {
		return endpoint{}, refuse(76022)
	}
	e, known := s.apis[path]
	if !known {
		return endpoint{}, refuse(76021)
	}
	return e, nil
}

// Used returns how often an account, or the component, called an API today, as WeChat counts it.
func (s *Sim) Used(id wechat.AppID, path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &s.componentMeter
	if a := s.find(id); a != nil {
		m = &a.meter
	}
	return int(m.usage(s.apis[path].id, s.now()).today)
}
