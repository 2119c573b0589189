package main

import "github.com/prometheus/client_golang/prometheus"

// usage collects what each tenant uses of this process. It has as many series as tenants have
// called since the process started.
type usage struct{ p *platform }

var (
	inFlightDesc      = prometheus.NewDesc("wxplatform_tenant_calls_in_flight", "Requests of a tenant that call WeChat now.", []string{"tenant"}, nil)
	admittedDesc      = prometheus.NewDesc("wxplatform_tenant_calls_total", "Requests of a tenant that were admitted to call WeChat.", []string{"tenant"}, nil)
	waitedDesc        = prometheus.NewDesc("wxplatform_tenant_calls_waited_total", "Requests of a tenant that waited until they were admitted or gave up.", []string{"tenant"}, nil)
	streamingDesc     = prometheus.NewDesc("wxplatform_tenant_streams_in_flight", "Requests of a tenant that upload or download as a stream now.", []string{"tenant"}, nil)
	streamsDesc       = prometheus.NewDesc("wxplatform_tenant_streams_total", "Requests of a tenant that were admitted to stream.", []string{"tenant"}, nil)
	streamsWaitedDesc = prometheus.NewDesc("wxplatform_tenant_streams_waited_total", "Requests of a tenant that waited until they were admitted to stream or gave up.", []string{"tenant"}, nil)
	paceDesc          = prometheus.NewDesc("wxplatform_tenant_pace", "Requests a second that a tenant may send while the requests of others wait for a processor. Absent for tenants that are not slowed down.", []string{"tenant"}, nil)
	refusedDesc       = prometheus.NewDesc("wxplatform_tenant_refused_total", "Requests of a tenant that were refused: rate (too many a second, for its limit or its pace), share (too many in flight), wait (within its share, but nothing became free in time), and stream-share and stream-wait for streams.", []string{"tenant", "reason"}, nil)
)

// Describe names the metrics.
func (usage) Describe(into chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{inFlightDesc, admittedDesc, waitedDesc, streamingDesc, streamsDesc, streamsWaitedDesc, paceDesc, refusedDesc} {
		into <- d
	}
}

// Collect returns the metrics of each tenant.
func (u usage) Collect(into chan<- prometheus.Metric) {
	count := func(desc *prometheus.Desc, kind prometheus.ValueType, n int64, labels ...string) {
		into <- prometheus.MustNewConstMetric(desc, kind, float64(n), labels...)
	}
	for _, t := range u.p.authorizers.Usage() {
		count(inFlightDesc, prometheus.GaugeValue, int64(t.InFlight), t.Tenant)
		count(admittedDesc, prometheus.CounterValue, t.Admitted, t.Tenant)
		count(waitedDesc, prometheus.CounterValue, t.Waited, t.Tenant)
		count(refusedDesc, prometheus.CounterValue, t.Over, t.Tenant, "share")
		count(refusedDesc, prometheus.CounterValue, t.Full, t.Tenant, "wait")
	}
	for _, t := range u.p.authorizers.StreamUsage() {
		count(streamingDesc, prometheus.GaugeValue, int64(t.InFlight), t.Tenant)
		count(streamsDesc, prometheus.CounterValue, t.Admitted, t.Tenant)
		count(streamsWaitedDesc, prometheus.CounterValue, t.Waited, t.Tenant)
		count(refusedDesc, prometheus.CounterValue, t.Over, t.Tenant, "stream-share")
		count(refusedDesc, prometheus.CounterValue, t.Full, t.Tenant, "stream-wait")
	}
	for id, pace := range u.p.tenants.Paces() {
		count(paceDesc, prometheus.GaugeValue, pace, string(id))
	}
	for id, n := range u.p.tenants.Refused() {
		count(refusedDesc, prometheus.CounterValue, n, string(id), "rate")
	}
}
