package main

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"strings"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

// makeDatabase makes an empty database on the server at address, and returns its URL and what drops it.
func makeDatabase(ctx context.Context, address string) (string, func() error, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", nil, errors.New("TEST_POSTGRES_URL is no URL")
	}
	server, err := db.Open(ctx, seal.NewSecret(address))
	if err != nil {
		return "", nil, err
	}
	name := "bench_" + strings.ToLower(rand.Text()[:12])
	if _, err := db.Exec(ctx, server, "CREATE DATABASE "+name); err != nil {
		return "", nil, errors.Join(err, server.Close())
	}
	u.Path = "/" + name
	drop := func() error {
		_, err := db.Exec(context.WithoutCancel(ctx), server, "DROP DATABASE "+name+" WITH (FORCE)")
		return errors.Join(err, server.Close())
	}
	return u.String(), drop, nil
}
