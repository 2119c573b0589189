package main

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wxplatform/wechat"
)

// surplusBytes reports connections to WeChat that held bytes no call had asked for. While
// connections are used only once because of that, /readyz says so, and each kind is logged once.
type surplusBytes struct {
	log    *slog.Logger
	count  *prometheus.CounterVec
	until  atomic.Int64 // Unix milliseconds; connections are used once until then
	logged map[wechat.SurplusBytes]*atomic.Int64
}

func newSurplusBytes(log *slog.Logger, metrics prometheus.Registerer) *surplusBytes {
	s := &surplusBytes{
		log: log,
		count: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wxplatform_wechat_surplus_total",
			Help: "Connections to WeChat closed because they held bytes that no call had asked for, by when the bytes were found: idle (before a request) or answered (with an answer or instead of one).",
		}, []string{"found"}),
		logged: map[wechat.SurplusBytes]*atomic.Int64{},
	}
	metrics.MustRegister(s.count)
	for _, kind := range []wechat.SurplusBytes{wechat.SurplusIdle, wechat.SurplusAnswered} {
		s.count.WithLabelValues(string(kind)) // The alert needs the zero before the first increase.
		s.logged[kind] = &atomic.Int64{}
	}
	return s
}

// note counts one such connection. It is wechat.Observer's Surplus.
func (s *surplusBytes) note(found wechat.SurplusBytes) {
	now := time.Now()
	s.count.WithLabelValues(string(found)).Inc()
	s.until.Store(now.Add(wechat.SingleUse).UnixMilli())
	last := s.logged[found].Load()
	if now.Sub(time.UnixMilli(last)) >= wechat.SingleUse && s.logged[found].CompareAndSwap(last, now.UnixMilli()) {
		s.log.Warn("WeChat's host sent bytes that no call asked for; its connections are used once for ten minutes. Logged once in that time, counted in wxplatform_wechat_surplus_total", "found", string(found), "alarm", true)
	}
}

func (s *surplusBytes) reason(now time.Time) text {
	until := time.UnixMilli(s.until.Load())
	if !now.Before(until) {
		return text{}
	}
	return sayf("WeChat's host sent bytes that no call asked for: its connections are used once until %s; find the proxy or gateway that duplicates answers",
		"微信一侧的主机发来了没有请求过的数据：%s 之前其连接只用一次；请找出重复应答的代理或网关", timeOfDay(until))
}
