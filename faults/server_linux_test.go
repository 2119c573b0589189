//go:build failpoints

package faults

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // names the driver "pgx"
	"github.com/redis/go-redis/v9"
)

// child is a process that this suite started.
type child struct {
	*exec.Cmd
	gone chan struct{}
}

// spawn starts a process that does not outlive this one.
func spawn(t testing.TB, cmd *exec.Cmd) *child {
	t.Helper()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{Cmd: cmd, gone: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(c.gone) }()
	return c
}

func (c *child) alive() bool {
	if c == nil {
		return false
	}
	select {
	case <-c.gone:
		return false
	default:
		return true
	}
}

func (c *child) signal(s syscall.Signal) { _ = c.Process.Signal(s) }

// end sends a signal and waits, and kills the process if it takes too long.
func (c *child) end(s syscall.Signal, patience time.Duration) (inTime bool) {
	if !c.alive() {
		return true
	}
	c.signal(s)
	select {
	case <-c.gone:
		return true
	case <-time.After(patience):
	}
	c.signal(syscall.SIGKILL)
	<-c.gone
	return false
}

// freePort returns a port below those that the kernel gives to clients, so that nobody takes it
// while its server is down.
func freePort(t testing.TB) int {
	t.Helper()
	for port := 20000 + (os.Getpid()*37+int(time.Now().UnixNano()/1000))%9000; port < 30000; port++ {
		if on, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil && !given[port] {
			_ = on.Close()
			given[port] = true
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

var given = map[int]bool{} // scenarios run one after the other

// within polls until what is true or the time is over.
func within(patience time.Duration, is func() bool) bool {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if is() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// postgres is a server of this suite's own.
type postgres struct {
	t    testing.TB
	bin  string
	dir  string
	port int
	as   *syscall.Credential
	run  *child
}

// postgresBin is the directory of initdb: on the PATH, or where Debian keeps it; "" if there is
// none.
func postgresBin() string {
	all, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.Reverse(all)
	for _, dir := range all {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			return dir
		}
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path)
	}
	return ""
}

// newPostgres makes a cluster and starts it. PostgreSQL refuses to run as root.
func newPostgres(t testing.TB, dir string) *postgres {
	t.Helper()
	p := &postgres{t: t, bin: postgresBin(), dir: filepath.Join(dir, "pg"), port: freePort(t)}
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		owner, err := user.Lookup("postgres")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(owner.Uid)
		gid, _ := strconv.Atoi(owner.Gid)
		p.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(p.dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	p.must("initdb", "-D", p.dir, "-U", "test", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync")
	p.start()
	t.Cleanup(func() { p.run.end(syscall.SIGINT, 10*time.Second) })
	return p
}

func (p *postgres) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as}
	return cmd
}

func (p *postgres) must(name string, args ...string) {
	p.t.Helper()
	if out, err := p.command(name, args...).CombinedOutput(); err != nil {
		p.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// start starts the server and waits until it answers. Without fsync a crash of the process, unlike
// one of the machine, loses nothing.
func (p *postgres) start() {
	p.t.Helper()
	_ = os.Remove(filepath.Join(p.dir, "postmaster.pid"))
	cmd := p.command("postgres", "-D", p.dir, "-p", strconv.Itoa(p.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="+p.dir,
		"-c", "max_connections=200", "-c", "fsync=off", "-c", "log_min_messages=fatal")
	p.run = spawn(p.t, cmd)
	if !within(30*time.Second, func() bool { return p.query("postgres", "SELECT 1") == nil }) {
		p.t.Fatal("PostgreSQL does not answer")
	}
}

// stop is like a power cut of the process, or cuts all connections and shuts down in order.
func (p *postgres) stop(s syscall.Signal) {
	p.run.end(s, 20*time.Second)
	time.Sleep(100 * time.Millisecond) // its children notice
}

func (p *postgres) url(database string) string {
	return fmt.Sprintf("postgres://test@127.0.0.1:%d/%s?sslmode=disable", p.port, database)
}

// giveClock makes a new database's connections read a clock that setClock can set wrong:
// unqualified names are looked up in public first.
func (p *postgres) giveClock(database string) {
	p.t.Helper()
	for _, text := range []string{
		`CREATE TABLE clock (off INTERVAL)`,
		`INSERT INTO clock (off) VALUES ('0')`,
		`CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT pg_catalog.clock_timestamp() + off FROM public.clock'`,
		`ALTER DATABASE ` + database + ` SET search_path = public, pg_catalog`,
	} {
		p.do(database, text)
	}
}

func (p *postgres) setClock(database, off string) {
	p.t.Helper()
	p.do(database, `UPDATE clock SET off = '`+off+`'`)
}

// processes are the server and its children.
func (p *postgres) processes() []int {
	all := []int{p.run.Process.Pid}
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", all[0], all[0]))
	for _, field := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// signalAll stops or continues the server and its children.
func (p *postgres) signalAll(s syscall.Signal) {
	for _, pid := range p.processes() {
		_ = syscall.Kill(pid, s)
	}
}

// query runs one statement on a connection of its own.
func (p *postgres) query(database, text string) error {
	pool, err := sql.Open("pgx", p.url(database)+"&connect_timeout=2")
	if err != nil {
		return err
	}
	defer pool.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = pool.ExecContext(ctx, text)
	return err
}

func (p *postgres) do(database, text string) {
	p.t.Helper()
	if err := p.query(database, text); err != nil {
		p.t.Fatalf("%s: %v", text, err)
	}
}

// cut terminates every connection to a database except its own.
func (p *postgres) cut(database string) error {
	return p.query("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+database+"'")
}

// dump and restore use PostgreSQL's own tools, as an operator would.
func (p *postgres) dump(database string) (file string) {
	file = filepath.Join(p.dir, database+".dump")
	p.must("pg_dump", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port), "-U", "test", "-Fc", "-f", file, database)
	return file
}

func (p *postgres) restore(database, file string) {
	p.do("postgres", "DROP DATABASE "+database+" WITH (FORCE)")
	p.do("postgres", "CREATE DATABASE "+database)
	p.must("pg_restore", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port), "-U", "test", "-d", database, file)
}

// standby copies the cluster as it is now, like a replica that lags behind from now on.
func (p *postgres) standby() (dir string) {
	p.t.Helper()
	dir = filepath.Join(filepath.Dir(p.dir), fmt.Sprintf("standby%d", time.Now().UnixNano()))
	if err := os.Mkdir(dir, 0o700); err != nil {
		p.t.Fatal(err)
	}
	if p.as != nil {
		if err := os.Chown(dir, int(p.as.Uid), int(p.as.Gid)); err != nil {
			p.t.Fatal(err)
		}
	}
	p.must("pg_basebackup", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port), "-U", "test", "-D", dir, "-X", "stream", "--checkpoint=fast", "--no-sync")
	return dir
}

// failOver kills the server and continues with a standby.
func (p *postgres) failOver(standby string) {
	p.t.Helper()
	p.stop(syscall.SIGKILL)
	_ = os.RemoveAll(p.dir)
	p.dir = standby
	p.start()
}

// redisServer is a redis-server of this suite's own, without persistence: after a restart it is
// empty.
type redisServer struct {
	t      testing.TB
	port   int
	dir    string
	run    *child
	client *redis.Client
}

func newRedis(t testing.TB, dir string) *redisServer {
	t.Helper()
	r := &redisServer{t: t, port: freePort(t), dir: dir}
	r.client = redis.NewClient(&redis.Options{Addr: r.address(), MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: 2 * time.Second})
	r.start()
	t.Cleanup(func() {
		_ = r.client.Close()
		r.run.end(syscall.SIGKILL, 5*time.Second)
	})
	return r
}

func (r *redisServer) address() string { return fmt.Sprintf("127.0.0.1:%d", r.port) }

func (r *redisServer) start() {
	r.t.Helper()
	r.run = spawn(r.t, exec.Command("redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(r.port), "--save", "", "--appendonly", "no", "--dir", r.dir, "--logfile", "/dev/null", "--enable-debug-command", "yes"))
	if !within(10*time.Second, func() bool { return r.do("PING") == nil }) {
		r.t.Fatal("redis-server does not answer")
	}
}

func (r *redisServer) do(command string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	var args []any
	for _, word := range strings.Fields(command) {
		args = append(args, word)
	}
	return r.client.Do(ctx, args...).Err()
}

func (r *redisServer) must(command string) {
	r.t.Helper()
	if err := r.do(command); err != nil {
		r.t.Fatalf("redis %s: %v", command, err)
	}
}
