package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

// takeProfile has the platform, which runs with PLATFORM_PPROF=on, write a CPU profile during one
// more round, if a file was named for it.
func (b *bench) takeProfile(ctx context.Context) error {
	if b.profile == "" {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return b.fetchProfile(ctx) })
	group.Go(func() error {
		_, err := b.load(ctx, b.platform, b.duration+2*time.Second)
		return err
	})
	return group.Wait()
}

func (b *bench) fetchProfile(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", b.private, int(b.duration.Seconds())), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	file, err := os.Create(b.profile)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, response.Body)
	return errors.Join(err, file.Close())
}
