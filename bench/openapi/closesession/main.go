// Command closesession closes a customer-service session of `platform demo`, with nothing but the
// client that oapi-codegen makes from the OpenAPI document: a proof that the document is enough to
// write a caller.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"time"

	"wxplatform/bench/openapi/client"
)

func main() {
	program := flag.String("platform", "", "the built program")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, os.Stdout, *program); err != nil {
		fmt.Fprintln(os.Stderr, "closesession:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, program string) error {
	d, err := start(ctx, program)
	if err != nil {
		return err
	}
	defer d.stop()
	s, err := d.signIn(ctx)
	if err != nil {
		return err
	}
	if err := s.closeOnce(ctx); err != nil {
		return err
	}
	if err := s.closeAgain(ctx); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "client: a client made from the OpenAPI document closed a session, and read the problem of closing it again")
	return err
}

// demo is a running `platform demo`, as its output describes it.
type demo struct {
	url, id, secret string
	appid           string
	session         client.Session
	stop            func()
}

// said is what the demo tells its user to paste.
var said = regexp.MustCompile(`(?s)-u '([^:]+):([^']+)' .*? (http://\S+)/oauth/token.*/v1/authorizers/(\w+)/\S+ .*'\{"kf_account":"([^"]+)","openid":"([^"]+)"\}'`)

// start starts the demo and waits until it serves.
func start(ctx context.Context, program string) (*demo, error) {
	cmd := exec.CommandContext(ctx, program, "demo", "--listen", "127.0.0.1:0")
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start the demo: %w", err)
	}
	stop := func() { _ = cmd.Cancel(); _ = cmd.Wait() }
	d, err := read(out)
	if err != nil {
		stop()
		return nil, err
	}
	d.stop = stop
	return d, nil
}

// read reads the demo's output until it has said everything.
func read(out io.Reader) (*demo, error) {
	text := ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		text += lines.Text() + "\n"
		if found := said.FindStringSubmatch(text); found != nil {
			return &demo{id: found[1], secret: found[2], url: found[3], appid: found[4], session: client.Session{KfAccount: found[5], Openid: found[6]}}, nil
		}
	}
	return nil, fmt.Errorf("the demo ended; it said:\n%s", text)
}
