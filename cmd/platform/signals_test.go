package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"wxplatform/wechat/wechatsim"
)

func TestASignalEndsTheContextAndIsItsCause(t *testing.T) {
	for signal, status := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		ctx, release := untilStopped(context.Background())
		if err := syscall.Kill(os.Getpid(), signal); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Minute):
			t.Fatalf("%v: the context did not end", signal)
		}
		if by, is := stopOf(ctx); !is || by.signal != signal || by.status() != status || !errors.Is(context.Cause(ctx), context.Canceled) {
			t.Errorf("%v: got %v, status %d, want that signal and %d", signal, by, by.status(), status)
		}
		release()
	}
	ctx, release := untilStopped(context.Background())
	release()
	if by, is := stopOf(ctx); is {
		t.Errorf("got %v for a context that was released, want no signal", by)
	}
}

// stoppedBy is a context that was ended by a signal.
func stoppedBy(signal syscall.Signal) context.Context {
	ctx, end := context.WithCancelCause(context.Background())
	end(stopped{signal})
	return ctx
}

// A command that is stopped says so, and not what it was just waiting for.
func TestAStoppedCommandSaysOnlyThat(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for _, command := range []string{
		"authorizer list", "authorizer show wx5a3e1c0b7d2f4801", "tenant list", "tenant create x", "client list t1", "key list",
		"key sealing", "reconcile", "reseal", "migrate", "ready", "demo --once", "authorizer list --json", "audit list", "audit follow",
		"reconcile --json", "ready --json", "doctor", "doctor --json",
	} {
		w.saysOnlyThatItStopped(command, shell{ctx: stoppedBy(syscall.SIGINT), lookup: w.lookup, environ: noEnvironment})
	}
}

// saysOnlyThatItStopped runs a command that Ctrl-C stops.
func (w *world) saysOnlyThatItStopped(command string, s shell) (out string) {
	w.t.Helper()
	printed, errOut := &bytes.Buffer{}, &bytes.Buffer{}
	s.out, s.errOut = printed, errOut
	code := run(s, strings.Fields(command))
	last := strings.TrimSpace(errOut.String())
	last = last[strings.LastIndex(last, "\n")+1:]
	blames := strings.Contains(errOut.String()+printed.String(), "cancel") || strings.Contains(printed.String(), "✗") || strings.Contains(printed.String(), "unreachable")
	if code != 130 || last != "platform: stopped. 已停止" || blames {
		w.t.Errorf("%s: got status %d, %q and %q, want 130 and only that it was stopped", command, code, printed, errOut)
	}
	return printed.String()
}

// What a command was waiting for when it was stopped is not to blame.
func TestACommandThatIsStoppedWhileItWaitsSaysOnlyThat(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for _, command := range []string{"doctor", "doctor --json", "ready", "ready --json", "reconcile", "reconcile --json"} {
		ctx, end := context.WithCancelCause(context.Background())
		slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			end(stopped{syscall.SIGINT})
			_, _ = io.Copy(io.Discard, r.Body) // the server notices only then that its caller leaves
			<-r.Context().Done()
		}))
		lookup := func(name string) (string, bool) {
			switch {
			case name == "PLATFORM_WECHAT_URL":
				return slow.URL, true
			case name == "PLATFORM_PRIVATE_LISTEN" && strings.HasPrefix(command, "ready"):
				return slow.Listener.Addr().String(), true
			}
			return w.lookup(name)
		}
		out := w.saysOnlyThatItStopped(command, shell{ctx: ctx, lookup: lookup, environ: noEnvironment})
		if found := strings.Contains(out, "✓ database"); found != (command == "doctor") {
			t.Errorf("%s: got %q, want what doctor found before", command, out)
		}
		slow.Close()
		end(nil)
	}
}

func TestServeLogsTheSignalThatStopsIt(t *testing.T) {
	t.Parallel()
	d, err := demoCmd{Listen: "127.0.0.1:0", WeChat: "127.0.0.1:0"}.setUp(t.TempDir(), wechatsim.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.sim.Close()
	for _, on := range []io.Closer{d.on.public, d.on.private, d.wechatOn} {
		if err := on.Close(); err != nil {
			t.Fatal(err)
		}
	}
	d.env["PLATFORM_LISTEN"], d.env["PLATFORM_PRIVATE_LISTEN"] = "127.0.0.1:0", "127.0.0.1:0"
	ctx, end := context.WithCancelCause(context.Background())
	log, code := &locked{}, make(chan int, 1)
	go func() { code <- run(shell{ctx, io.Discard, log, d.lookup, noEnvironment}, []string{"serve"}) }()
	serving := func() (bool, error) { return strings.Contains(log.String(), `"msg":"serving"`), nil }
	if err := until(context.Background(), "the platform to serve", serving); err != nil {
		t.Fatal(err)
	}
	end(stopped{syscall.SIGTERM})
	if got := <-code; got != 0 || !strings.Contains(log.String(), `"msg":"stopping","signal":"SIGTERM"`) {
		t.Errorf("got status %d and %s, want 0 and the signal in the log", got, log)
	}
}
