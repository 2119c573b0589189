package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/testenv"
	"wxplatform/wechat/wechatsim"
)

// canaries are secrets that a test knows, by name.
type canaries map[string]string

// in reports which of them occur in text, in any encoding.
func (c canaries) in(text string) []string {
	var found []string
	for name, secret := range c {
		for spelling, spelled := range spellings(secret) {
			if secret != "" && strings.Contains(text, spelled) {
				found = append(found, name+" ("+spelling+")")
			}
		}
	}
	return found
}

func spellings(secret string) map[string]string {
	quoted, _ := json.Marshal(secret)
	all := map[string]string{
		"raw": secret, "url": url.QueryEscape(secret), "path": url.PathEscape(secret), "hex": hex.EncodeToString([]byte(secret)),
		"json": strings.Trim(string(quoted), `"`), "HEX": strings.ToUpper(hex.EncodeToString([]byte(secret))), "html": html.EscapeString(secret),
		"go": strings.Trim(strconv.Quote(secret), `"`), "bytes": strings.Trim(fmt.Sprint([]byte(secret)), "[]"),
	}
	// In base64 a secret looks different at each of three offsets, and its ends depend on its
	// neighbours.
	for offset := range 3 {
		padded := append(make([]byte, offset), secret...)
		std, uri := base64.StdEncoding.EncodeToString(padded), base64.URLEncoding.EncodeToString(padded)
		if len(std) > 12 {
			all[fmt.Sprintf("base64+%d", offset)], all[fmt.Sprintf("base64url+%d", offset)] = std[4:len(std)-8], uri[4:len(uri)-8]
		}
	}
	return all
}

func TestNoSecretShowsAnywhere(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "platform.db")
		w := newWorldWith(t, map[string]string{"PLATFORM_DATABASE_URL": "sqlite:" + file, "PLATFORM_PPROF": "on"})
		secrets := w.liveThrough()
		for _, name := range []string{file, file + "-wal"} {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			w.clean(secrets, "SQLite's "+filepath.Base(name), string(text))
		}
	})
	if testenv.Get("TEST_POSTGRES_URL") == "" {
		return
	}
	t.Run("postgres", func(t *testing.T) {
		w := newWorldWith(t, map[string]string{"PLATFORM_DATABASE_URL": dbtest.PostgresURL(t), "PLATFORM_REDIS_URL": testenv.Get("TEST_REDIS_URL"), "PLATFORM_PPROF": "on"})
		secrets := w.liveThrough()
		for _, table := range []string{"meta", "tenants", "clients", "signing_keys", "tokens", "tickets", "authorizers", "invitations", "invitation_secrets", "exchanges", "events", "audit", "recorded_settings"} {
			rows, err := db.All(anyContext, w.platform.db, db.Value[string], `SELECT CAST(t AS TEXT) FROM `+table+` t`)
			if err != nil || len(rows) == 0 {
				t.Fatalf("%s: got %d rows, %v", table, len(rows), err)
			}
			w.clean(secrets, "table "+table, strings.Join(rows, "\n"))
		}
		w.clean(secrets, "Redis", redisDump(t, w.platform.db.ID()))
	})
}

// clean fails if a secret occurs in text.
func (w *world) clean(secrets canaries, where, text string) {
	w.t.Helper()
	if found := secrets.in(text); len(found) > 0 {
		w.t.Errorf("%s shows %q", where, found)
	}
}

func redisDump(t *testing.T, prefix string) string {
	t.Helper()
	options, err := redis.ParseURL(testenv.Get("TEST_REDIS_URL"))
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	keys, err := client.Keys(context.Background(), "*"+prefix+"*").Result()
	if err != nil || len(keys) == 0 {
		t.Fatalf("got %d keys of the database in Redis, %v", len(keys), err)
	}
	var dump strings.Builder
	for _, key := range keys {
		dump.WriteString(key + "\n")
		if value, err := client.Get(context.Background(), key).Result(); err == nil {
			dump.WriteString(value + "\n")
		}
		if fields, err := client.HGetAll(context.Background(), key).Result(); err == nil {
			for name, value := range fields {
				dump.WriteString(name + value + "\n")
			}
		}
	}
	return dump.String()
}

// liveThrough uses every feature that handles a secret, with success and with failure, checks all
// output meanwhile, and returns the secrets.
func (w *world) liveThrough() canaries {
	w.t.Helper()
	about := w.sim.Config()
	secrets := canaries{
		"component secret": about.Secret, "AES key": about.AESKey, "push token": about.Token, "sealing key": w.env["PLATFORM_SEALING_KEYS"],
		"client secret": strings.Split(w.basic, ":")[1], "JWT": w.jwt, "ticket": w.sim.Ticket(),
	}
	for name, text := range map[string]string{"sealing key, decoded": w.env["PLATFORM_SEALING_KEYS"], "AES key, decoded": about.AESKey + "="} {
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			w.t.Fatal(err)
		}
		secrets[name] = string(key)
	}
	said := w.talk(secrets)
	secrets["component token"] = w.sim.LastComponentToken()
	secrets["access token"] = w.sim.LastAccessToken(service)
	secrets["refresh token"] = w.sim.RefreshToken(service)
	for _, name := range []string{"invitation", "pre-auth code", "auth code", "cookie", "access token", "refresh token", "component token", "bound JWT", "user token", "user's refresh token", "sealed user token", "sealed refresh token", "session key"} {
		if secrets[name] == "" {
			w.t.Fatalf("the test has no %s", name)
		}
	}
	w.settles()
	metrics, err := w.out.send(anyContext, "GET", "http://"+w.on.private.Addr().String()+"/metrics", nil, "")
	if err != nil || !strings.Contains(string(metrics.body), "wxplatform_") {
		w.t.Fatalf("got no metrics: %v", err)
	}
	w.clean(secrets, "the metrics", string(metrics.body))
	w.clean(secrets, "what the operator reads", w.operated())
	w.clean(but(secrets, "invitation"), "a page", w.pages(secrets)) // a page's button leads back to the link that its reader has
	w.clean(secrets, "the log", w.log.String())
	w.clean(secrets, "an answer", said)
	return secrets
}

// operated returns the output of the operator's commands and of the operations listener.
func (w *world) operated() string {
	w.t.Helper()
	var shown bytes.Buffer
	for _, args := range [][]string{
		{"doctor"}, {"doctor", "--json"}, {"tenant", "list"}, {"tenant", "show", w.tenant}, {"client", "list", w.tenant, "--json"}, {"key", "list", "--json"}, {"key", "sealing"},
		{"authorizer", "list"}, {"authorizer", "show", string(service), "--json"}, {"authorizer", "refresh", string(service)}, {"reconcile"}, {"reseal", "--check"}, {"help", "config"},
		{"audit", "list"}, {"audit", "list", "--json"},
	} {
		_ = run(shell{anyContext, &shown, &shown, w.lookup, noEnvironment}, args) // doctor's warnings are an exit status too
	}
	operations := w.platform.private() // without a server: on a busy machine the profiles take longer than its time-outs
	for _, path := range []string{"/readyz", "/healthz", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1"} {
		answer := httptest.NewRecorder()
		operations.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
		if answer.Code != http.StatusOK {
			w.t.Fatalf("%s: got %d %s", path, answer.Code, answer.Body)
		}
		shown.Write(answer.Body.Bytes())
	}
	if shown.Len() < 10000 {
		w.t.Fatalf("got %d characters of what the operator reads, want all of it", shown.Len())
	}
	return shown.String()
}

// pages returns every page on which no merchant needs a secret. The page of a pending invitation is
// not among them: its button has the pre-auth code.
func (w *world) pages(secrets canaries) string {
	w.t.Helper()
	var said strings.Builder
	used := w.publicURL + "/authorize/" + secrets["invitation"]
	_, pending := w.invitation("")
	w.sim.Fault(wechatsim.Fault{Path: "/cgi-bin/component/api_create_preauthcode", Do: wechatsim.Cut, Count: wechatsim.Always})
	for _, link := range []string{used, used + "/done", used + "/done?auth_code=" + secrets["auth code"], pending, pending + "/done?auth_code=" + secrets["auth code"], w.publicURL + "/authorize/" + secrets["client secret"]} {
		page, err := newBrowser().send(anyContext, "GET", link, nil, "")
		if err != nil || page.status == 303 && !strings.HasPrefix(link, used) {
			w.t.Fatalf("got %d, %v", page.status, err)
		}
		said.Write(page.body)
		_ = page.header.Write(&said)
	}
	return said.String()
}

// but returns all canaries except one.
func but(secrets canaries, name string) canaries {
	rest := maps.Clone(secrets)
	delete(rest, name)
	return rest
}

// talk returns what the platform answered to requests whose answers must contain no secret.
func (w *world) talk(secrets canaries) string {
	var said strings.Builder
	say := func(answer reply) {
		said.Write(answer.body)
		_ = answer.header.Write(&said)
	}
	id, link := w.invitation("")
	secrets["invitation"] = id
	browser := newBrowser()
	page, err := browser.send(anyContext, "GET", link, nil, "")
	if err != nil {
		w.t.Fatal(err)
	}
	secrets["pre-auth code"] = preAuthCode(w.t, string(page.body))
	secrets["cookie"] = strings.TrimPrefix(strings.Split(page.header.Get("Set-Cookie"), ";")[0], "wxplatform_invitation=")
	given, err := w.sim.Consent(anyContext, secrets["pre-auth code"], service, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	secrets["auth code"] = given.AuthCode
	if _, err := browser.send(anyContext, "GET", given.AppendTo(link+"/done"), nil, ""); err != nil {
		w.t.Fatal(err)
	}
	w.logInSecretly(secrets, say)
	w.open(kfAccount)
	say(w.shut(kfAccount))
	for _, f := range []wechatsim.Fault{
		{Path: closePath, When: wechatsim.After, Do: wechatsim.Cut, Count: 2}, {Path: closePath, Code: 40001}, {Path: closePath, Status: 502, Count: 2},
		{Path: closePath, Do: wechatsim.AnswerHTML, Count: 2}, {Path: closePath, Code: 61003}, {Path: closePath, Code: 48001},
		{Path: "/cgi-bin/component/api_authorizer_token", Do: wechatsim.Cut}, {Path: "/cgi-bin/component/api_query_auth", Do: wechatsim.Cut},
		{Path: "/cgi-bin/component/api_create_preauthcode", Do: wechatsim.Cut}, {Path: "/cgi-bin/component/api_get_authorizer_info", Do: wechatsim.Cut, Count: 2},
	} {
		w.sim.Fault(f)
		say(w.shut(kfAccount))
	}
	say(w.shut(kfAccount))
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/v1/authorizers?limit=x&access_token=" + w.jwt, ""}, {"GET", "/v1/authorizers", ""}, {"GET", "/v1/authorizers/" + string(service), ""}, {"GET", "/v1/audit", ""},
		{"GET", "/v1/nowhere/" + w.jwt + "?code=" + given.AuthCode, ""}, {"POST", "/v1/invitations", `{"` + w.jwt[:20] + `":1}`}, {"PATCH", "/authorize/" + id, ""},
		{"GET", "/v1/authorizers/" + secrets["client secret"], ""}, {"GET", "/v1/invitations/" + secrets["client secret"], ""},
		{"POST", eventsPath + "?timestamp=1&nonce=2&msg_signature=3", "<xml><Encrypt>" + secrets["ticket"] + "</Encrypt></xml>"},
	} {
		say(w.ask(c.method, c.path, c.body))
	}
	say(w.raw(http.MethodPost, "/oauth/token", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, "grant_type=client_credentials&client_id=c1&client_secret="+secrets["client secret"]+"&scope="+w.jwt))
	say(w.raw(http.MethodGet, "/v1/authorizers", map[string]string{"Authorization": "Bearer " + w.jwt + "x"}, ""))
	secrets["bound JWT"] = w.sdkToken(service, secrets["client secret"]).field("access_token")
	appid, wrong := string(service), secrets["client secret"][:len(secrets["client secret"])-1]
	for _, query := range []string{
		"appid=" + appid + "&secret=" + secrets["client secret"], "appid=" + secrets["client secret"] + "&secret=" + appid, "appid=wx00000000000000ff&secret=" + secrets["client secret"],
		"appid=" + appid + "&secret=" + wrong + "x", "appid=" + appid + "&secret=" + secrets["bound JWT"], "appid=%zz&secret=" + secrets["client secret"], secrets["client secret"] + "=" + secrets["bound JWT"],
	} {
		said.WriteString(w.raw("GET", "/cgi-bin/token?grant_type=client_credential&"+query, nil, "").field("errmsg"))
		say(w.raw("POST", "/cgi-bin/stable_token", nil, query))
	}
	for _, path := range []string{"/cgi-bin/no/such?access_token=", "/cgi-bin/token/", "/customservice/kfsession/close?access_token="} {
		say(w.raw("GET", path+secrets["bound JWT"], nil, ""))
	}
	w.push(eventsPath, w.event("authorized", "<AuthorizerAppid>"+string(service)+"</AuthorizerAppid><AuthorizationCode>"+given.AuthCode+"</AuthorizationCode><PreAuthCode>"+secrets["pre-auth code"]+"</PreAuthCode>"), time.Now())
	return said.String()
}

// logInSecretly logs users in, with success, which answers secrets, and with failure, which must
// not.
func (w *world) logInSecretly(secrets canaries, say func(reply)) {
	w.t.Helper()
	w.grant(miniProgram, "18")
	given := w.logsIn("/sns/oauth2/access_token", service, w.loginCode(service, wechatsim.ScopeUserInfo))
	secrets["user token"], secrets["user's refresh token"] = w.sim.LastUserTokens()
	access, refresh := given.field("access_token"), given.field("refresh_token")
	secrets["sealed user token"], secrets["sealed refresh token"] = access, refresh
	secrets["session key"] = w.logsIn("/sns/jscode2session", miniProgram, w.loginCode(miniProgram, "")).field("session_key")
	say(w.about("/sns/userinfo", access))
	native := "/v1/authorizers/" + string(service) + "/sns/"
	for _, path := range []string{"/sns/auth", "/sns/userinfo", webLoginPath, userRefreshPath, miniLoginPath} {
		for _, f := range []wechatsim.Fault{{Code: 40001}, {Code: 42001}, {Code: 40029}, {When: wechatsim.After, Do: wechatsim.Cut}, {When: wechatsim.After, Drop: []string{"openid"}}, {Status: 502}} {
			f.Path = path
			w.sim.Fault(f)
		}
		for range 3 {
			say(w.about("/sns/auth", access))
			say(w.ask("GET", native+"userinfo?openid=x&access_token="+access, ""))
			if path == userRefreshPath {
				say(w.renewed(service, refresh))
				say(w.ask("GET", native+"oauth2/refresh_token?refresh_token="+refresh, ""))
			}
			say(w.logsIn("/sns/oauth2/access_token", service, "invented"))
			say(w.logsIn("/sns/jscode2session", miniProgram, "invented"))
		}
		w.sim.ClearFaults()
	}
	say(w.renewed(service, access))
	say(w.about("/sns/auth", refresh))
	say(w.ask("GET", native+"auth?"+refresh+"=1&access_token="+access, ""))
	say(w.ask("GET", native+"jscode2session?secret="+secrets["client secret"], ""))
	say(w.raw("POST", "/sns/userinfo?access_token="+access, nil, refresh))
	say(w.raw("GET", "/sns/no/such?access_token="+access, nil, ""))
}

func TestTheLogLineNamesTheRouteAndNotThePath(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.ask("GET", "/v1/authorizers/wx00000000000000ff?x=y", "")
	var found bool
	for _, line := range w.lines() {
		if line["route"] == "/v1/authorizers/:appid" {
			found = true
			if line["tenant"] != w.tenant || line["request_id"] == "" || line["status"] == nil {
				t.Errorf("got %v, want tenant, request id and status", line)
			}
		}
	}
	if !found || strings.Contains(w.log.String(), "wx00000000000000ff") {
		t.Errorf("got %s, want the route's pattern and not what the caller sent", w.log.String())
	}
}
