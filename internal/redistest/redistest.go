// Package redistest starts Redis servers for tests: a master with a replica and Sentinels, or a
// cluster. Each needs redis-server on the PATH and listens on a free loopback port. They end with
// the test process, even if it is killed.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// Password is that of every Redis server, and SentinelPassword that of every Sentinel.
const (
	Password         = "canary-redis-password"
	SentinelPassword = "canary-sentinel-password"
)

const (
	attempts = 5           // ports that are tried for one server
	patience = time.Minute // for a server that starts, and for servers that find each other
)

// Server is a running redis-server.
type Server struct {
	Addr   string
	bus    string // the port for other nodes of a cluster
	client *redis.Client
	shell  *exec.Cmd
	hold   io.Closer // the shell ends the server when this is closed
	pid    int
}

// Group is servers that belong together.
type Group struct {
	URL       string    // for PLATFORM_REDIS_URL, with an option
	Servers   []*Server // a master and its replica; or the masters of a cluster, and then their replicas
	Sentinels []*Server
	dir       string
}

// Close ends the servers and removes their files.
func (g *Group) Close() error {
	for _, s := range append(g.Servers, g.Sentinels...) {
		s.Kill()
	}
	return os.RemoveAll(g.dir)
}

// Kill ends the server at once.
func (s *Server) Kill() {
	_ = syscall.Kill(s.pid, syscall.SIGKILL)
	_ = s.hold.Close()
	_ = s.shell.Wait()
	_ = s.client.Close()
}

// Pause makes the server hang: it accepts connections and answers nothing.
func (s *Server) Pause() { _ = syscall.Kill(s.pid, syscall.SIGSTOP) }

// Do sends a command to the server and returns its answer as text, or the error as text.
func (s *Server) Do(ctx context.Context, args ...any) string {
	answer, err := s.client.Do(ctx, args...).Result()
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(answer)
}

// NewSentinel starts a master with a replica, and so many Sentinels, of which the majority decides.
// They take a master that is silent for downAfter for dead.
func NewSentinel(ctx context.Context, sentinels int, downAfter time.Duration) (g *Group, err error) {
	return newGroup(func(g *Group) error {
		master, err := g.start("", "--requirepass", Password, "--masterauth", Password)
		if err != nil {
			return err
		}
		host, port, _ := net.SplitHostPort(master.Addr)
		replica, err := g.start("", "--requirepass", Password, "--masterauth", Password, "--replicaof", host+" "+port)
		if err != nil {
			return err
		}
		if err := until(ctx, "the replica to follow", func() bool { return strings.Contains(replica.Do(ctx, "INFO", "replication"), "master_link_status:up") }); err != nil {
			return err
		}
		config := fmt.Sprintf(`sentinel monitor mymaster %s %s %d
sentinel auth-pass mymaster %s
sentinel down-after-milliseconds mymaster %d
sentinel failover-timeout mymaster 5000
requirepass %s
sentinel sentinel-pass %[6]s
`, host, port, sentinels/2+1, Password, downAfter.Milliseconds(), SentinelPassword)
		var addrs []string
		for range sentinels {
			s, err := g.start(config, "--sentinel")
			if err != nil {
				return err
			}
			addrs = append(addrs, s.Addr)
		}
		g.URL = "redis+sentinel://:" + Password + "@" + strings.Join(addrs, ",") + "/mymaster?sentinel_password=" + SentinelPassword
		return g.untilSentinelsKnow(ctx)
	})
}

func (g *Group) untilSentinelsKnow(ctx context.Context) error {
	want := fmt.Sprintf("slaves=1,sentinels=%d", len(g.Sentinels))
	return until(ctx, "the Sentinels to find each other", func() bool {
		for _, s := range g.Sentinels {
			if !strings.Contains(s.Do(ctx, "INFO", "sentinel"), want) {
				return false
			}
		}
		return true
	})
}

// NewCluster starts a cluster of three masters with so many replicas each. A node that is silent
// for nodeTimeout is taken for dead.
func NewCluster(ctx context.Context, replicas int, nodeTimeout time.Duration) (*Group, error) {
	const masters, slots = 3, 16384
	return newGroup(func(g *Group) error {
		var addrs []string
		for i := range masters * (1 + replicas) {
			s, err := g.start("", "--requirepass", Password, "--masterauth", Password, "--cluster-enabled", "yes",
				"--cluster-node-timeout", fmt.Sprint(nodeTimeout.Milliseconds()))
			if err != nil {
				return err
			}
			s.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
			if i < masters {
				s.Do(ctx, "CLUSTER", "ADDSLOTSRANGE", i*slots/masters, (i+1)*slots/masters-1)
			}
			addrs = append(addrs, s.Addr)
		}
		g.URL = "redis+cluster://:" + Password + "@" + strings.Join(addrs[:masters], ",") + "?"
		if err := g.meet(ctx); err != nil {
			return err
		}
		return g.follow(ctx, masters)
	})
}

// meet has all nodes of a cluster know each other.
func (g *Group) meet(ctx context.Context) error {
	for _, s := range g.Servers[1:] {
		host, port, _ := net.SplitHostPort(s.Addr)
		g.Servers[0].Do(ctx, "CLUSTER", "MEET", host, port, s.bus)
	}
	want := fmt.Sprintf("cluster_known_nodes:%d\r", len(g.Servers))
	return g.untilEach(ctx, "the nodes to meet", g.Servers, func(s *Server) bool {
		info := s.Do(ctx, "CLUSTER", "INFO")
		return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, want)
	})
}

// follow makes the servers after the masters their replicas.
func (g *Group) follow(ctx context.Context, masters int) error {
	for i, s := range g.Servers[masters:] {
		s.Do(ctx, "CLUSTER", "REPLICATE", g.Servers[i%masters].Do(ctx, "CLUSTER", "MYID"))
	}
	return g.untilEach(ctx, "the replicas to follow", g.Servers[masters:], func(s *Server) bool {
		return strings.Contains(s.Do(ctx, "INFO", "replication"), "master_link_status:up")
	})
}

func (g *Group) untilEach(ctx context.Context, what string, servers []*Server, is func(*Server) bool) error {
	for _, s := range servers {
		if err := until(ctx, what, func() bool { return is(s) }); err != nil {
			return err
		}
	}
	return nil
}

func newGroup(start func(*Group) error) (*Group, error) {
	dir, err := os.MkdirTemp("", "redistest")
	if err != nil {
		return nil, err
	}
	g := &Group{dir: dir}
	if err := start(g); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// start starts a server on one of a few ports: another process may take a port before it does.
// With a config it is a Sentinel.
func (g *Group) start(config string, args ...string) (*Server, error) {
	var err error
	for range attempts {
		var s *Server
		if s, err = g.startOn(freePort(), config, args); err == nil {
			if config == "" {
				g.Servers = append(g.Servers, s)
			} else {
				g.Sentinels = append(g.Sentinels, s)
			}
			return s, nil
		}
	}
	return nil, err
}

func (g *Group) startOn(port, config string, args []string) (*Server, error) {
	dir := filepath.Join(g.dir, port)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	s := &Server{Addr: "127.0.0.1:" + port, bus: freePort()}
	password := Password
	if config != "" {
		password = SentinelPassword
	}
	file := filepath.Join(dir, "redis.conf")
	config += fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %s\nlogfile %s\n", port, dir, filepath.Join(dir, "log"))
	if password == Password {
		config += "cluster-port " + s.bus + "\nsave \"\"\nappendonly no\nrepl-diskless-sync-delay 0\n"
	}
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	s.client = redis.NewClient(&redis.Options{Addr: s.Addr, Password: password, DisableIdentity: true})
	if err := s.run(append([]string{file}, args...)); err != nil {
		return nil, err
	}
	if err := s.untilUp(filepath.Join(dir, "log")); err != nil {
		s.Kill()
		return nil, err
	}
	return s, nil
}

// run starts the server below a shell that kills it when the test process is gone.
func (s *Server) run(args []string) (err error) {
	s.shell = exec.Command("sh", append([]string{"-c", `"$@" >/dev/null & echo $!; read -r _; kill -9 $! 2>/dev/null`, "sh", "redis-server"}, args...)...)
	if s.hold, err = s.shell.StdinPipe(); err != nil {
		return err
	}
	said, err := s.shell.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.shell.Start(); err != nil {
		return err
	}
	_, err = fmt.Fscan(said, &s.pid)
	return err
}

// untilUp waits until the server answers, or has failed to listen.
func (s *Server) untilUp(log string) error {
	mine, failed := fmt.Sprintf("process_id:%d\r", s.pid), false
	err := until(context.Background(), "redis-server", func() bool {
		text, _ := os.ReadFile(log)
		failed = strings.Contains(string(text), "Failed listening")
		return failed || strings.Contains(s.Do(context.Background(), "INFO", "server"), mine)
	})
	if failed {
		return errors.New("the port is taken")
	}
	return err
}

func until(ctx context.Context, what string, is func() bool) error {
	for end := time.Now().Add(patience); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		if is() {
			return nil
		}
	}
	return fmt.Errorf("waited in vain for %s", what)
}

func freePort() string {
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer on.Close()
	_, port, _ := net.SplitHostPort(on.Addr().String())
	return port
}
