package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"syscall"
	"testing"

	"wxplatform/wechat/wechatsim"
)

// An operator who stops a platform while it starts sees no error of the database.
func TestStopWhileStartingIsNoFailure(t *testing.T) {
	t.Parallel()
	d, err := demoCmd{Listen: "127.0.0.1:0", WeChat: "127.0.0.1:0"}.setUp(t.TempDir(), wechatsim.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.sim.Close()
	defer func() { _ = d.wechatOn.Close() }()
	c, err := loadConfig(d.lookup, needsAll)
	if err != nil {
		t.Fatal(err)
	}
	p, err := assemble(context.Background(), c, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(context.Background())
	end()
	if err := p.run(ended, d.on); err != nil {
		t.Errorf("run of a context that ended: got %v, want nil", err)
	}
	d.env["PLATFORM_LISTEN"], d.env["PLATFORM_PRIVATE_LISTEN"] = "127.0.0.1:0", "127.0.0.1:0"
	var log bytes.Buffer
	if err := (serveCmd{}).Run(shell{stoppedBy(syscall.SIGTERM), &bytes.Buffer{}, &log, d.lookup, noEnvironment}); err != nil {
		t.Errorf("serve in a context that ended: got %v, want nil", err)
	}
	if said := log.String(); !strings.Contains(said, `"msg":"stopping","signal":"SIGTERM"`) || !strings.Contains(said, `"msg":"stopped"`) {
		t.Errorf("got %s, want the signal and the end in the log", said)
	}
}
