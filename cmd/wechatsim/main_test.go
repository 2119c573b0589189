package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"wxplatform/wechat/wechatsim"
)

// screen holds what the command prints, and can be read while it runs.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func TestServesUntilItIsStopped(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("from-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PLATFORM_COMPONENT_SECRET_FILE", secret)
	t.Setenv("PLATFORM_COMPONENT_TOKEN", "newest,older")
	ctx, stop := context.WithCancel(t.Context())
	out, ended := &screen{}, make(chan error)
	go func() {
		ended <- run(ctx, []string{"--listen=127.0.0.1:0", "--synthetic=3", `--fault={"path":"/cgi-bin/*","count":2,"do":"cut"}`, "--with-rotate-on-refresh", "--time-overlap=30s", "--field"}, out)
	}()
	base := address(t, out)
	state := get(t, base+"/_sim/state")
	for _, want := range []string{`"synthetic":3`, `"do":"cut"`, `"rotate_on_refresh":true`, `"field":true`} {
		if !strings.Contains(state, want) {
			t.Errorf("got %s, want %s in it", state, want)
		}
	}
	if strings.Contains(out.String(), "from-a-file") || !strings.Contains(out.String(), "PLATFORM_WECHAT_URL="+base) {
		t.Errorf("got %s, want what to do next and no secret", out)
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func address(t *testing.T, out *screen) string {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if found := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(out.String()); found != "" {
			return found
		}
	}
	t.Fatalf("got %s, want an address", out)
	return ""
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Shutdown would wait for a connection that has had no request, and so would a user.
func TestStopsAtOnceWithAConnectionThatAFaultKept(t *testing.T) {
	for range 5 { // a busy machine may take as long as a stop that waits
		if stopsWithAKeptConnection(t) < 4*time.Second {
			return
		}
	}
	t.Error("it waits for the connection")
}

func stopsWithAKeptConnection(t *testing.T) (took time.Duration) {
	t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	ctx, stop := context.WithCancel(t.Context())
	out, ended := &screen{}, make(chan error)
	go func() {
		ended <- run(ctx, []string{"--listen=127.0.0.1:0", `--fault={"body":"{}"}`}, out)
	}()
	get(t, address(t, out)+"/cgi-bin/getcallbackip")
	stop()
	began := time.Now()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	return time.Since(began)
}

func TestHelpHasTheControlAPI(t *testing.T) {
	out := &screen{}
	if err := run(t.Context(), []string{"--help"}, out); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.String(), wechatsim.ControlHelp()) || !strings.Contains(out.String(), "--time-overlap") {
		t.Errorf("got %s, want the flags and the control API", out)
	}
}

func TestRefusesFaultyFlags(t *testing.T) {
	over, stop := context.WithCancel(t.Context())
	stop() // flags that are not refused serve, and end at once
	for _, args := range [][]string{
		{"--fault={"}, {`--fault={"do":"explode"}`}, {"--aes-key=short"}, {"--listen=nowhere"}, {"--nonsense"},
		{"--event-url=nonsense"}, {"--message-url=ftp://x/$APPID$"}, {"--appid=wx1"},
	} {
		if err := run(over, append([]string{"--listen=127.0.0.1:0"}, args...), io.Discard); err == nil {
			t.Errorf("%v: got nil, want an error", args)
		}
	}
	t.Setenv("PLATFORM_COMPONENT_SECRET_FILE", filepath.Join(t.TempDir(), "missing"))
	if err := run(over, []string{"--listen=127.0.0.1:0"}, io.Discard); err == nil {
		t.Error("missing file: got nil, want an error")
	}
}

func TestAnAddressThatIsPrintedCanBeReached(t *testing.T) {
	for listening, want := range map[string]string{"[::]:9080": "127.0.0.1:9080", "0.0.0.0:9080": "127.0.0.1:9080", "127.0.0.1:81": "127.0.0.1:81", "[::1]:81": "[::1]:81"} {
		if got := reachable(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(listening))); got != want {
			t.Errorf("got %s for %s, want %s", got, listening, want)
		}
	}
}
