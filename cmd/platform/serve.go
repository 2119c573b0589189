package main

import (
	"errors"
	"log/slog"

	"wxplatform/tenant"
)

type serveCmd struct{}

// Run serves until SIGTERM or SIGINT, and then finishes what is under way.
func (serveCmd) Run(s stage) error {
	c, err := loadConfig(s.lookup, needsAll)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(s.errOut, nil))
	on, err := listen(c)
	if err != nil {
		return err
	}
	p, err := assemble(s.ctx, c, log)
	if err != nil {
		return errors.Join(err, on.public.Close(), on.private.Close())
	}
	if tenant.JWTLength(c.publicURL, tenant.Every) > tenant.LongestComfortable {
		log.Warn("PLATFORM_PUBLIC_URL is so long that JWTs exceed 512 characters")
	}
	log.Info("serving", "listen", on.public.Addr().String(), "private_listen", on.private.Addr().String(), "public_url", c.publicURL,
		"database", p.db.Engine(), "redis_in_process", c.redisURL.IsZero(), "component", string(c.component))
	err = p.run(s.ctx, on)
	log.Info("stopped", "clean", err == nil)
	return err
}
