// Package world is a built platform in a process of its own, a simulated WeChat, and merchants that
// authorized the platform.
package world

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"wxplatform/internal/seal"
	"wxplatform/wechat/wechatsim"
)

// World is what all cases share. Its methods fail by an error; nothing in it is for concurrent use.
type World struct {
	Sim    *wechatsim.Sim
	WeChat *Upstream // every call that reaches WeChat
	Dir    string

	binary   string
	settings []string
	public   string // URL of the platform
	listen   string
	private  string
	process  *exec.Cmd
	stop     context.CancelFunc
	log      *os.File
}

// Start builds the platform in root, starts it and the simulator, and waits until the platform has
// a ticket. What it writes is in dir.
func Start(ctx context.Context, root, dir string) (*World, error) {
	w := &World{Dir: dir, binary: filepath.Join(dir, "platform")}
	if err := build(ctx, root, dir); err != nil {
		return nil, err
	}
	ctx, w.stop = context.WithCancel(ctx)
	if err := w.configure(ctx); err != nil {
		return nil, errors.Join(err, w.Stop())
	}
	if err := w.serve(ctx); err != nil {
		return nil, errors.Join(err, w.Stop(), errors.New(w.Log()))
	}
	return w, nil
}

// Log returns what the platform logged so far.
func (w *World) Log() string {
	text, err := os.ReadFile(filepath.Join(w.Dir, "platform.log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// build makes the binary as the Dockerfile ships it, and a program that makes expired JWTs.
func build(ctx context.Context, root, dir string) error {
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s", "-o", dir+"/", "./cmd/platform", "./bench/expiredjwt")
	command.Dir, command.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

func (w *World) configure(ctx context.Context) error {
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if w.listen, err = freeAddress(20000 + os.Getpid()%4000); err != nil {
		return err
	}
	if w.private, err = freeAddress(25000 + os.Getpid()%4000); err != nil {
		return err
	}
	w.public = "http://" + w.listen
	w.Sim, err = wechatsim.New(wechatsim.Config{EventURL: w.public + "/wechat/events", MessageURL: w.public + "/wechat/$APPID$/messages"})
	if err != nil {
		return err
	}
	w.WeChat = &Upstream{sim: w.Sim}
	go func() { _ = http.Serve(on, w.WeChat) }()
	go func() { _ = w.Sim.Run(ctx) }()
	w.settings = w.environment("http://" + on.Addr().String())
	return nil
}

// environment is that of the platform, without a setting of the caller's.
func (w *World) environment(wechat string) []string {
	about := w.Sim.Config()
	return []string{
		"PLATFORM_LISTEN=" + w.listen, "PLATFORM_PRIVATE_LISTEN=" + w.private, "PLATFORM_PUBLIC_URL=" + w.public,
		"PLATFORM_COMPONENT_APPID=" + string(about.AppID), "PLATFORM_COMPONENT_SECRET=" + about.Secret,
		"PLATFORM_COMPONENT_TOKEN=" + about.Token, "PLATFORM_COMPONENT_AES_KEY=" + about.AESKey,
		"PLATFORM_SEALING_KEYS=" + seal.NewKey(), "PLATFORM_DATABASE_URL=sqlite:" + filepath.Join(w.Dir, "platform.db"),
		"PLATFORM_WECHAT_URL=" + wechat, "PLATFORM_WECHAT_CONSENT_URL=" + wechat,
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
	}
}

// freeAddress returns the first free address from a port on, below the ports that the kernel gives
// to clients.
func freeAddress(port int) (string, error) {
	for ; port < 30000; port++ {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if on, err := net.Listen("tcp", address); err == nil {
			return address, on.Close()
		}
	}
	return "", errors.New("there is no free port")
}

// serve starts the platform, which does not outlive this process, and has WeChat push a ticket.
func (w *World) serve(ctx context.Context) (err error) {
	if w.log, err = os.Create(filepath.Join(w.Dir, "platform.log")); err != nil {
		return err
	}
	w.process = exec.Command(w.binary, "serve")
	w.process.Env, w.process.Stdout, w.process.Stderr = w.settings, w.log, w.log
	w.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := w.process.Start(); err != nil {
		return err
	}
	if err := w.until(ctx, "the platform to start", func() bool { return w.readiness() != "" }); err != nil {
		return err
	}
	w.Sim.PushTicket()
	return w.until(ctx, "the platform to be ready", func() bool { return w.readiness() == "ready" })
}

func (w *World) readiness() string {
	var said struct{ Status string }
	answer, err := http.Get("http://" + w.private + "/readyz")
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	_ = json.NewDecoder(answer.Body).Decode(&said)
	return said.Status
}

// until waits for a condition, for at most half a minute.
func (w *World) until(ctx context.Context, what string, is func() bool) error {
	return within(ctx, 30*time.Second, what, is)
}

func within(ctx context.Context, patience time.Duration, what string, is func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !is() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("timed out waiting for %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// Operate runs one of the operator's commands, and reads its JSON.
func (w *World) Operate(into any, args ...string) error {
	command := exec.Command(w.binary, append(args, "--json")...)
	var said bytes.Buffer
	command.Env, command.Stderr = w.settings, &said
	out, err := command.Output()
	if err != nil {
		return fmt.Errorf("platform %v: %w\n%s", args, err, &said)
	}
	return json.Unmarshal(out, into)
}

// Stop ends the platform and the simulator. It fails unless the platform ends in order.
func (w *World) Stop() error {
	w.stop()
	if w.process == nil || w.process.Process == nil {
		return nil
	}
	_ = w.process.Process.Signal(syscall.SIGTERM)
	err := w.process.Wait()
	w.Sim.Close()
	return errors.Join(err, w.log.Close())
}
