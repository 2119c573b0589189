package main

import (
	"context"
	"errors"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
	"wxplatform/tenant"
)

// office is what the operator's commands about tenants, clients and keys work on: the database, and Redis so that running replicas learn of a change at once.
type office struct {
	db      *db.DB
	mirror  *mirror.Mirror
	tenants *tenant.Registry
}

// withOffice opens it for work and closes it after.
func withOffice(s stage, work func(context.Context, office) error) error {
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
	err = work(s.ctx, office{d, m, tenant.New(d, m, c.ring, c.publicURL)})
	return errors.Join(err, m.Close(), d.Close())
}

// stamp is how a time is shown in tables.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// moment is how a time is shown in JSON: null where there is none.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
