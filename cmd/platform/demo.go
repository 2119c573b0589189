package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"wxplatform/internal/seal"
	"wxplatform/wechat/wechatsim"
)

type demoCmd struct {
	Once   bool   `help:"Exit after the last step; status 0 only if every step succeeded. 演示完即退出。"`
	Listen string `help:"The platform's address. 平台监听地址。" default:"127.0.0.1:0"`
	WeChat string `name:"wechat-listen" help:"The simulated WeChat's address. 模拟微信监听地址。" default:"127.0.0.1:0"`
	Field  bool   `help:"Let the simulated WeChat deviate from its documentation as seen in production. 模拟微信按真实环境中出现过的方式偏离文档。"`
	Seed   uint64 `help:"Repeat the deviations of another run; 0 picks a seed. 重现另一次运行的偏离；0 为随机。"`
	Log    bool   `help:"Show the platform's log lines too. 同时显示平台日志。"`
}

// Run starts the simulator and the platform, and walks through the steps over HTTP, as any caller
// would.
func (c demoCmd) Run(s shell) error {
	dir, err := os.MkdirTemp("", "wxplatform-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	d, err := c.setUp(dir, wechatsim.Config{Behaviour: wechatsim.Behaviour{Field: c.Field}, Seed: c.Seed})
	if err != nil {
		return err
	}
	running, ctx := errgroup.WithContext(ctx)
	if err := d.start(ctx, running, c.log(s)); err != nil {
		return err
	}
	failed := d.walkThrough(ctx, s)
	if failed == nil && !c.Once {
		failed = d.keepServing(ctx, s)
	}
	stop()
	return errors.Join(failed, running.Wait())
}

func (c demoCmd) log(s shell) io.Writer {
	if c.Log {
		return s.errOut
	}
	return io.Discard
}

// demo is a platform and a simulated WeChat on this machine.
type demo struct {
	env       map[string]string
	on        listeners
	wechatOn  net.Listener
	wechatURL string
	publicURL string
	sim       *wechatsim.Sim
	basic     string // id:secret of the client that the walkthrough created
}

// setUp opens the listeners and makes a configuration in which platform and simulator know each
// other's addresses.
func (c demoCmd) setUp(dir string, wechat wechatsim.Config) (*demo, error) {
	public, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, err
	}
	private, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	wechatOn, err := net.Listen("tcp", c.WeChat)
	if err != nil {
		return nil, err
	}
	d := &demo{on: listeners{public, private}, wechatOn: wechatOn, wechatURL: "http://" + wechatOn.Addr().String(), publicURL: "http://" + public.Addr().String()}
	wechat.EventURL, wechat.MessageURL = d.publicURL+"/wechat/events", d.publicURL+"/wechat/$APPID$/messages"
	if d.sim, err = wechatsim.New(wechat); err != nil {
		return nil, err
	}
	about := d.sim.Config()
	d.env = map[string]string{
		"PLATFORM_LISTEN": public.Addr().String(), "PLATFORM_PRIVATE_LISTEN": private.Addr().String(), "PLATFORM_PUBLIC_URL": d.publicURL,
		"PLATFORM_COMPONENT_APPID": string(about.AppID), "PLATFORM_COMPONENT_SECRET": about.Secret,
		"PLATFORM_COMPONENT_TOKEN": about.Token, "PLATFORM_COMPONENT_AES_KEY": about.AESKey,
		"PLATFORM_SEALING_KEYS": seal.NewKey(), "PLATFORM_DATABASE_URL": "sqlite:" + filepath.Join(dir, "platform.db"),
		"PLATFORM_WECHAT_URL": d.wechatURL, "PLATFORM_WECHAT_CONSENT_URL": d.wechatURL,
	}
	return d, nil
}

func (d *demo) lookup(name string) (string, bool) {
	value, ok := d.env[name]
	return value, ok
}

// start runs the platform and the simulator until ctx ends.
func (d *demo) start(ctx context.Context, running *errgroup.Group, log io.Writer) error {
	c, err := loadConfig(d.lookup, needsAll)
	if err != nil {
		return err
	}
	p, err := assemble(ctx, c, log)
	if err != nil {
		return err
	}
	running.Go(func() error { return p.run(ctx, d.on) })
	running.Go(func() error {
		defer d.sim.Close()
		return d.sim.Run(ctx)
	})
	running.Go(func() error { return serveSimulator(ctx, d.sim, d.wechatOn) })
	return nil
}

// serveSimulator serves sim until ctx ends, and then drops its requests: nobody waits for them.
func serveSimulator(ctx context.Context, sim http.Handler, on net.Listener) error {
	server := &http.Server{Handler: sim, ReadHeaderTimeout: 5 * time.Second}
	closing := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer closing()
	if err := server.Serve(on); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// operate runs one of the operator's commands against the demo's database and reads its JSON.
func (d *demo) operate(ctx context.Context, into any, args ...string) error {
	var out, errOut bytes.Buffer
	if code := run(shell{ctx, &out, &errOut, d.lookup, noEnvironment}, append(args, "--json")); code != 0 {
		return fmt.Errorf("platform %s: exit status %d: %s", args[0], code, errOut.String())
	}
	return json.Unmarshal(out.Bytes(), into)
}
