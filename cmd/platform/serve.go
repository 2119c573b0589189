package main

import (
	"errors"
	"log/slog"
	"runtime"
	"runtime/debug"

	"wxplatform/tenant"
)

type serveCmd struct{}

// The collector runs when the heap has grown by a third since its last run, so that many merchants
// take less memory than with Go's default, which is that it doubles. heapReserve counts as heap,
// which makes collections of a small heap rarer. Nobody writes to it, so it takes no memory itself.
const (
	heapReserve   = 32 << 20
	growthPercent = 35
	growthDefault = 100 // Go's
)

// collectEarlier sets how much the heap grows between two collections, unless GOGC does.
func collectEarlier() {
	if set := debug.SetGCPercent(growthPercent); set != growthDefault {
		debug.SetGCPercent(set)
	}
}

// Run serves until SIGTERM or SIGINT, and then finishes the requests in flight.
func (serveCmd) Run(s shell) error {
	reserve := make([]byte, heapReserve)
	defer runtime.KeepAlive(reserve)
	collectEarlier()
	lines := &lineBuffer{to: s.errOut}
	defer lines.flush()
	log := slog.New(slog.NewJSONHandler(lines, nil))
	v := currentVersion()
	log.Info("starting", "version", v.Module, "revision", v.Revision, "go_version", v.Go)
	for _, name := range unknownSettings(s.environ()) {
		log.Warn("a variable of the environment looks like a setting and is none", "name", name)
	}
	c, err := loadConfig(s.lookup, needsAll)
	if err != nil {
		return err
	}
	on, err := listen(c)
	if err != nil {
		return err
	}
	p, err := assemble(s.ctx, c, lines)
	if err != nil {
		if s.ctx.Err() != nil {
			announceStop(s.ctx, log)
			log.Info("stopped", "clean", true)
		}
		return errors.Join(unlessEnded(s.ctx, err), on.public.Close(), on.private.Close())
	}
	if n := tenant.JWTLength(c.publicURL); n > tenant.LongestComfortable {
		log.Warn("PLATFORM_PUBLIC_URL is so long that a JWT for one account does not fit where WeChat's tokens go", "jwt_characters", n, "room", tenant.LongestComfortable)
	}
	if most := publicConnections(openFiles()); most < enoughConnections {
		log.Warn("the limit of open files is too small: idle connections of callers will be closed early", "open_files", openFiles(), "connections_limit", most, "needed", enoughConnections+filesForOthers)
	}
	log.Info("serving", "listen", on.public.Addr().String(), "private_listen", on.private.Addr().String(), "public_url", c.publicURL,
		"connections_limit", p.front.Connections().Most, "database", p.db.Engine(), "redis_in_process", c.redisURL.IsZero(), "component", string(c.component), "traces", c.traces != nil)
	p.drain = drainTime
	err = p.run(s.ctx, on)
	log.Info("stopped", "clean", err == nil)
	return err
}
