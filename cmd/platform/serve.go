package main

import (
	"errors"
	"log/slog"
	"runtime"

	"wxplatform/tenant"
)

type serveCmd struct{}

// heapReserve makes garbage collections of a small heap rarer: the collector runs when the heap has
// doubled, and counts this reserve, too. Nobody writes to it, so it takes no memory itself.
const heapReserve = 16 << 20

// Run serves until SIGTERM or SIGINT, and then finishes the requests in flight.
func (serveCmd) Run(s shell) error {
	reserve := make([]byte, heapReserve)
	defer runtime.KeepAlive(reserve)
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
