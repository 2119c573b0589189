package main

import (
	"context"
	"errors"

	"wxplatform/internal/mirror"
	"wxplatform/tenant"
)

// withTenants opens the database and Redis for an operator's command about tenants, clients or
// signing keys, and closes them afterwards. Through Redis, running replicas learn of a change at
// once.
func withTenants(s shell, work func(context.Context, *tenant.Registry) error) error {
	c, err := loadConfig(s.lookup, needsTenants)
	if err != nil {
		return err
	}
	d, err := openDatabase(s.ctx, c)
	if err != nil {
		return err
	}
	if err := adoptKeys(s.ctx, d, c.ring); err != nil {
		return errors.Join(err, d.Close())
	}
	m, err := mirror.Open(s.ctx, c.redisURL, d, c.ring)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	err = work(s.ctx, tenant.New(d, m, c.ring, c.publicURL))
	return errors.Join(err, m.Close(), d.Close())
}
