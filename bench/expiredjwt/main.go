// Command expiredjwt prints a JWT that the platform would have given a client for an account three
// hours ago: it has expired, and nothing else is wrong with it. make sdk uses it. The client's
// secret and the appid are its arguments, and the platform's settings its environment.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
	"wxplatform/internal/seal"
	"wxplatform/tenant"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "expiredjwt:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	if len(args) != 2 {
		return errors.New("usage: expiredjwt SECRET APPID")
	}
	ring, err := seal.NewRing(seal.NewSecret(os.Getenv("PLATFORM_SEALING_KEYS")))
	if err != nil {
		return err
	}
	d, err := db.Open(ctx, seal.NewSecret(os.Getenv("PLATFORM_DATABASE_URL")))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Claim(ctx, os.Getenv("PLATFORM_COMPONENT_APPID")); err != nil {
		return err
	}
	m, err := mirror.Open(ctx, seal.Secret{}, d, ring)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	tenants := tenant.New(d, m, ring, os.Getenv("PLATFORM_PUBLIC_URL"))
	tenants.Now = func() time.Time { return time.Now().Add(-3 * time.Hour) }
	return print(ctx, tenants, seal.NewSecret(args[0]), args[1])
}

func print(ctx context.Context, tenants *tenant.Registry, secret seal.Secret, appid string) error {
	client, err := tenants.BySecret(ctx, secret)
	if err != nil {
		return err
	}
	grant, err := tenants.Bind(ctx, client, appid)
	if err == nil {
		fmt.Println(grant.Token.Reveal())
	}
	return err
}
