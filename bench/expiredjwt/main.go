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

	"wxplatform/bench/registry"
	"wxplatform/internal/seal"
	"wxplatform/tenant"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "expiredjwt:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: expiredjwt SECRET APPID")
	}
	return registry.Use(ctx, os.Getenv, os.Getenv("PLATFORM_PUBLIC_URL"), time.Now().Add(-3*time.Hour), func(tenants *tenant.Registry) error {
		return print(ctx, tenants, seal.NewSecret(args[0]), args[1])
	})
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
