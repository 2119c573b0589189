//go:build failpoints

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/internal/testenv"
	"wxplatform/internal/transcript"
	"wxplatform/token"
	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

const second = time.Second

// These are the times of token custody, all shortened. patience leaves room for a WeChat that takes
// three seconds to answer.
var (
	brisk    = token.Times{Call: 2 * second, Lease: 3 * second, Unsettled: 5 * second, Overlap: 15 * second, Life: 60 * second}
	patience = token.Times{Call: 4 * second, Lease: 6 * second, Unsettled: 10 * second, Overlap: 30 * second, Life: 120 * second}
)

// machine is what the scenarios share: the programs and the servers, nil where this machine has
// none.
type machine struct {
	dir      string
	platform string
	postgres *postgres
	redis    *redisServer
	worlds   int
	made     []*world // in the scenario that runs
	field    bool     // WeChat is odd wherever a plan does not say otherwise
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "wxplatform-faults-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL is another user
		t.Fatal(err)
	}
	m := &machine{dir: dir, platform: filepath.Join(dir, "platform")}
	build(t, m.platform, tagged()...)
	if postgresBin() == "" {
		fmt.Println("without PostgreSQL: initdb is not installed; only the scenario on SQLite runs")
		return m
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		fmt.Println("without Redis: redis-server is not installed; only the scenario on SQLite runs")
		return m
	}
	m.postgres, m.redis = newPostgres(t, dir), newRedis(t, dir)
	return m
}

// tagged returns the flags of the build under test. FAULTS_RACE=1 builds it with the race detector.
func tagged() []string {
	if testenv.Get("FAULTS_RACE") != "" {
		return []string{"-tags", "failpoints", "-race"}
	}
	return []string{"-tags", "failpoints", "-ldflags=-s -w"}
}

func build(t *testing.T, to string, flags ...string) {
	t.Helper()
	cmd := exec.Command("go", append(append([]string{"build", "-o", to}, flags...), "../cmd/platform")...)
	cmd.Env = testenv.Caller()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
}

// plan is the setup of a world. The zero plan has three replicas on PostgreSQL and Redis.
type plan struct {
	times    token.Times
	replicas int
	sqlite   string // the file; "" is PostgreSQL
	clock    map[int]string
	rotate   bool // WeChat gives another refresh token with each refresh, and with each exchange
	wired    bool // each replica reaches PostgreSQL, Redis and WeChat by wires of its own
	secure   bool // and WeChat over TLS
	clocked  bool // PostgreSQL's clock can be set wrong
	field    bool // WeChat is odd in the ways that real platforms met, also where only the most telling scenarios are run
	plain    bool // it never is
	files    int  // how many open files a replica may have; 0 is as many as this process
}

// world is some replicas of the platform, a simulated WeChat, a tenant, and all that is known about
// them.
type world struct {
	*machine
	t        *testing.T
	plan     plan
	name     string // of the database
	url      string // of the database
	wechat   string // its address
	public   string // the balancer's
	sim      *wechatsim.Sim
	replicas []*replica
	ring     *seal.Ring
	db       *db.DB
	env      []string
	fire     string // the folder of failpoints
	tenant   string
	client   url.Values // what the tenant's client sends for a JWT
	jwt      string
	http     *http.Client
	next     atomic.Int64
	ids      []wechat.AppID
	watch    *watcher
	total    tally // of all calls that reached a replica
	answers  answers
	asked    atomic.Int64 // for tokens of authorizers, at WeChat
	release  func()       // of PostgreSQL's connections
}

// replica is one process of the platform, or the place of a dead one.
type replica struct {
	*child
	w                 *world
	number            int
	public, operators string
	log               string
	out               atomic.Bool // the balancer sends nothing here
	wires             wires
}

// wires are the links of one replica, nil if it is not wired.
type wires struct{ postgres, redis, wechat *link }

func (m *machine) world(t *testing.T, p plan) *world {
	t.Helper()
	m.worlds++
	if p.replicas == 0 {
		p.replicas = 3
	}
	w := &world{machine: m, t: t, plan: p, name: fmt.Sprintf("world%d", m.worlds), http: &http.Client{
		Timeout:       60 * second,
		Transport:     transcript.Record(&http.Transport{MaxIdleConnsPerHost: 400, IdleConnTimeout: time.Minute}),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	m.made = append(m.made, w)
	w.url = "sqlite:" + p.sqlite
	if p.sqlite == "" {
		m.postgres.t, m.redis.t = t, t
		m.postgres.do("postgres", "CREATE DATABASE "+w.name)
		w.url = m.postgres.url(w.name)
		if p.clocked {
			m.postgres.giveClock(w.name)
		}
	}
	w.fire = filepath.Join(m.dir, w.name+"-failpoints")
	if err := os.Mkdir(w.fire, 0o755); err != nil {
		t.Fatal(err)
	}
	w.serveWeChat()
	t.Cleanup(w.close)
	for i := range p.replicas {
		w.replicas = append(w.replicas, &replica{w: w, number: i, public: fmt.Sprintf("127.0.0.1:%d", freePort(t)), operators: fmt.Sprintf("127.0.0.1:%d", freePort(t)), log: filepath.Join(m.dir, fmt.Sprintf("%s-%d.log", w.name, i))})
	}
	for _, r := range w.replicas {
		if p.wired {
			r.wires = wires{newLink(t, host(w.url)), newLink(t, m.redis.address()), newLink(t, host(w.wechat))}
			if p.secure {
				r.wires.wechat.secure = w.gateway()
			}
		}
		r.launch()
	}
	for _, r := range w.replicas {
		r.wait()
	}
	w.onboard()
	return w
}

func host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

// serveWeChat starts the simulator, which pushes to any replica that answers, as through a
// balancer.
func (w *world) serveWeChat() {
	balancer := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", w.any().public },
		Transport:    w.http.Transport,
		ErrorHandler: func(rw http.ResponseWriter, _ *http.Request, _ error) { rw.WriteHeader(http.StatusBadGateway) },
	})
	w.public = balancer.URL
	var err error
	w.sim, err = wechatsim.New(wechatsim.Config{
		EventURL: balancer.URL + "/wechat/events", NoSamples: true,
		Times: wechatsim.Times{
			AccessToken: w.plan.times.Life, ComponentToken: 2 * w.plan.times.Life, Overlap: w.plan.times.Overlap, RefreshGrace: w.plan.times.Overlap, TicketInterval: 20 * second,
		},
		Behaviour: wechatsim.Behaviour{RotateOnRefresh: w.plan.rotate, RotateOnExchange: w.plan.rotate, RetryEvents: true, AnyReferer: true, Field: w.inTheField()},
		Seed:      uint64(w.worlds),
		Quotas:    map[string]wechatsim.Quota{"/cgi-bin/component/api_component_token": {}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	server := httptest.NewServer(w.noted(w.sim))
	w.wechat = server.URL
	w.t.Cleanup(func() {
		w.sim.Close()
		server.CloseClientConnections()
		server.Close()
		balancer.CloseClientConnections()
		balancer.Close()
	})
	times, err := json.Marshal(w.plan.times)
	if err != nil {
		w.t.Fatal(err)
	}
	key := seal.NewKey()
	if w.ring, err = seal.NewRing(seal.NewSecret(key)); err != nil {
		w.t.Fatal(err)
	}
	about := w.sim.Config()
	w.env = append(testenv.Environ(),
		"PLATFORM_PUBLIC_URL="+balancer.URL,
		"PLATFORM_COMPONENT_APPID="+string(about.AppID), "PLATFORM_COMPONENT_SECRET="+about.Secret,
		"PLATFORM_COMPONENT_TOKEN="+about.Token, "PLATFORM_COMPONENT_AES_KEY="+about.AESKey,
		"PLATFORM_SEALING_KEYS="+key, "PLATFORM_DATABASE_URL="+w.url, "PLATFORM_WECHAT_URL="+server.URL, "PLATFORM_WECHAT_CONSENT_URL="+server.URL,
		"PLATFORM_TEST_TIMES="+string(times), "FAILPOINTS="+w.fire, "GOMAXPROCS=2")
	if w.plan.sqlite == "" {
		w.env = append(w.env, "PLATFORM_REDIS_URL=redis://"+w.redis.address())
	}
}

func (w *world) inTheField() bool { return (w.field || w.plan.field) && !w.plan.plain }

// any returns a running replica, in turn.
func (w *world) any() *replica {
	for range w.replicas {
		if r := w.replicas[int(w.next.Add(1))%len(w.replicas)]; r.alive() {
			return r
		}
	}
	return w.replicas[0]
}

func (w *world) close() {
	if w.watch != nil {
		w.watch.stop()
	}
	var ends sync.WaitGroup
	for _, r := range w.replicas {
		ends.Go(func() {
			if r.alive() {
				r.signal(syscall.SIGCONT)
				r.end(syscall.SIGKILL, second)
			}
		})
	}
	ends.Wait()
	if w.db != nil {
		_ = w.db.Close()
	}
	if w.plan.sqlite == "" {
		_ = w.postgres.query("postgres", "DROP DATABASE "+w.name+" WITH (FORCE)") // a standby copies what there is
	}
	w.http.CloseIdleConnections()
	if w.t.Failed() {
		for _, r := range w.replicas {
			text, _ := os.ReadFile(r.log)
			w.t.Logf("replica %d:\n%s", r.number, tail(text, 6000))
		}
	}
	w.noRaces()
}

// noRaces fails if the log of a replica reports a data race.
func (w *world) noRaces() {
	for _, r := range w.replicas {
		text, _ := os.ReadFile(r.log)
		if at := bytes.Index(text, []byte("DATA RACE")); at >= 0 {
			w.t.Errorf("replica %d: %s", r.number, text[at:min(at+3000, len(text))])
		}
	}
}

func tail(text []byte, most int) []byte {
	kept := [][]byte{}
	for line := range bytes.Lines(text) {
		if !bytes.Contains(line, []byte(`"status":200`)) {
			kept = append(kept, line)
		}
	}
	text = bytes.Join(kept, nil)
	return text[max(0, len(text)-most):]
}

// launch starts the process; wait waits until it serves.
func (r *replica) launch() {
	r.w.t.Helper()
	log, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.w.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(r.w.platform, "serve")
	if n := strconv.Itoa(r.w.plan.files); n != "0" {
		cmd = exec.Command("prlimit", "--nofile="+n+":"+n, r.w.platform, "serve")
	}
	cmd.Env = append(r.w.env, "PLATFORM_LISTEN="+r.public, "PLATFORM_PRIVATE_LISTEN="+r.operators, "FAILPOINTS_CLOCK="+r.w.plan.clock[r.number])
	if r.w.plan.wired {
		cmd.Env = append(cmd.Env, "PLATFORM_DATABASE_URL="+r.wires.postgres.through(r.w.url), "PLATFORM_REDIS_URL=redis://"+r.wires.redis.address(), "PLATFORM_WECHAT_URL="+r.wires.wechat.through(r.w.wechat))
	}
	cmd.Stdout, cmd.Stderr = log, log
	r.child = spawn(r.w.t, cmd)
}

func (r *replica) wait() {
	r.w.t.Helper()
	if !within(30*second, func() bool { _, err := r.ready(); return err == nil || !r.alive() }) || !r.alive() {
		text, _ := os.ReadFile(r.log)
		r.w.t.Fatalf("replica %d does not serve:\n%s", r.number, text)
	}
}

func (r *replica) start() { r.launch(); r.wait() }

// ready returns the body of /readyz, or an error if it does not answer 200.
func (r *replica) ready() (said string, err error) {
	answer, err := r.w.http.Get("http://" + r.operators + "/readyz")
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("/readyz: %d %s", answer.StatusCode, text)
	}
	return string(text), err
}

// balance keeps load away from replicas that say they are not ready, until it is stopped.
func (w *world) balance() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	for _, r := range w.replicas {
		asking.Go(func() {
			for ctx.Err() == nil {
				_, err := r.ready()
				r.out.Store(err != nil)
				time.Sleep(200 * time.Millisecond)
			}
		})
	}
	return func() { cancel(); asking.Wait() }
}

// onboard creates a tenant with a JWT, and has WeChat push a ticket.
func (w *world) onboard() {
	w.t.Helper()
	var made struct{ ID, Secret string }
	w.operate(&made, "tenant", "create", "四季花店", "--redirect", "http://127.0.0.1/welcome")
	w.tenant = made.ID
	w.operate(&made, "client", "create", w.tenant)
	w.sim.PushTicket()
	w.open()
	if !within(15*second, func() bool { return w.sim.LastComponentToken() != "" }) {
		w.t.Fatal("no component token")
	}
	w.client = url.Values{"grant_type": {"client_credentials"}, "client_id": {made.ID}, "client_secret": {made.Secret}}
	var why string
	if w.jwt, why = w.getJWT(w.replicas[0]); why != "" {
		w.t.Fatalf("no JWT: %s", why)
	}
	w.keepHistory()
	w.watch = watchOver(w)
}

// getJWT requests a JWT from r as the tenant's client. why is "", or what the client was told
// instead.
func (w *world) getJWT(r *replica) (jwt, why string) {
	answer, err := w.http.PostForm("http://"+r.public+"/oauth/token", w.client)
	if err != nil {
		return "", trouble(err)
	}
	defer answer.Body.Close()
	var got struct {
		JWT string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&got); err != nil || got.JWT == "" {
		return "", fmt.Sprintf("%d from /oauth/token, %v", answer.StatusCode, err)
	}
	return got.JWT, ""
}

// open opens the database for the suite itself.
func (w *world) open() {
	w.t.Helper()
	var err error
	if w.db, err = db.Open(context.Background(), seal.NewSecret(w.url)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) operate(into any, args ...string) {
	w.t.Helper()
	cmd := exec.Command(w.platform, append(args, "--json")...)
	cmd.Env = w.env
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		w.t.Fatalf("platform %s: %v\n%s", strings.Join(args, " "), err, errOut.String())
	}
}

// merchants returns n new merchants that were not called for a long time: their rows have a refresh
// token and nothing else.
func (w *world) merchants(n int) []wechat.AppID {
	w.t.Helper()
	w.sim.AddSynthetic(n)
	var fresh []wechat.AppID
	for range n {
		fresh = append(fresh, wechatsim.SyntheticAppID(len(w.ids)+len(fresh)))
	}
	var err error
	if !within(5*second, func() bool { err = w.insertAll(fresh); return err == nil }) { // a cut that is meant for the replicas hits this process too
		w.t.Fatal(err)
	}
	w.ids = append(w.ids, fresh...)
	return fresh
}

func (w *world) insertAll(fresh []wechat.AppID) error {
	return w.db.Tx(context.Background(), func(tx *db.Tx) error {
		now, err := tx.Now(context.Background())
		tx.Changed()
		for _, id := range fresh {
			err = errors.Join(err, w.insert(tx, id, now))
		}
		return err
	})
}

func (w *world) insert(tx *db.Tx, id wechat.AppID, now time.Time) error {
	ctx := context.Background()
	_, err := db.Exec(ctx, tx, `
		INSERT INTO authorizers (appid, tenant, kind, verify_type, permission_sets, profile_at, authorized_at, created_at)
		VALUES ($1, $2, 'service', 0, $3, $4, $4, $4)`, string(id), w.tenant, wechat.PermissionSets{1, 2, 3, 6, 11}.String(), db.Stamp(now))
	if err != nil {
		return err
	}
	refresh := w.ring.Seal(seal.NewSecret(w.sim.RefreshToken(id)), w.place(token.Authorizer, id, "refresh")...)
	_, err = db.Exec(ctx, tx, `
		INSERT INTO tokens (kind, id, fence, version, access, refresh, spare)
		VALUES ('authorizer', $1, 1, 1, $2, $3, $2)`, string(id), []byte{}, refresh)
	return err
}

// arm makes the first process that reaches a step do something there.
func (w *world) arm(step, what string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.fire, "arming"), []byte(what), 0o600); err != nil {
		w.t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(w.fire, step+".fired"))
	if err := os.Rename(filepath.Join(w.fire, "arming"), filepath.Join(w.fire, step)); err != nil {
		w.t.Fatal(err)
	}
}

// struck returns the replica that reached an armed step.
func (w *world) struck(step string) *replica {
	w.t.Helper()
	var pid int
	if !within(20*second, func() bool {
		text, err := os.ReadFile(filepath.Join(w.fire, step+".fired"))
		_, scan := fmt.Sscan(string(text), &pid)
		return err == nil && scan == nil
	}) {
		w.t.Fatalf("no process reached %s", step)
	}
	for _, r := range w.replicas {
		if r.child != nil && r.Process.Pid == pid {
			return r
		}
	}
	w.t.Fatalf("an unknown process reached %s", step)
	return nil
}

// asks is how many access tokens were requested from WeChat.
func (w *world) asks() int { return int(w.asked.Load()) }

func (w *world) componentAsks() int { return w.sim.Calls("/cgi-bin/component/api_component_token") }
