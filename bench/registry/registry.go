// Package registry opens a platform's tenants from outside the platform, to make JWTs that the
// platform itself would not give out.
package registry

import (
	"context"
	"errors"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
	"wxplatform/internal/seal"
	"wxplatform/tenant"
)

// Use opens the tenants of the platform with the given settings, as if its public URL were issuer
// and its clock showed now, and calls work. It needs the platform's database and sealing keys.
func Use(ctx context.Context, setting func(name string) string, issuer string, now time.Time, work func(*tenant.Registry) error) (err error) {
	ring, err := seal.NewRing(seal.NewSecret(setting("PLATFORM_SEALING_KEYS")))
	if err != nil {
		return err
	}
	d, err := db.Open(ctx, seal.NewSecret(setting("PLATFORM_DATABASE_URL")))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Claim(ctx, setting("PLATFORM_COMPONENT_APPID")); err != nil {
		return err
	}
	m, err := mirror.Open(ctx, seal.Secret{}, d, ring)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	tenants := tenant.New(d, m, ring, issuer)
	tenants.Now = func() time.Time { return now }
	return work(tenants)
}
