package main

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// measureMemory prints the platform's resident memory after two calls for every merchant, and fails
// if it was ever more than allowed.
func measureMemory(ctx context.Context, out io.Writer, args []string) error {
	b := &bench{}
	flags := b.newFlags("memory", atOnce)
	flags.IntVar(&b.idle, "idle", 0, "authorizers that nobody calls, besides the merchants")
	most := flags.Float64("most", 256, "resident memory in MB, above which the measurement fails")
	_ = flags.Parse(args)
	return b.run(ctx, func(ctx context.Context) error { return b.measureMemory(ctx, out, *most) }, b.startPlatform, b.prepare)
}

func (b *bench) measureMemory(ctx context.Context, out io.Writer, most float64) error {
	before, err := b.platform.memory()
	if err := errors.Join(err, b.closeAll(ctx, b.platform), b.closeAll(ctx, b.platform)); err != nil {
		return err
	}
	now, bad := b.platform.memory()
	highest, worse := b.platform.highestMemory()
	if err := errors.Join(bad, worse); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "resident memory with %d JWTs of %d merchants in use, of %d authorizers: %.0f MB before, %.0f MB after, at most %.0f MB\n",
		b.merchants, b.merchants, b.merchants+b.idle, before, now, highest)
	if highest > most {
		err = errors.Join(err, fmt.Errorf("resident memory was %.0f MB, want at most %.0f", highest, most))
	}
	return err
}
