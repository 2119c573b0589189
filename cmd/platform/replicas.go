package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"wxplatform/replica"
)

// thisReplica describes this process to the other replicas, except for its address.
func thisReplica(c config) replica.Replica {
	self := replica.New()
	self.Host, _ = os.Hostname()
	self.Version = currentVersion().String()
	self.SealingKey = c.ring.Keys()[0].String()
	self.Redis = replica.Shared
	if c.redisURL.IsZero() {
		self.Redis = replica.InProcess
	}
	return self
}

// setAddress records the address of the operations listener.
func (h *health) setAddress(address string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.self.Address = address
}

// refusedLately is for how long a statement counts that the database refused for lack of space or
// of a right. The row that beat writes may still fit on a full disk, because it replaces an old
// one.
const refusedLately = time.Minute

// beat writes this replica's row, which shows whether SQL takes writes, and reads which others run.
func (p *platform) beat(ctx context.Context) {
	self, _ := p.health.replicas()
	self.Reasons = p.reasons(time.Now())
	self, err := p.replicas.Beat(ctx, self)
	if ctx.Err() != nil {
		return
	}
	p.health.writes.record(cmp.Or(err, p.db.Refused(refusedLately)))
	if err != nil {
		return
	}
	running, err := p.replicas.Running(ctx)
	if err == nil {
		p.health.setReplicas(self, replica.Others(self, running))
	}
}

// leave removes this replica's row. If that fails, the others soon stop counting it.
func (p *platform) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	self, _ := p.health.replicas()
	_ = p.replicas.Leave(ctx, self)
}

// setReplicas records this replica as it was last written, and the others as they were last read.
func (h *health) setReplicas(self replica.Replica, others []replica.Replica) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.self, h.others = self, others
}

// replicas returns this replica as it was last written, and the other replicas that run.
func (h *health) replicas() (self replica.Replica, others []replica.Replica) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.self, h.others
}

// replicaView is a replica as /readyz and the commands print it.
type replicaView struct {
	Host       string           `json:"host"`
	Address    string           `json:"private_listen"`
	Version    string           `json:"version"`
	SealingKey string           `json:"sealing_key"`
	Redis      replica.Redis    `json:"redis"`
	Ahead      float64          `json:"clock_ahead_seconds"` // of the database's clock; negative if behind
	Reasons    []replica.Reason `json:"reasons"`             // why it is degraded
	Started    *time.Time       `json:"started_at"`
	Seen       *time.Time       `json:"seen_at"`
}

func viewReplica(r replica.Replica) replicaView {
	return replicaView{
		Host: r.Host, Address: r.Address, Version: r.Version, SealingKey: r.SealingKey, Redis: r.Redis,
		Ahead: r.Ahead.Seconds(), Reasons: append([]replica.Reason{}, r.Reasons...), Started: timeOrNull(r.Started), Seen: timeOrNull(r.Seen),
	}
}

// line describes the replica for people.
func (v replicaView) line() text {
	en := fmt.Sprintf("%s (%s): %s, clock %+.1f s, %s Redis, seals with %s", v.Host, v.Address, v.Version, v.Ahead, v.Redis, v.SealingKey)
	zh := fmt.Sprintf("%s（%s）：%s，时钟差 %+.1f 秒，Redis %s，用 %s 加密", v.Host, v.Address, v.Version, v.Ahead, v.Redis, v.SealingKey)
	if len(v.Reasons) == 0 {
		return say(en+": ready", zh+"：就绪")
	}
	var why, whyZH []string
	for _, r := range v.Reasons {
		why, whyZH = append(why, r.Text), append(whyZH, cmp.Or(r.TextZH, r.Text))
	}
	return say(en+": degraded: "+strings.Join(why, "; "), zh+"：降级："+strings.Join(whyZH, "；"))
}

// replicasRunning lists the replicas of all machines that use this database.
func replicasRunning(running []replica.Replica) (all []finding) {
	do := say("each reason says what to do; each replica's log and /readyz say since when", "各原因中已说明处理办法；各副本的日志和 /readyz 写明开始时间")
	for _, r := range running {
		line := viewReplica(r).line()
		if len(r.Reasons) > 0 {
			all = append(all, warn("replicas", line, do))
			continue
		}
		all = append(all, ok("replicas", line))
	}
	if len(running) > 1 && slices.ContainsFunc(running, func(r replica.Replica) bool { return r.Redis == replica.InProcess }) {
		all = append(all, bad("replicas", sayf("%d replicas run, and not all share a Redis", "有 %d 个副本在运行，但没有共用同一个 Redis", len(running)),
			say("set PLATFORM_REDIS_URL to the same Redis for all of them, or run only one", "请为所有副本设置同一个 PLATFORM_REDIS_URL，或只运行一个副本")))
	}
	return all
}
