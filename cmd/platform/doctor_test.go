package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

// doctor runs the command with the world's settings, changed as given, and returns its findings by
// check; if a check has several, the worst.
func (w *world) doctor(settings map[string]string) (found map[string]finding, code int) {
	w.t.Helper()
	lookup := func(name string) (string, bool) {
		if value, ok := settings[name]; ok {
			return value, true
		}
		return w.lookup(name)
	}
	var out, errOut bytes.Buffer
	code = run(shell{anyContext, &out, &errOut, lookup, noEnvironment}, []string{"doctor", "--json"})
	var all []finding
	if err := json.Unmarshal(out.Bytes(), &all); err != nil {
		w.t.Fatalf("%v: %s%s", err, &out, &errOut)
	}
	found = map[string]finding{}
	for _, f := range all {
		if rank(f) >= rank(found[f.Check]) {
			found[f.Check] = f
		}
		if f.EN == "" || f.ZH == "" || (f.Do == "") != (f.DoZH == "") || f.Level != "ok" && f.Do == "" || strings.Contains(f.EN+f.ZH+f.Do+f.DoZH, "%!") {
			w.t.Errorf("got %+v, want both languages, and what to do", f)
		}
	}
	return found, code
}

func rank(f finding) int { return map[string]int{"ok": 1, "warning": 2, "failure": 3}[f.Level] }

func (w *world) finds(found map[string]finding, check, level, text string) {
	w.t.Helper()
	if f := found[check]; f.Level != level || !strings.Contains(f.EN+" "+f.Do, text) {
		w.t.Errorf("%s: got %+v, want %s and %q", check, f, level, text)
	}
}

func TestDoctorFindsAHealthyPlatformHealthy(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		w.platform.look(anyContext)
		found, code := w.doctor(nil)
		for _, check := range []string{"configuration", "serve", "database", "clock", "sealing-keys", "redis", "wechat", "ticket", "token", "callback", "refreshes", "suspects", "events", "authorizers", "replicas"} {
			w.finds(found, check, "ok", "")
		}
		w.finds(found, "public-url", "warning", "not https")
		w.finds(found, "wechat-url", "warning", "not WeChat itself")
		w.finds(found, "authorizers", "ok", "1 healthy")
		w.finds(found, "budget", "ok", "access tokens requested today")
		w.finds(found, "release", "warning", "put TLS in front") // the demo's URL is not one that WeChat reaches
		if code != 0 {
			w.t.Errorf("got status %d, want 0", code)
		}
	})
}

func TestDoctorSaysWhatToDo(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.exec(`INSERT INTO refresh_days (day, sent) VALUES ($1, 2) ON CONFLICT (day) DO UPDATE SET sent = 2`, wechat.Day(time.Now()).UnixMilli())
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }))
	defer page.Close()
	const gone = nobody
	for name, c := range map[string]struct {
		settings           map[string]string
		check, level, text string
	}{
		"no secret":         {map[string]string{"PLATFORM_COMPONENT_SECRET": ""}, "configuration", "failure", "PLATFORM_COMPONENT_SECRET is not set"},
		"wrong secret":      {map[string]string{"PLATFORM_COMPONENT_SECRET": "x"}, "wechat", "failure", "PLATFORM_COMPONENT_SECRET is not the component's AppSecret"},
		"no WeChat":         {map[string]string{"PLATFORM_WECHAT_URL": "http://" + gone}, "wechat", "failure", "DNS"},
		"no such host":      {map[string]string{"PLATFORM_WECHAT_URL": "http://nowhere.invalid"}, "wechat", "failure", "check DNS"},
		"not WeChat":        {map[string]string{"PLATFORM_WECHAT_URL": other.URL}, "wechat", "failure", "a proxy between us"},
		"a page of a proxy": {map[string]string{"PLATFORM_WECHAT_URL": page.URL}, "wechat", "failure", "a proxy between us"},
		"no platform":       {map[string]string{"PLATFORM_PRIVATE_LISTEN": gone}, "serve", "warning", "start `platform serve`"},
		"URL leads nowhere": {map[string]string{"PLATFORM_PUBLIC_URL": "http://" + gone}, "callback", "failure", "from here only"},
		"URL leads astray":  {map[string]string{"PLATFORM_PUBLIC_URL": other.URL}, "callback", "failure", "something else answers there"},
		"other token":       {map[string]string{"PLATFORM_COMPONENT_TOKEN": "another"}, "callback", "failure", "PLATFORM_COMPONENT_TOKEN there differs"},
		"no database":       {map[string]string{"PLATFORM_DATABASE_URL": "postgres://" + gone + "/x"}, "database", "failure", "PLATFORM_DATABASE_URL"},
		"fresh database":    {map[string]string{"PLATFORM_DATABASE_URL": "sqlite:" + filepath.Join(t.TempDir(), "new.db")}, "database", "warning", "platform migrate"},
		"other component":   {map[string]string{"PLATFORM_COMPONENT_APPID": "wxffffffffffffffff"}, "database", "failure", "belongs to another component"},
		"wrong component":   {map[string]string{"PLATFORM_COMPONENT_APPID": "wxffffffffffffffff"}, "wechat", "failure", "PLATFORM_COMPONENT_APPID"},
		"missing key":       {map[string]string{"PLATFORM_SEALING_KEYS": seal.NewKey()}, "sealing-keys", "failure", "serve does not start"},
		"no Redis":          {map[string]string{"PLATFORM_REDIS_URL": "redis://" + gone}, "redis", "failure", "tokens come from the database"},
		"a small budget":    {map[string]string{"PLATFORM_REFRESH_BUDGET": "2"}, "budget", "warning", "2 of 2 access tokens requested today, 0 left"},
	} {
		found, code := w.doctor(c.settings)
		w.finds(found, c.check, c.level, c.text)
		if want := map[string]int{"failure": 1, "warning": 0}[c.level]; code != want {
			t.Errorf("%s: got status %d, want %d", name, code, want)
		}
		if f, ok := found["release"]; ok && code == 1 && f.Level != "warning" {
			t.Errorf("%s: got %+v, want it not ready for the release", name, f)
		}
	}
}

func TestDoctorReadsWhatIsAmiss(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	d := w.platform.db
	exec := func(text string, args ...any) {
		t.Helper()
		if _, err := db.Exec(anyContext, d, text, args...); err != nil {
			t.Fatal(err)
		}
	}
	hourAgo := time.Now().Add(-time.Hour).UnixMilli()
	exec(`UPDATE tickets SET received_at = $1`, hourAgo)
	exec(`UPDATE authorizers SET state = 'reauthorize', reason = 'x'`)
	w.end() // a platform that runs would find the merchant healthy after some seconds
	if aged := ticket(anyContext, fresh(t, w), nil, nil); aged.Level != "failure" || !strings.Contains(aged.Do, "api_start_push_ticket was called") || !strings.Contains(aged.EN, "1h0m") {
		t.Errorf("got %+v, want the ticket missed", aged)
	}
	w.sim.SetAllowedIPs("10.9.9.9")
	found, _ := w.doctor(nil)
	w.finds(found, "wechat", "failure", "add 127.0.0.1 to the component's IP list")
	w.finds(found, "authorizers", "warning", "1 must authorize again")
}

// fresh returns the world's platform as a process that has just started sees it.
func fresh(t *testing.T, w *world) *platform {
	t.Helper()
	c, err := loadConfig(w.lookup, needsAll)
	if err != nil {
		t.Fatal(err)
	}
	p, err := wire(anyContext, c, w.log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.close() })
	return p
}

func TestDoctorJudgesABacklog(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	p := fresh(t, w)
	ago := func(d time.Duration) int64 { return time.Now().Add(-d).UnixMilli() }
	for name, c := range map[string]struct {
		due, unsettled time.Duration
		refreshes      string
		suspects       string
	}{
		"none waits long": {time.Minute, time.Minute, "ok", "ok"},
		"late":            {10 * time.Minute, time.Minute, "warning", "ok"},
		"much too late":   {time.Hour, time.Hour, "failure", "warning"},
	} {
		for _, text := range []string{`DELETE FROM tokens WHERE kind = 'authorizer'`, `INSERT INTO tokens (kind, id, access, refresh, spare, due, unsettled_until) VALUES ('authorizer', 'wx01', '', '', '', $1, $2)`} {
			args := []any{ago(c.due), ago(c.unsettled)}[:2*strings.Count(text, "$2")]
			if _, err := db.Exec(anyContext, p.db, text, args...); err != nil {
				t.Fatal(err)
			}
		}
		levels := map[string]string{}
		for _, f := range backlog(anyContext, p) {
			levels[f.Check] = f.Level
		}
		if levels["refreshes"] != c.refreshes || levels["suspects"] != c.suspects {
			t.Errorf("%s: got %v, want %s and %s", name, levels, c.refreshes, c.suspects)
		}
	}
}

func TestClocksAreComparedWithinTheTimeTheAskingTook(t *testing.T) {
	began := time.Now()
	ended := began.Add(time.Second)
	for off, want := range map[time.Duration]string{
		0: "ok", 900 * time.Millisecond: "ok", 5500 * time.Millisecond: "ok", 7 * time.Second: "warning", -6 * time.Second: "warning", 40 * time.Second: "failure", -31 * time.Second: "failure",
	} {
		if f := compareClocks("x", "x", began.Add(off), began, ended); f.Level != want {
			t.Errorf("%v off: got %s, want %s", off, f.Level, want)
		}
	}
}

func TestADoctorsLineIsForPeople(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	var out, errOut bytes.Buffer
	if code := run(shell{anyContext, &out, &errOut, w.with("PLATFORM_COMPONENT_SECRET", "wrong"), noEnvironment}, []string{"doctor"}); code != 1 || errOut.Len() > 0 {
		t.Errorf("got status %d, %s, want 1 and nothing more said", code, &errOut)
	}
	for _, want := range []string{"✓ database ", "! public-url ", "✗ wechat ", "→ PLATFORM_COMPONENT_SECRET 不正确"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got\n%s\nwant %q in it", &out, want)
		}
	}
}

// The clock is so far off that nothing else in the platform relies on WeChat's: only doctor tells.
func TestDoctorSeesAClockThatIsFarFromWeChats(t *testing.T) {
	t.Parallel()
	clock := &aheadClock{}
	w := newWorldWith(t, nil, wechatsim.Config{Now: clock.now})
	clock.set(15*time.Minute + 30*time.Second)
	found, _ := w.doctor(nil)
	w.finds(found, "clock", "failure", "WeChat's clock differ by 15m")
}

func TestDoctorCountsUnverifiedAccounts(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	found, _ := w.doctor(nil)
	if _, is := found["verified"]; is {
		t.Errorf("got %+v, want nothing to say where all are verified", found["verified"])
	}
	w.grant(wechatsim.SampleUnverified, "1")
	w.settles()
	found, _ = w.doctor(nil)
	w.finds(found, "verified", "warning", "1 accounts are not verified")
}
