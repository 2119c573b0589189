package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

const quiet = 20 * time.Second // after which a line says what is running

// longest are the packages that take longest; they start first.
var longest = []string{"./cmd/platform", "./token", "./authorizer", "./internal/db", "./internal/mirror", "./tenant"}

// testAll runs every package with the race detector, then a selection of the fault suite, and then
// checks the answers that both got from the platform.
func testAll(ctx context.Context) (ok bool, err error) {
	const dir = "out/test"
	if err := emptied(dir); err != nil {
		return false, err
	}
	r := newResults(dir, os.Stdout)
	r.say("compiling with the race detector: some minutes the first time, some seconds after that")
	transcript, err := r.record()
	if err != nil {
		return false, err
	}
	var trouble []string
	packages := append(append([]string{"test", "-json", "-count=1", "-timeout=15m", "-p=4", "-parallel=" + parallel}, raceFlags...), append(longest, "./...")...)
	if err := r.goTest(ctx, ".", packages...); err != nil {
		trouble = append(trouble, "go test ./...: "+err.Error())
	}
	r.say("faults: real processes that are killed or cut off. \"Not served\" counts calls without an answer from WeChat: what a fault may cost while it lasts")
	if err := r.goTest(ctx, "faults", "test", "-json", "-count=1", "-timeout=10m", "-tags=failpoints", "-vet=off"); err != nil {
		trouble = append(trouble, "go test ./faults: "+err.Error())
	}
	r.say("openapi: the answers that the tests got, checked against docs/openapi.json; and a client made from it")
	if err := r.checkDocument(ctx, transcript); err != nil {
		trouble = append(trouble, "bench/openapi/run.sh: "+err.Error())
	}
	r.say("done")
	return r.summarize(os.Stdout, trouble), ctx.Err()
}

// record has the tests record the answers that they get, and returns the folder.
func (r *results) record() (folder string, err error) {
	if folder, err = filepath.Abs(filepath.Join(r.dir, "transcript")); err != nil {
		return "", err
	}
	return folder, errors.Join(emptied(folder), os.Setenv("TRANSCRIPT", folder))
}

// checkDocument checks the recorded answers against the OpenAPI document, and calls the platform
// with a client that is made from it. What is wrong is in the output.
func (r *results) checkDocument(ctx context.Context, transcript string) error {
	cmd := exec.CommandContext(ctx, "bench/openapi/run.sh", transcript)
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "answers: ") || strings.HasPrefix(line, "client: ") {
			r.facts = append(r.facts, line)
			continue
		}
		r.say("       %s", line)
	}
	return err
}

func emptied(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.MkdirAll(dir, 0o755)
}

// goTest runs a go command that prints events, and reads them.
func (r *results) goTest(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env, cmd.Stderr = dir, environ(), os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = r.read(out)
	if ended := cmd.Wait(); ended != nil && r.clean() {
		return errors.Join(err, ended)
	}
	return err
}

// clean reports whether no package has failed. Then a failure of the go command has another cause.
func (r *results) clean() bool {
	for _, p := range r.packages {
		if p.outcome != "pass" && p.outcome != "skip" {
			return false
		}
	}
	return true
}

// read reads events. If nothing is printed for a while, it prints what is running.
func (r *results) read(out io.Reader) error {
	events := make(chan event)
	var reading errgroup.Group
	reading.Go(func() error { defer close(events); return decode(out, events) })
	look := time.NewTicker(quiet / 4)
	defer look.Stop()
	for {
		select {
		case e, more := <-events:
			if !more {
				return reading.Wait()
			}
			r.add(e)
		case <-look.C:
			if time.Since(r.printed) > quiet {
				r.say("…      running: %s", cmp.Or(r.running(), "the compiler"))
			}
		}
	}
}

func decode(out io.Reader, events chan<- event) error {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if len(line) > 0 && json.Unmarshal(line, &e) == nil {
			events <- e
		} else if len(line) > 0 {
			events <- event{Output: string(line)} // go's own output
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read go test's events: %w", err)
		}
	}
}
