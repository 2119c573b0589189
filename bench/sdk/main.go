// Command sdk runs WeChat SDKs, unmodified, against the platform and a simulated WeChat, and prints
// a table of SDKs and cases. It runs in its own folder; make sdk runs it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"wxplatform/bench/sdk/chanxuehong"
	"wxplatform/bench/sdk/fastwego"
	"wxplatform/bench/sdk/nodejs"
	"wxplatform/bench/sdk/powerwechat"
	"wxplatform/bench/sdk/replay"
	"wxplatform/bench/sdk/sdk"
	"wxplatform/bench/sdk/silenceper"
	"wxplatform/bench/sdk/world"
)

const root = "../.."

// subject is an SDK that runs here, or is replayed.
type subject struct {
	Name   string
	Open   func(sdk.Settings) (sdk.Client, error)
	Renews bool // gets a new token when its token is answered with 40001, and repeats the call
	Secure bool // speaks TLS only
	// PostsGets says that the SDK downloads with a POST. WeChat documents a GET, and 43001 for others.
	PostsGets bool
	Replayed  bool // only its bytes and its reading rules run here
}

func subjects() []subject {
	node := func(name string) func(sdk.Settings) (sdk.Client, error) {
		return nodejs.Package{Name: name, Dir: "node"}.Open
	}
	return []subject{
		{Name: "silenceper", Open: silenceper.Open},
		{Name: "PowerWeChat", Open: powerwechat.Open, Renews: true, PostsGets: true},
		{Name: "chanxuehong", Open: chanxuehong.Open, Renews: true},
		{Name: "fastwego", Open: fastwego.Open, Renews: true},
		{Name: "co-wechat-api", Open: node("co-wechat-api"), Renews: true, Secure: true},
		{Name: "wechat-api", Open: node("wechat-api")},
		{Name: "node-easywechat", Open: node("node-easywechat")},
		{Name: "WxJava", Open: replay.Open("WxJava"), Renews: true, Replayed: true},
		{Name: "EasyWeChat 6", Open: replay.Open("EasyWeChat 6"), Replayed: true},
		{Name: "EasyWeChat 5", Open: replay.Open("EasyWeChat 5"), Renews: true, Replayed: true},
		{Name: "Senparc", Open: replay.Open("Senparc"), Renews: true, Replayed: true},
		{Name: "wechatpy", Open: replay.Open("wechatpy"), Renews: true, Replayed: true},
	}
}

func main() {
	only := flag.String("only", "", "run the SDKs whose names match this regular expression")
	asJSON := flag.String("json", "", "write the table to this file, as JSON")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *only, *asJSON); err != nil {
		fmt.Fprintln(os.Stderr, "sdk:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only, asJSON string) error {
	which, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	dir, err := os.MkdirTemp("", "wxplatform-sdk-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Setenv("TMPDIR", dir); err != nil { // fastwego keeps tokens there
		return err
	}
	began := time.Now()
	s, err := newSuite(ctx, dir)
	if err != nil {
		return err
	}
	t := s.runAll(ctx, which)
	stopped := s.world.Stop()
	t.print(os.Stdout)
	fmt.Printf("\n%s\n", time.Since(began).Round(100*time.Millisecond))
	if err := t.save(asJSON); err != nil {
		return err
	}
	if stopped != nil {
		return fmt.Errorf("the platform stopped with %w", stopped)
	}
	return t.fault()
}

func newSuite(ctx context.Context, dir string) (*suite, error) {
	w, err := world.Start(ctx, root, dir)
	if err != nil {
		return nil, err
	}
	return &suite{world: w, file: filepath.Join(dir, "photo.jpg")}, nil
}

// save writes the table as JSON, for other programs.
func (t *table) save(file string) error {
	if file == "" {
		return nil
	}
	text, err := json.MarshalIndent(t.Rows, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
