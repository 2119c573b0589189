package main

import (
	"errors"
	"log/slog"
	"runtime"

	"wxplatform/tenant"
)

type serveCmd struct{}

// The garbage collector runs when the heap has doubled. It counts this reserve too, which nobody writes to and which so takes no memory itself:
// a small heap is collected less often, for at most as much memory more, and a large one as ever.
const heapReserve = 16 << 20

// Run serves until SIGTERM or SIGINT, and then finishes what is under way.
func (serveCmd) Run(s stage) error {
	c, err := loadConfig(s.lookup, needsAll)
	if err != nil {
		return err
	}
	reserve := make([]byte, heapReserve)
	defer runtime.KeepAlive(reserve)
	lines := &lineBuffer{to: s.errOut}
	defer lines.flush()
	log := slog.New(slog.NewJSONHandler(lines, nil))
	on, err := listen(c)
	if err != nil {
		return err
	}
	p, err := assemble(s.ctx, c, log)
	if err != nil {
		return errors.Join(err, on.public.Close(), on.private.Close())
	}
	if tenant.JWTLength(c.publicURL, 0) > tenant.LongestComfortable {
		log.Warn("PLATFORM_PUBLIC_URL is so long that JWTs exceed 512 characters")
	}
	log.Info("serving", "listen", on.public.Addr().String(), "private_listen", on.private.Addr().String(), "public_url", c.publicURL,
		"database", p.db.Engine(), "redis_in_process", c.redisURL.IsZero(), "component", string(c.component))
	p.notice = stopNotice
	err = p.run(s.ctx, on)
	log.Info("stopped", "clean", err == nil)
	return err
}
