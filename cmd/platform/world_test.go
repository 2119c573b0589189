package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sync/errgroup"

	"wxplatform/internal/dbtest"
	"wxplatform/internal/sdkreader"
	"wxplatform/internal/testenv"
	"wxplatform/tenant"
	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

const (
	service  = wechatsim.SampleService
	customer = wechatsim.SampleCustomer
)

// world is a complete platform with a simulated WeChat and one tenant. Tests use it over HTTP.
type world struct {
	*walkthrough
	t        *testing.T
	platform *platform
	log      *locked
	heard    *recorder
	end      func() // ends the platform
}

// recorder is a WeChat that keeps what it is asked, once it was told to.
type recorder struct {
	to   http.Handler
	kept atomic.Bool
	got  locked
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if r.kept.Load() {
		var head bytes.Buffer
		head.WriteString(request.Method + " " + request.URL.RequestURI() + "\n")
		_ = request.Header.Write(&head)
		_, _ = r.got.Write(head.Bytes())
	}
	r.to.ServeHTTP(w, request)
}

// locked is a buffer that servers write while a test reads.
type locked struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *locked) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Reset()
}

// engines runs test once for each database engine, and once with the simulator's field deviations.
func engines(t *testing.T, test func(*world)) {
	t.Helper()
	databases(t, test)
	t.Run("field", func(t *testing.T) { t.Parallel(); test(fieldWorld(t)) })
}

// databases runs test once for each database engine, with the Redis that belongs to it.
func databases(t *testing.T, test func(*world)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); test(newWorld(t, dbtest.SQLiteURL(t), "")) })
	if testenv.Get("TEST_POSTGRES_URL") != "" {
		t.Run("postgres", func(t *testing.T) {
			t.Parallel()
			test(newWorld(t, dbtest.PostgresURL(t), testenv.Get("TEST_REDIS_URL")+"?read_timeout=1s"))
		})
	}
}

// fieldWorld is a world on SQLite whose WeChat deviates from its documentation as seen in
// production, with a different seed for each test.
func fieldWorld(t *testing.T) *world {
	t.Helper()
	seed := fnv.New64a()
	_, _ = io.WriteString(seed, t.Name())
	return newWorldWith(t, map[string]string{"PLATFORM_DATABASE_URL": dbtest.SQLiteURL(t)}, wechatsim.Config{Behaviour: wechatsim.Behaviour{Field: true}, Seed: seed.Sum64()})
}

// inTheField reports whether the world is a fieldWorld.
func (w *world) inTheField() bool { return w.sim.Behaviour().Field }

// sqliteWorld is a world on SQLite and the in-process Redis.
func sqliteWorld(t *testing.T) *world {
	t.Helper()
	return newWorld(t, dbtest.SQLiteURL(t), "")
}

func newWorld(t *testing.T, databaseURL, redisURL string) *world {
	t.Helper()
	return newWorldWith(t, map[string]string{"PLATFORM_DATABASE_URL": databaseURL, "PLATFORM_REDIS_URL": redisURL})
}

// noGreeting keeps a platform from greeting WeChat ten seconds after its start. WeChat would push a
// ticket then, in the middle of any test that takes that long on a busy machine.
const noGreeting = time.Hour

// newWorldWith starts a platform with the demo's settings, changed as given, and with the given
// simulator's configuration if there is one.
func newWorldWith(t *testing.T, settings map[string]string, wechat ...wechatsim.Config) *world {
	t.Helper()
	d, err := demoCmd{Listen: "127.0.0.1:0", WeChat: "127.0.0.1:0"}.setUp(t.TempDir(), append(wechat, wechatsim.Config{})[0])
	if err != nil {
		t.Fatal(err)
	}
	d.env["PLATFORM_NET_HTTP"] = testenv.Get("TEST_NET_HTTP") // on, off, or "" for the default
	for name, value := range settings {
		d.env[name] = value
	}
	w := &world{walkthrough: &walkthrough{demo: d, s: shell{context.Background(), &bytes.Buffer{}, &bytes.Buffer{}, d.lookup, noEnvironment}, out: newBrowser(), began: time.Now()}, t: t, log: &locked{}}
	c, err := loadConfig(d.lookup, needsAll)
	if err != nil {
		t.Fatal(err)
	}
	w.out.client.Transport = strictReader{w}
	ctx, stop := context.WithCancel(context.Background())
	if w.platform, err = assemble(ctx, c, w.log); err != nil {
		t.Fatal(err)
	}
	w.platform.greetFirst = noGreeting
	running := errgroup.Group{}
	running.Go(func() error { return w.platform.run(ctx, d.on) })
	w.heard = &recorder{to: d.sim}
	simulator := httptest.NewUnstartedServer(w.heard)
	_ = simulator.Listener.Close()
	simulator.Listener = d.wechatOn
	simulator.Start()
	w.end = sync.OnceFunc(func() {
		stop()
		if err := running.Wait(); err != nil {
			t.Errorf("the platform stopped with %v", err)
		}
	})
	t.Cleanup(func() {
		w.end()
		if t.Failed() {
			t.Logf("the platform's log:\n%s", w.log)
		}
		simulator.CloseClientConnections()
		simulator.Close()
		d.sim.Close()
	})
	w.must(w.ticket(ctx))
	w.tenant, w.basic = w.newTenant("四季花店 SaaS")
	w.must(w.getJWT(ctx))
	w.eventually("the ticket to be stored", func() bool { return w.number(`SELECT COUNT(*) FROM tickets`) == 1 })
	w.must("", w.sim.Settle(ctx))
	return w
}

// newTenant makes a tenant and a client as the walkthrough's commands do. Starting two commands for
// each of several hundred worlds would take a tenth of all tests' time.
func (w *world) newTenant(name string) (id, basic string) {
	w.t.Helper()
	by := operator()
	created, err := w.platform.tenants.CreateTenant(anyContext, by, name, []string{redirect})
	if err != nil {
		w.t.Fatal(err)
	}
	client, secret, err := w.platform.tenants.CreateClient(anyContext, by, created.ID, "demo", tenant.AllScopes())
	if err != nil {
		w.t.Fatal(err)
	}
	return string(created.ID), string(client.ID) + ":" + secret.Reveal()
}

// strictReader reads every answer of the drop-in door as the strictest SDKs do. What WeChat itself
// answers oddly is not looked at.
type strictReader struct{ *world }

func (w strictReader) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || !w.dropIn(r.URL) || w.inTheField() {
		return answer, err
	}
	body, cut := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	answer.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), iotest.ErrReader(cmp.Or(cut, io.EOF))))
	if cut != nil {
		return answer, nil
	}
	if err := sdkreader.Check(r.URL.Path, answer.StatusCode, answer.Header, body); err != nil {
		w.t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	return answer, nil
}

func (w strictReader) dropIn(u *url.URL) bool {
	below := func(root string) bool { return strings.HasPrefix(u.Path, root+"/") }
	return u.Host == w.on.public.Addr().String() && slices.ContainsFunc(append(w.platform.catalogue.Roots(), "/sns"), below)
}

func (w *world) must(_ string, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// grant has the merchant of id authorize for the world's tenant, through an invitation.
func (w *world) grant(id wechat.AppID, sets ...string) {
	w.t.Helper()
	if _, err := w.authorize(context.Background(), id, sets...); err != nil {
		w.t.Fatal(err)
	}
}

// ask sends a request with the tenant's JWT.
func (w *world) ask(method, path, body string) reply {
	w.t.Helper()
	answer, err := w.call(context.Background(), w.jwt, method, path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer
}

// raw sends a request with the given headers only.
func (w *world) raw(method, path string, header map[string]string, body string) reply {
	w.t.Helper()
	answer, err := w.out.send(context.Background(), method, w.publicURL+path, header, body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer
}

// shut closes the session that kf has with the sample customer.
func (w *world) shut(kf wechat.KFAccount) reply {
	w.t.Helper()
	answer, err := w.send(context.Background(), w.jwt, service, kf, customer)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer
}

func (w *world) open(kf wechat.KFAccount) {
	w.t.Helper()
	if err := w.sim.OpenSession(service, kf, customer); err != nil {
		w.t.Fatal(err)
	}
}

// wants fails unless the answer is the given problem.
func (w *world) wants(answer reply, status int, slug string) {
	w.t.Helper()
	if answer.status != status || answer.field("type") != "/problems/"+slug {
		w.t.Errorf("got %d %s, want %d %s", answer.status, answer.body, status, slug)
	}
	if answer.header.Get("Content-Type") != "application/problem+json" || answer.field("request_id") == "" || answer.field("request_id") != answer.header.Get("Request-Id") {
		w.t.Errorf("got %v %s, want a problem with the request's id", answer.header, answer.body)
	}
}

// ok fails unless the answer is WeChat's success to a call that writes.
func (w *world) ok(answer reply) {
	w.t.Helper()
	if answer.status != http.StatusOK || string(answer.body) != `{"errcode":0,"errmsg":"ok"}` {
		w.t.Errorf("got %d %s, want 200 and errcode 0", answer.status, answer.body)
	}
}

// eventually waits until something becomes true.
func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	if err := until(context.Background(), what, func() (bool, error) { return is(), nil }); err != nil {
		w.t.Fatal(err)
	}
}

// settles waits until all pushes have come and are processed, and all profiles are read; grant does
// not wait for either.
func (w *world) settles() {
	w.t.Helper()
	if err := w.sim.Settle(anyContext); err != nil {
		w.t.Fatal(err)
	}
	w.eventually("the events to be worked off", func() bool { n, err := w.platform.inbox.Waiting(anyContext); return err == nil && n == 0 })
	w.eventually("the profiles to be read", func() bool { return w.number(`SELECT COUNT(*) FROM authorizers WHERE profile_at = 0`) == 0 })
}

// command runs one of the operator's commands and reads its JSON.
func (w *world) command(into any, args ...string) {
	w.t.Helper()
	if err := w.operate(context.Background(), into, args...); err != nil {
		w.t.Fatal(err)
	}
}

// push sends a message to the authorization-event URL, sealed as WeChat seals it.
func (w *world) push(path, message string, at time.Time) reply {
	w.t.Helper()
	about := w.sim.Config()
	envelope, err := wechat.NewEnvelope(about.AppID, []string{about.Token}, []string{about.AESKey})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.pushed(path, envelope.Seal([]byte(message), fmt.Sprint(at.Unix()), "nonce1"))
}

func (w *world) pushed(path string, p wechat.Push) reply {
	w.t.Helper()
	query := fmt.Sprintf("?timestamp=%s&nonce=%s&encrypt_type=aes&msg_signature=%s", p.Timestamp, p.Nonce, p.Signature)
	return w.raw(http.MethodPost, path+query, map[string]string{"Content-Type": "text/xml"}, string(wechat.WriteEvent(w.sim.Config().AppID, p)))
}

// lines returns the platform's log lines so far.
func (w *world) lines() []map[string]any {
	var lines []map[string]any
	for text := range strings.Lines(w.log.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			w.t.Fatalf("a log line is no JSON: %s", text)
		}
		lines = append(lines, line)
	}
	return lines
}

// nobody is an address where nobody listens: no test gets a port below 1024.
const nobody = "127.0.0.1:1"
