package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"wxplatform/component"
	"wxplatform/inbox"
	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/redistest"
	"wxplatform/internal/seal"
	"wxplatform/internal/testenv"
	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

var han = regexp.MustCompile(`\p{Han}`)

// What the program says in an operator's night: each test stages one fault and reads /readyz, the
// log, the metrics, doctor and the lists.

// says waits until the platform is degraded for the reason, with the text, and has logged it once.
func (w *world) says(code, text string) {
	w.t.Helper()
	w.eventually(code, func() bool {
		w.platform.look(anyContext)
		return w.platform.health.has(code)
	})
	r := w.platform.ready(anyContext)
	at := -1
	for i, c := range r.Codes {
		if c == code {
			at = i
		}
	}
	if at < 0 || !strings.Contains(r.Reasons[at], text) {
		w.t.Errorf("got %+v, want %s: %q", r, code, text)
	}
	if at >= 0 && !han.MatchString(r.ReasonsZH[at]) {
		w.t.Errorf("got %q for %s, want it in Chinese", r.ReasonsZH[at], code)
	}
	if n := w.logged("degraded", code); n != 1 {
		w.t.Errorf("got %d lines that say %s, want 1", n, code)
	}
}

// logged is how many log lines have that message and reason.
func (w *world) logged(message, code string) (n int) {
	for _, line := range w.lines() {
		if line["msg"] == message && line["reason"] == code {
			n++
		}
	}
	return n
}

// saysNoMore waits until the reason is gone and one log line says so.
func (w *world) saysNoMore(code string) {
	w.t.Helper()
	w.eventually("the end of "+code, func() bool {
		w.platform.look(anyContext)
		return !w.platform.health.has(code)
	})
	if n := w.logged("no longer degraded", code); n != 1 {
		w.t.Errorf("got %d lines that say that %s is over, want 1", n, code)
	}
}

// aside returns a connection to the world's database that the platform does not use.
func (w *world) aside() *db.DB {
	w.t.Helper()
	aside, err := db.Open(anyContext, seal.NewSecret(w.env["PLATFORM_DATABASE_URL"]))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = aside.Close() })
	return aside
}

// readOnly makes the world's PostgreSQL refuse writes, as after a failover, until it is called
// again with false.
func (w *world) readOnly(d *db.DB, on bool) {
	w.t.Helper()
	act := `ALTER DATABASE %I RESET default_transaction_read_only`
	if on {
		act = `ALTER DATABASE %I SET default_transaction_read_only = on`
	}
	for _, text := range []string{
		`DO $$ BEGIN EXECUTE format('` + act + `', current_database()); END $$`,
		`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`,
	} {
		if _, err := db.Exec(anyContext, d, text); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestAReadOnlyDatabaseIsNotReady(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		if w.platform.db.Engine() != "postgres" {
			return
		}
		aside := w.aside()
		w.readOnly(aside, true)
		w.says("database-no-writes", "the database has refused writes since")
		w.says("database-no-writes", "it is read-only")
		if w.platform.health.sqlUp() != 0 || w.platform.degraded("the database has been unreachable") {
			w.t.Error("got SQL up, or unreachable, want it to answer and take no writes")
		}
		found, code := w.doctor(nil)
		w.finds(found, "database", "failure", "takes no writes: it is read-only")
		w.finds(found, "database", "failure", "use the primary")
		if code != 1 {
			w.t.Errorf("got status %d, want 1", code)
		}
		w.readOnly(aside, false)
		w.saysNoMore("database-no-writes")
	})
}

// full makes every connection to SQLite refuse to let the file grow, as on a full disk.
func full(t *testing.T, d *db.DB) {
	t.Helper()
	const connections = 16 // of the pool, as internal/db opens it
	var all sync.WaitGroup
	var holding sync.WaitGroup
	holding.Add(connections)
	for range connections {
		all.Go(func() {
			_, err := db.One(anyContext, d, func(scan db.Scan) (int, error) {
				holding.Done()
				holding.Wait()
				return db.Value[int](scan)
			}, `PRAGMA max_page_count = 1`)
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestAFullDiskIsDegradedAndSaysSo(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	full(t, w.platform.db)
	self, others := w.platform.health.replicas()
	self.Version = strings.Repeat("x", 1<<20) // a row that needs new pages
	w.platform.health.setReplicas(self, others)
	w.says("database-no-writes", "its disk is full")
	if f := takesNoWrites("sqlite", w.platform.health.writes.lost.Load().why); f.Level != "failure" || !strings.Contains(f.Do, "enlarge the disk") {
		t.Errorf("got %+v, want what to do about a full disk", f)
	}
	found, _ := w.doctor(nil)
	w.finds(found, "disk", found["disk"].Level, "MiB are free where the database file is")
}

func TestDoctorTellsMissingRightsFromNoAnswer(t *testing.T) {
	for err, want := range map[error][2]string{
		fmt.Errorf("%w: %w", db.ErrUnavailable, db.ErrRights): {"postgres answers, but its user lacks a right", "grant the user"},
		db.ErrUnavailable: {"does not answer", "PLATFORM_DATABASE_URL"},
	} {
		if f := unreadable("postgres", err); f.Level != "failure" || !strings.Contains(f.EN, want[0]) || !strings.Contains(f.Do, want[1]) {
			t.Errorf("%v: got %+v, want %q", err, f, want)
		}
	}
}

// The replica's own row finds room in pages that the database has, and what grows does not.
func TestADiskThatIsFullForOtherWritesIsDegraded(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	full(t, w.platform.db)
	if err := w.platform.replicas.Prove(anyContext); !errors.Is(err, db.ErrFull) {
		t.Fatalf("got %v, want db.ErrFull", err)
	}
	w.says("database-no-writes", "its disk is full")
	w.platform.look(anyContext) // writes the reason into the replica's row
	r := w.platform.ready(anyContext)
	if why := r.Replicas[0].Reasons; len(why) != len(r.Codes) || w.platform.health.sqlUp() != 0 {
		t.Errorf("got %+v and SQL up %v, want the replica listed as it is", why, w.platform.health.sqlUp())
	}
	found, _ := w.doctor(nil)
	w.finds(found, "replicas", "warning", "its disk is full")
}

// An outage of the database is one line, not one for each thing that fails because of it.
func TestAnOutageOfTheDatabaseIsOneLine(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	full(t, w.platform.db)
	_ = w.platform.replicas.Prove(anyContext)
	w.says("database-no-writes", "its disk is full")
	report, other := w.platform.report("test"), errors.New("something else")
	report(fmt.Errorf("renew: %w", db.ErrUnavailable))
	report(other)
	var said []any
	for _, line := range w.lines() {
		if line["keeper"] == "test" {
			said = append(said, line["error"])
		}
	}
	if len(said) != 1 || said[0] != other.Error() {
		t.Errorf("got %v logged, want %v only", said, other)
	}
}

func TestRedisSaysWhyItRefuses(t *testing.T) {
	t.Parallel()
	if testenv.Get("TEST_REDIS_URL") == "" {
		return
	}
	group, err := redistest.NewSentinel(t.Context(), 1, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = group.Close() })
	server := group.Servers[0]
	url := "redis://:" + redistest.Password + "@" + server.Addr + "?read_timeout=1s"
	w := newWorld(t, dbtest.SQLiteURL(t), url)
	w.platform.look(anyContext)
	if w.platform.health.has("redis-away") {
		t.Fatalf("got %+v, want Redis in order", w.platform.ready(anyContext))
	}
	server.Do(t.Context(), "REPLICAOF", "127.0.0.1", "1")
	w.says("redis-away", "READONLY")
	found, _ := w.doctor(nil)
	w.finds(found, "redis", "failure", "answers, but refuses: READONLY")
	w.finds(found, "redis", "failure", "use the primary")
	server.Do(t.Context(), "REPLICAOF", "NO", "ONE")
	w.saysNoMore("redis-away")
	for url, want := range map[string]string{
		"redis://" + server.Addr + "?read_timeout=1s":        "Redis wants a password",
		"redis://:wrong@" + server.Addr + "?read_timeout=1s": "password or user in PLATFORM_REDIS_URL is wrong",
	} {
		found, _ := w.doctor(map[string]string{"PLATFORM_REDIS_URL": url})
		w.finds(found, "redis", "failure", want)
	}
}

// pushedWith pushes an event that is sealed with the given token and AES key.
func (w *world) pushedWith(token, aesKey string, at time.Time) {
	w.t.Helper()
	envelope, err := wechat.NewEnvelope(w.sim.Config().AppID, []string{token}, []string{aesKey})
	if err != nil {
		w.t.Fatal(err)
	}
	w.pushed("/wechat/events", envelope.Seal([]byte("<xml/>"), fmt.Sprint(at.Unix()), "nonce1"))
}

// pushesNoTicket waits for the tickets that are on the way, and has WeChat push none when it is
// asked to, as doctor does: an authentic push ends what a refused one began.
func (w *world) pushesNoTicket() {
	w.t.Helper()
	w.sim.Fault(wechatsim.Fault{Path: component.GreetPath, Body: `{"errcode":0,"errmsg":"ok"}`, Count: wechatsim.Always})
	w.eventually("the authentic push to be counted", func() bool { return !w.platform.inbox.Counts.LastAuthentic().IsZero() })
	if err := w.sim.Settle(anyContext); err != nil {
		w.t.Fatal(err)
	}
}

func TestPushesThatAreRefusedAreTheReason(t *testing.T) {
	t.Parallel()
	otherKey := strings.Repeat("b", 43)
	for name, c := range map[string]struct {
		push func(w *world, about wechatsim.Config)
		text string
	}{
		"wrong AES key": {func(w *world, about wechatsim.Config) { w.pushedWith(about.Token, otherKey, time.Now()) }, "signed with our Token, but not opened by our AES key"},
		"clock off": {func(w *world, about wechatsim.Config) {
			w.pushedWith(about.Token, about.AESKey, time.Now().Add(-15*time.Minute))
		}, "whose time is more than 10 minutes from ours"},
		"wrong Token": {func(w *world, about wechatsim.Config) {
			w.exec(`UPDATE tickets SET received_at = $1`, time.Now().Add(-time.Hour).UnixMilli())
			w.pushedWith("another", about.AESKey, time.Now())
		}, "not signed with our Token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := sqliteWorld(t)
			w.pushesNoTicket()
			c.push(w, w.sim.Config())
			if name == "wrong Token" { // the ticket's age is read at a start
				aged := fresh(t, w)
				if err := aged.component.Refresh(anyContext); err != nil {
					t.Fatal(err)
				}
				aged.inbox = w.platform.inbox
				if !aged.degraded(c.text) {
					t.Errorf("got %+v, want %q", aged.ready(anyContext), c.text)
				}
				return
			}
			w.says("pushes-refused", "a push came ")
			w.says("pushes-refused", c.text)
			w.platform.look(anyContext) // writes the reason into the replica's row
			found, _ := w.doctor(nil)
			w.finds(found, "ticket", "failure", c.text)
			w.finds(found, "replicas", "warning", c.text)
			w.sim.PushTicket()
			w.saysNoMore("pushes-refused")
		})
	}
}

// Anybody can send a push that is not signed.
func TestAForgedPushDegradesNothingWhileTicketsCome(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.eventually("the authentic push to be counted", func() bool { return !w.platform.inbox.Counts.LastAuthentic().IsZero() })
	w.pushedWith("another", w.sim.Config().AESKey, time.Now())
	if w.platform.inbox.Counts.LastRefused(inbox.BadSignature).IsZero() {
		t.Error("got nothing refused")
	}
	if w.platform.degraded("a push came") {
		t.Errorf("got %+v, want it ready", w.platform.ready(anyContext))
	}
}

func TestReplicasThatDoNotShareARedisSaySo(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.platform.look(anyContext)
	if w.platform.degraded("share a Redis") {
		t.Errorf("got %+v, want one replica to be in order", w.platform.ready(anyContext))
	}
	other := w.replica(nil)
	w.says("redis-not-shared", "2 replicas use this database, but they do not share a Redis")
	other.says("redis-not-shared", "more tokens are refreshed than needed")
	found, _ := w.doctor(nil)
	w.finds(found, "replicas", "failure", "not all share a Redis")
	if n := len(w.platform.ready(anyContext).Replicas); n != 2 {
		t.Errorf("got %d replicas listed, want 2", n)
	}
	other.end()
	w.saysNoMore("redis-not-shared")
}

func TestAReplicasClockIsComparedWithTheDatabases(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for ahead, text := range map[time.Duration]string{2 * time.Minute: "2m0s ahead of the database's", -11 * time.Second: "11s behind the database's"} {
		w.platform.replicas.Clock = func() time.Time { return time.Now().Add(ahead) }
		w.platform.look(anyContext)
		if !w.platform.degraded(text) {
			t.Errorf("got %+v, want %q", w.platform.ready(anyContext), text)
		}
	}
	w.platform.replicas.Clock = func() time.Time { return time.Now().Add(9 * time.Second) }
	w.platform.look(anyContext)
	if w.platform.degraded("database's") {
		t.Errorf("got %+v, want nine seconds to be passed over", w.platform.ready(anyContext))
	}
}

func TestMisspeltSettingsAreNamedWithTheNearestOne(t *testing.T) {
	got := unknownSettings([]string{
		"PLATFORM_PUBLC_URL=https://x", "PLATFORM_COMPONENT_SECRT_FILE=/x", "PLATFORM_LISTEN=:1", "PLATFORM_REDIS_URL_FILE=/x", "PLATFORM_REDIS=redis://x",
		"PLATFORM_SERVICE_HOST=10.0.0.1", "PLATFORM_PORT_8080_TCP=tcp://10.0.0.1:8080", "HOME=/root",
	})
	want := "PLATFORM_PUBLC_URL (did you mean PLATFORM_PUBLIC_URL?), PLATFORM_COMPONENT_SECRT_FILE (did you mean PLATFORM_COMPONENT_SECRET_FILE?), PLATFORM_REDIS (did you mean PLATFORM_REDIS_URL?)"
	if strings.Join(got, ", ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMisspeltSettingsAreReportedByServeAndDoctor(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	environ := func() []string { return []string{"PLATFORM_TENANT_RAT=1"} }
	var out, log bytes.Buffer
	run(shell{anyContext, &out, &out, w.lookup, environ}, []string{"doctor"})
	ended, end := context.WithCancel(t.Context())
	end()
	d := *w.demo
	lookup := func(name string) (string, bool) {
		if strings.HasSuffix(name, "LISTEN") {
			return "127.0.0.1:0", true
		}
		return d.lookup(name)
	}
	if err := (serveCmd{}).Run(shell{ended, &bytes.Buffer{}, &log, lookup, environ}); err != nil {
		t.Fatal(err)
	}
	for who, text := range map[string]string{"doctor": out.String(), "serve": log.String()} {
		if !strings.Contains(text, "PLATFORM_TENANT_RAT (did you mean PLATFORM_TENANT_RATE?)") {
			t.Errorf("%s: got %s, want the name and the nearest one", who, text)
		}
	}
}

// The misspelt one is the required one that is missing.
func TestAMisspeltSettingIsNamedWhereOneIsMissing(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	lookup := func(string) (string, bool) { return "", false }
	environ := func() []string { return []string{"PLATFORM_PUBLC_URL=https://x"} }
	err := (serveCmd{}).Run(shell{anyContext, &bytes.Buffer{}, &log, lookup, environ})
	if err == nil || !strings.Contains(err.Error(), "PLATFORM_PUBLIC_URL is not set") || !strings.Contains(log.String(), "did you mean PLATFORM_PUBLIC_URL?") {
		t.Errorf("got %v and %s, want both names", err, &log)
	}
}

func TestEverySettingThatIsWrongIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	wrong := map[string]string{
		"PLATFORM_COMPONENT_AES_KEY": strings.Repeat("a", 42), "PLATFORM_DATABASE_URL": "mysql://u:canary@h/x",
		"PLATFORM_REDIS_URL": "http://u:canary@h", "PLATFORM_COMPONENT_TOKEN": "a b-",
	}
	found, _ := w.doctor(wrong)
	said := found["configuration"].EN
	for _, want := range []string{
		"PLATFORM_COMPONENT_AES_KEY: key 1 is not an EncodingAESKey: it has 42 characters, not 43", "PLATFORM_COMPONENT_TOKEN: token",
		"PLATFORM_DATABASE_URL: the URL is neither", "PLATFORM_REDIS_URL: the URL must begin with",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("got %q, want %q in it", said, want)
		}
	}
	if strings.Contains(said, "canary") || strings.Contains(said, "TOKEN or") {
		t.Errorf("got %q, want no secret, and each setting by its name", said)
	}
}

// The secret was reset in WeChat's console while the platform runs and no token is due.
func TestAResetSecretShowsWithinMinutes(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.sim.SetSecret("another-secret")
	w.platform.greet(anyContext)
	w.says("misconfigured", "PLATFORM_COMPONENT_SECRET is not the component's AppSecret")
	found, _ := w.doctor(nil)
	w.finds(found, "wechat", "failure", "PLATFORM_COMPONENT_SECRET is not the component's AppSecret")
	w.sim.SetSecret(w.env["PLATFORM_COMPONENT_SECRET"])
	w.platform.greet(anyContext)
	w.saysNoMore("misconfigured")
}

// A rollout must not go on to the next replica after one with a wrong secret.
func TestAWrongSecretShowsSoonAfterTheStart(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	if got := fresh(t, w).greetFirst; got != greetFirst {
		t.Errorf("got the first check after %s, want %s", got, greetFirst)
	}
	wrong := w.replicaThat(map[string]string{"PLATFORM_COMPONENT_SECRET": "another-secret"}, func(p *platform, ctx context.Context, on listeners) error {
		p.greetFirst = time.Millisecond
		return p.run(ctx, on)
	})
	wrong.says("misconfigured", "PLATFORM_COMPONENT_SECRET is not the component's AppSecret")
}

func TestDoctorSaysThatWeChatRefusedToPushTickets(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.exec(`UPDATE tickets SET received_at = $1`, time.Now().Add(-time.Hour).UnixMilli())
	found, _ := w.doctor(map[string]string{"PLATFORM_COMPONENT_SECRET": "wrong"})
	w.finds(found, "ticket", "failure", "WeChat refuses api_start_push_ticket with 40125")
	if strings.Contains(found["ticket"].Do, "was called just now") {
		t.Errorf("got %+v, want no claim that it was called", found["ticket"])
	}
}

func TestAWithdrawalWhoseEventGotLostIsNamed(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.settles()
	w.open(kfAccount)
	w.sim.Fault(wechatsim.Fault{Path: closePath, Code: 61003, Count: 1})
	answer := w.shut(kfAccount)
	w.wants(answer, 503, "wechat-unavailable")
	if said := answer.field("detail"); !strings.Contains(said, "WeChat says that the merchant is not authorized") || !strings.Contains(said, "being confirmed") {
		t.Errorf("got %q, want what WeChat said", said)
	}
}

func TestARefusedJWTIsExplainedToItsOwner(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	other := w.replica(map[string]string{"PLATFORM_PUBLIC_URL": "https://other.example"})
	elsewhere, stranger := w.jwt, sqliteWorld(t).jwt
	for name, c := range map[string]struct {
		at      *world
		jwt     string
		explain string
	}{
		"none":             {w, "", "Authorization: Bearer"},
		"other public URL": {other, elsewhere, "another public URL"},
		"other platform":   {w, stranger, "No key of this platform"},
		"garbage":          {w, "x.y.z", ""},
		"forged":           {w, w.jwt[:len(w.jwt)-8] + "AAAAAAAA", ""},
	} {
		header := map[string]string{}
		if c.jwt != "" {
			header["Authorization"] = "Bearer " + c.jwt
		}
		answer := c.at.raw("GET", "/v1/authorizers", header, "")
		if said := answer.field("detail"); answer.status != 401 || !strings.Contains(said, c.explain) || c.explain == "" && said != "" {
			t.Errorf("%s: got %d %s, want %q", name, answer.status, answer.body, c.explain)
		}
	}
	var revoked any
	w.command(&revoked, "client", "revoke", w.tenant, w.clientID())
	w.eventually("the client to be refused", func() bool { return w.ask("GET", "/v1/authorizers", "").status == 401 })
	if said := w.ask("GET", "/v1/authorizers", "").field("detail"); !strings.Contains(said, "revoked the client") {
		t.Errorf("got %q, want the client to be named", said)
	}
}

func TestARevokedSigningKeyIsNamed(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	var keys []struct {
		Key string `json:"kid"`
	}
	w.command(&keys, "key", "list")
	w.command(&keys, "key", "revoke", keys[0].Key)
	w.eventually("the key to be refused", func() bool { return w.ask("GET", "/v1/authorizers", "").status == 401 })
	if said := w.ask("GET", "/v1/authorizers", "").field("detail"); !strings.Contains(said, "revoked the key") {
		t.Errorf("got %q, want the key to be named", said)
	}
}

func TestAMerchantWhoseTokensAreAlwaysRejectedIsDegraded(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		w.settles()
		w.open(kfAccount)
		w.sim.Fault(wechatsim.Fault{Path: closePath, Code: 40001, Count: 1000})
		w.eventually("the rejection", func() bool { return w.shut(kfAccount).field("type") == "/problems/token-rejected" })
		listed := w.becomes(service, "degraded")
		if said := listed.field("reason"); !strings.Contains(said, "40001: WeChat rejects every access token of this account") {
			w.t.Errorf("got %s, want the reason", listed.body)
		}
		found, _ := w.doctor(nil)
		w.finds(found, "authorizers", "warning", "those with 40001 once no other program uses this component")
		w.sim.ClearFaults()
		w.ok(w.shut(kfAccount))
		w.becomes(service, "healthy")
	})
}

func TestDoctorsVerdictHolds(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"http://platform.example.com": false, "https://127.0.0.1": false, "https://localhost": false, "https://192.168.3.4": false, "https://[::1]": false,
		"https://platform.example.com": true, "https://8.8.8.8": true,
	} {
		e := &checkup{ended: func() bool { return false }, tell: func(finding) {}}
		e.add(unusual(config{publicURL: address, wechatURL: wechat.DefaultBase})...)
		if got := e.release().Level == "ok"; got != want {
			t.Errorf("%s: got ready %v, want %v", address, got, want)
		}
	}
}

func TestAnOlderProgramIsRefusedWithBothVersions(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.exec(`INSERT INTO migrations (name, oldest, program) VALUES ('9999_later.sql', '9999', 'v9.9.9')`)
	c, err := loadConfig(w.lookup, needsAll)
	if err != nil {
		t.Fatal(err)
	}
	_, err = assemble(anyContext, c, w.log)
	if !errors.Is(err, db.ErrTooNew) || !strings.Contains(err.Error(), "v9.9.9") || !strings.Contains(err.Error(), "this program, version ") {
		t.Errorf("got %v, want both versions named", err)
	}
	found, _ := w.doctor(nil)
	w.finds(found, "database", "failure", "version v9.9.9 of the platform")
	w.exec(`UPDATE migrations SET oldest = '0010' WHERE name = '9999_later.sql'`)
	found, _ = w.doctor(nil)
	w.finds(found, "database", "warning", "a newer version of the platform has migrated it (9999_later.sql by version v9.9.9)")
}

func TestAToleratedMigrationOfANewerVersionIsLoggedAtTheStart(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	said := func(of *world) (lines []map[string]any) {
		for _, line := range of.lines() {
			if strings.Contains(fmt.Sprint(line["msg"]), "a newer version of the platform has migrated the database") {
				lines = append(lines, line)
			}
		}
		return lines
	}
	w.exec(`INSERT INTO migrations (name, oldest, program) VALUES ('9999_later.sql', '0010', 'v9.9.9')`)
	older := w.replica(nil)
	w.eventually("the log line", func() bool { return len(said(older)) > 0 })
	older.end()
	lines := said(older)
	if len(lines) != 1 || lines[0]["level"] != "WARN" || lines[0]["migrations"] != "9999_later.sql by version v9.9.9" || lines[0]["version"] != currentVersion().Module {
		t.Errorf("got %v, want one warning with the migration and both versions", lines)
	}
	if lines := said(w); len(lines) > 0 {
		t.Errorf("got %v from a start without such a migration, want nothing", lines)
	}
}

// serve and the commands say as much as doctor does, because they are what ends.
func TestAStartOnAReadOnlyDatabaseSaysWhatToDo(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		if w.platform.db.Engine() != "postgres" {
			return
		}
		aside := w.aside()
		w.readOnly(aside, true)
		lookup := func(name string) (string, bool) {
			if strings.HasSuffix(name, "LISTEN") {
				return "127.0.0.1:0", true
			}
			return w.lookup(name)
		}
		for _, command := range [][]string{{"serve"}, {"tenant", "create", "x"}} {
			var errOut bytes.Buffer
			code := run(shell{anyContext, &bytes.Buffer{}, &errOut, lookup, noEnvironment}, command)
			if said := errOut.String(); code != 1 || !strings.Contains(said, "the database is read-only") || !strings.Contains(said, "use the primary and not a standby in PLATFORM_DATABASE_URL") || !strings.Contains(said, "主库") {
				w.t.Errorf("%v: got status %d, %q, want what to do", command, code, said)
			}
		}
		w.readOnly(aside, false)
	})
}

func TestACommandThatADatabaseRefusesSaysWhatToDo(t *testing.T) {
	for err, want := range map[error]string{
		fmt.Errorf("%w: %w", db.ErrUnavailable, db.ErrReadOnly): "use the primary",
		fmt.Errorf("%w: %w", db.ErrUnavailable, db.ErrFull):     "enlarge the disk",
		db.ErrUnavailable: "platform: database unavailable\n",
	} {
		var errOut bytes.Buffer
		if code := fail(shell{ctx: anyContext, errOut: &errOut}, err); code != 1 || !strings.Contains(errOut.String(), want) {
			t.Errorf("%v: got %q, want %q", err, &errOut, want)
		}
	}
}
