package main

import (
	"bytes"
	"cmp"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/alecthomas/kong"

	"wxplatform/audit"
	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/seal"
	"wxplatform/migrations"
	"wxplatform/tenant"
	"wxplatform/wechat/wechatsim"
)

// step is a command or a request that changes something.
type step struct {
	name    string   // of the command, or method and pattern of the route
	args    []string // of the command after its name, or path and body of the request
	want    []string // the entries that it leaves; see entries
	refused []string // args with which it is refused, and leaves no entry
	prepare func()   // runs before the step
	id      *string  // if not nil, takes the place of "ID" in args after prepare
}

func (s step) isRequest() bool { return strings.Contains(s.name, " /") }

// run runs the step with args, and reports whether it succeeded.
func (w *world) run(s step, args []string) bool {
	w.t.Helper()
	if s.isRequest() {
		method, _, _ := strings.Cut(s.name, " ")
		return w.ask(method, args[0], args[1]).status < 400
	}
	var out bytes.Buffer
	code := run(shell{anyContext, &out, &out, w.lookup, noEnvironment}, append(strings.Fields(s.name), args...))
	if code != 0 {
		w.t.Logf("%s %q: %s", s.name, args, &out)
	}
	return code == 0
}

var (
	timesIn    = regexp.MustCompile(`"\d{4}-\d\d-\d\dT[0-9:.]+Z"`)
	newTenants = regexp.MustCompile(`\bt[a-z2-7]{11}\b`)
	newClients = regexp.MustCompile(`\bc[a-z2-7]{11}\b`)
)

// entries are the entries after one, each as "actor action owner subject before after". What
// differs from run to run is replaced by a word in capitals.
func (w *world) entries(after audit.ID) (all []string, last audit.ID) {
	w.t.Helper()
	read, err := audit.New(w.platform.db).Newest(anyContext, audit.Filter{}, 0, 10_000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range read {
		if e.ID > after {
			all, last = append(all, w.entry(e)), e.ID
		}
	}
	return all, max(after, last)
}

func (w *world) entry(e audit.Entry) string {
	subject := e.Subject
	switch e.Action.Kind() {
	case "key":
		subject = "KEY"
	case "invitation":
		subject = "INVITATION"
	}
	orDash := func(text string) string { return cmp.Or(text, "-") }
	text := strings.Join([]string{string(e.By), string(e.Action), orDash(string(e.Owner)), subject, orDash(e.Before.String()), orDash(e.After.String())}, " ")
	client, _, _ := strings.Cut(w.basic, ":")
	text = strings.NewReplacer(string(operator()), "OPERATOR", "client:"+w.tenant+"/"+client, "CLIENT", w.tenant, "TENANT", client, "ITS-CLIENT", string(service), "SERVICE").Replace(text)
	text = newTenants.ReplaceAllString(timesIn.ReplaceAllString(text, "TIME"), "OTHER-TENANT")
	return newClients.ReplaceAllString(text, "OTHER-CLIENT")
}

// steps are all commands and requests that change something, in an order in which they can be run.
func (w *world) steps() []step {
	w.t.Helper()
	var made struct{ ID string }
	w.command(&made, "tenant", "create", "Book Shop")
	other := made.ID
	w.command(&made, "client", "create", w.tenant)
	spare := made.ID
	client, _, _ := strings.Cut(w.basic, ":")
	synthetic := string(wechatsim.SyntheticAppID(0))
	unused := seal.NewSecret(seal.NewKey())
	assignments := filepath.Join(w.t.TempDir(), "assign.csv")
	every := tenant.AllScopes().String()
	var kid, invitation string
	return []step{
		{
			name: "tenant create", args: []string{"Tea House", "--redirect", "https://tea.example.com/?a&b"}, refused: []string{" "},
			want: []string{`OPERATOR tenant.create OTHER-TENANT OTHER-TENANT - {"name":"Tea House","redirects":["https://tea.example.com/?a&b"]}`},
		},
		{
			name: "tenant suspend", args: []string{w.tenant}, refused: []string{"tnobody"},
			want: []string{`OPERATOR tenant.suspend TENANT TENANT {"suspended_at":null} {"suspended_at":TIME}`},
		},
		{
			name: "tenant resume", args: []string{w.tenant}, refused: []string{"tnobody"},
			want: []string{`OPERATOR tenant.resume TENANT TENANT {"suspended_at":TIME} {"suspended_at":null}`},
		},
		{
			name: "tenant limit", args: []string{w.tenant, "--rate", "700"}, refused: []string{"tnobody", "--rate", "700"},
			want: []string{`OPERATOR tenant.limit TENANT TENANT {"requests_per_second":null,"burst":null} {"requests_per_second":700,"burst":1400}`},
		},
		{
			name: "client create", args: []string{w.tenant, "--name", "console", "--scope", "kfsession:read"}, refused: []string{"tnobody"},
			want: []string{`OPERATOR client.create TENANT OTHER-CLIENT - {"name":"console","scopes":"kfsession:read"}`},
		},
		{
			name: "client set", args: []string{w.tenant, spare, "--scope", "kfsession:read"}, refused: []string{w.tenant, "cnobody", "--scope", "kfsession:read"},
			want: []string{`OPERATOR client.set TENANT OTHER-CLIENT {"scopes":"` + every + `"} {"scopes":"kfsession:read"}`},
		},
		{
			name: "client rotate", args: []string{w.tenant, client}, refused: []string{w.tenant, "cnobody"},
			want: []string{`OPERATOR client.rotate TENANT ITS-CLIENT {"old_secret_ends_at":null} {"old_secret_ends_at":TIME}`},
		},
		{
			name: "client rotate", args: []string{w.tenant, client, "--end-old"}, refused: []string{w.tenant, "cnobody", "--end-old"},
			want: []string{`OPERATOR client.end-old-secret TENANT ITS-CLIENT {"old_secret_ends_at":TIME} {"old_secret_ends_at":null}`},
		},
		{
			name: "client revoke", args: []string{w.tenant, spare}, refused: []string{other, client},
			want: []string{`OPERATOR client.revoke TENANT OTHER-CLIENT {"revoked_at":null} {"revoked_at":TIME}`},
		},
		{
			name: "key rotate",
			want: []string{`OPERATOR key.create - KEY - {"signs_from":TIME}`},
		},
		{
			name: "key revoke", args: []string{"ID"}, refused: []string{"nokey"},
			want:    []string{`OPERATOR key.revoke - KEY {"revoked_at":null} {"revoked_at":TIME}`},
			prepare: func() { kid = w.newestKey() }, id: &kid,
		},
		{
			name: "authorizer move", args: []string{string(service), other}, refused: []string{"wx00000000000000ff", other},
			want: []string{
				`OPERATOR authorizer.unassign TENANT SERVICE {"tenant":"TENANT"} {"tenant":null}`,
				`OPERATOR authorizer.assign OTHER-TENANT SERVICE {"tenant":null} {"tenant":"OTHER-TENANT"}`,
			},
		},
		{
			name: "authorizer refresh", args: []string{string(service)}, refused: []string{"wx00000000000000ff"},
			want: []string{`OPERATOR authorizer.refresh OTHER-TENANT SERVICE - -`},
		},
		{
			name: "authorizer move", args: []string{string(service), "--none"}, refused: []string{string(service)},
			want: []string{`OPERATOR authorizer.unassign OTHER-TENANT SERVICE {"tenant":"OTHER-TENANT"} {"tenant":null}`},
		},
		{
			name: "reconcile", args: []string{"--assign", assignments}, refused: []string{"--assign", assignments + ".not"},
			want: []string{
				`OPERATOR authorizer.adopt - ` + synthetic + ` - {"tenant":null}`,
				`OPERATOR authorizer.assign TENANT SERVICE {"tenant":null} {"tenant":"TENANT"}`,
			},
			prepare: func() {
				w.sim.AddSynthetic(1)
				if err := os.WriteFile(assignments, []byte(string(service)+","+w.tenant+"\n"), 0o600); err != nil {
					w.t.Fatal(err)
				}
			},
		},
		{
			name: "POST /v1/invitations", args: []string{"/v1/invitations", `{"redirect_url":"` + redirect + `","kind":"pc","state":"order-42","permission_sets":[1,6]}`},
			refused: []string{"/v1/invitations", `{"redirect_url":"https://elsewhere.example.com/","kind":"pc"}`},
			want:    []string{`CLIENT invitation.create TENANT INVITATION - {"kind":"pc","appid":null,"permission_sets":"1,6","redirect_url":"` + redirect + `","expires_at":TIME}`},
		},
		{
			name: "DELETE /v1/invitations/:invitation", args: []string{"/v1/invitations/ID", ""}, refused: []string{"/v1/invitations/nobodys", ""},
			want:    []string{`CLIENT invitation.cancel TENANT INVITATION {"status":"pending"} {"status":"cancelled"}`},
			prepare: func() { invitation, _ = w.invitation("") }, id: &invitation,
		},
		{
			name: "reseal", refused: []string{"--give-up", "00000001"},
			want:    []string{`OPERATOR sealing-key.forget - ` + w.ring(unused).Keys()[0].String() + ` {"last_sealed_at":TIME} -`},
			prepare: func() { w.sealsNoMore(w.ring(unused)) },
		},
	}
}

func (w *world) ring(keys seal.Secret) *seal.Ring {
	w.t.Helper()
	ring, err := seal.NewRing(keys)
	if err != nil {
		w.t.Fatal(err)
	}
	return ring
}

// sealsNoMore records the ring's key as one that a process sealed with a while ago.
func (w *world) sealsNoMore(ring *seal.Ring) {
	w.t.Helper()
	if err := w.platform.db.StillSeals(anyContext, ring); !errors.Is(err, db.ErrMissingKey) {
		w.t.Fatal(err)
	}
	w.exec(`UPDATE sealing_keys SET seen_at = seen_at - 100000 WHERE id = $1`, ring.Keys()[0].Bytes())
}

func (w *world) newestKey() string {
	w.t.Helper()
	keys, err := w.platform.tenants.Keys.List(anyContext)
	if err != nil || len(keys) == 0 {
		w.t.Fatal(err)
	}
	return string(keys[len(keys)-1].ID)
}

func TestEveryChangeIsRecordedOnce(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		w.grant(service, "1", "6")
		w.settles()
		for _, s := range w.steps() {
			w.takes(s)
		}
	})
}

// takes runs a step, refused and not, and compares what it leaves in the trail.
func (w *world) takes(s step) {
	w.t.Helper()
	_, last := w.entries(0)
	if s.refused != nil {
		if w.run(s, s.refused) {
			w.t.Errorf("%s %q: got it done, want it refused", s.name, s.refused)
		}
		if got, _ := w.entries(last); len(got) > 0 {
			w.t.Errorf("%s %q: got %q, want nothing recorded of what was refused", s.name, s.refused, got)
		}
	}
	args := slices.Clone(s.args)
	if s.prepare != nil {
		s.prepare()
		_, last = w.entries(last)
	}
	for i := range args {
		if s.id != nil {
			args[i] = strings.ReplaceAll(args[i], "ID", *s.id)
		}
	}
	if !w.run(s, args) {
		w.t.Errorf("%s %q: got it refused", s.name, args)
	}
	if got, _ := w.entries(last); !slices.Equal(got, s.want) {
		w.t.Errorf("%s %q: got\n%s\nwant\n%s", s.name, args, strings.Join(got, "\n"), strings.Join(s.want, "\n"))
	}
}

// What changes nothing is not recorded.
func TestAnOrderThatChangesNothingIsNotRecorded(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	client, _, _ := strings.Cut(w.basic, ":")
	for _, args := range [][]string{
		{"tenant", "suspend", w.tenant}, {"tenant", "resume", w.tenant}, {"tenant", "limit", w.tenant, "--rate", "700"},
		{"client", "set", w.tenant, client, "--scope", "kfsession:read"}, {"client", "rotate", w.tenant, client}, {"client", "rotate", w.tenant, client, "--end-old"},
		{"authorizer", "move", string(service), "--none"}, {"authorizer", "move", string(service), w.tenant}, {"client", "revoke", w.tenant, client},
	} {
		if !w.run(step{name: args[0]}, args[1:]) {
			t.Fatalf("%q: got it refused", args)
		}
		_, last := w.entries(0)
		_ = w.run(step{name: args[0]}, args[1:]) // of a rotation the second one is refused
		if got, _ := w.entries(last); len(got) > 0 {
			t.Errorf("%q again: got %q, want nothing", args, got)
		}
	}
}

func TestTheStartRecordsTheSettings(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	first, last := w.entries(0)
	if len(first) < 2 || !strings.HasPrefix(first[0], `OPERATOR settings.change - serve - {`) || !strings.Contains(first[0], `"PLATFORM_DATABASE_URL":"sqlite"`) ||
		!strings.HasPrefix(first[1], `program key.create - KEY - {`) {
		t.Errorf("got %q, want the settings and then the first key", first)
	}
	w.replica(nil)
	if got, _ := w.entries(last); len(got) > 0 {
		t.Errorf("got %q of a replica with the same settings, want nothing", got)
	}
	w.replica(map[string]string{"PLATFORM_TENANT_RATE": "7000", "PLATFORM_SEALING_KEYS": w.env["PLATFORM_SEALING_KEYS"]})
	want := []string{`OPERATOR settings.change - serve {"PLATFORM_TENANT_RATE":"50000"} {"PLATFORM_TENANT_RATE":"7000"}`}
	w.eventually("the start of a replica with other settings", func() bool { got, _ := w.entries(last); return slices.Equal(got, want) })
}

func TestEverySettingIsRecordedOrSaidNotToBe(t *testing.T) {
	got := slices.Sorted(slices.Values(append(slices.Clone(recordedSettings), unrecordedSettings...)))
	var want []string
	for _, s := range settings {
		want = append(want, s.name)
	}
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant each setting once: %q", got, want)
	}
}

func TestMigrationsAreRecorded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		d.Noted = recordMigration
		for range 2 { // of which the second finds nothing to do
			if err := d.Migrate(anyContext, fstest.MapFS{"0009_old.sql": {}, "9001_new.sql": {}}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := audit.New(d).Newest(anyContext, audit.Filter{}, 0, 10)
		if err != nil || len(got) != 1 || got[0].Action != audit.DatabaseMigrate || got[0].Subject != "9001_new.sql" || got[0].By != operator() {
			t.Errorf("got %+v, %v, want the one that is newer than the trail", got, err)
		}
	})
}

func TestTheTablesOfANewDatabaseAreNotRecorded(t *testing.T) {
	t.Parallel()
	d, err := db.Open(anyContext, seal.NewSecret(dbtest.SQLiteURL(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.Noted = recordMigration
	if err := d.Migrate(anyContext, migrations.Files); err != nil {
		t.Fatal(err)
	}
	if got, err := audit.New(d).Newest(anyContext, audit.Filter{}, 0, 10); err != nil || len(got) > 0 {
		t.Errorf("got %+v, %v, want nothing: it may be the target of a move, which must be empty", got, err)
	}
}

// unrecordedCommands change nothing that the trail is about, and why.
var unrecordedCommands = map[string]string{
	"serve":           "TestTheStartRecordsTheSettings",
	"demo":            "runs a platform of its own, whose trail it discards",
	"migrate":         "TestMigrationsAreRecorded, TestThePlatformMovesFromSQLiteToAnotherDatabase",
	"ready":           "reads",
	"keygen":          "prints a new key",
	"tenant list":     "reads",
	"tenant show":     "reads",
	"client list":     "reads",
	"key list":        "reads",
	"key sealing":     "reads",
	"authorizer list": "reads",
	"authorizer show": "reads",
	"api list":        "reads",
	"api show":        "reads",
	"api openapi":     "reads",
	"doctor":          "reads, asks WeChat for a ticket, and writes and removes a row of its own",
	"audit list":      "reads",
	"audit follow":    "reads",
	"completion":      "prints a script",
	"version":         "reads",
	"help config":     "reads",
}

// A new command or route is in steps, or among those that change nothing.
func TestEveryCommandAndRouteIsRecordedOrChangesNothing(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	known := map[string]bool{}
	for _, s := range w.steps() {
		known[s.name] = true
	}
	parser, err := kong.New(&cli{}, kong.Name("platform"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, command := range parser.Model.Leaves(false) {
		all[strings.TrimPrefix(command.FullPath(), "platform ")] = true
	}
	for _, r := range w.platform.public().Routes() {
		if changing(r.Method) && !w.unrecordedRoute(r.Path) {
			all[r.Method+" "+r.Path] = true
		}
	}
	for name := range all {
		if recorded, not := known[name], unrecordedCommands[name] != ""; recorded == not {
			t.Errorf("%s: got recorded %v and unrecorded %v, want one: add a step, or say why it changes nothing", name, recorded, not)
		}
	}
	for name := range known {
		if !all[name] {
			t.Errorf("%s is no command and no route", name)
		}
	}
	for name := range unrecordedCommands {
		if !all[name] {
			t.Errorf("%s is no command", name)
		}
	}
}

// readers are commands that are not recorded, and that can be run here.
func (w *world) readers() [][]string {
	return [][]string{
		{"tenant", "list"}, {"tenant", "show", w.tenant}, {"client", "list", w.tenant}, {"key", "list"}, {"key", "sealing"},
		{"authorizer", "list"}, {"authorizer", "show", string(service)}, {"reseal", "--check"}, {"doctor"}, {"migrate"},
		{"audit", "list"}, {"api", "list"}, {"version"}, {"keygen"}, {"help", "config"},
	}
}

func TestWhatIsNotRecordedChangesNothing(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.invitation("")
	w.settles()
	before := w.owned()
	for _, args := range w.readers() {
		_ = w.run(step{name: args[0]}, args[1:]) // doctor's warnings are an exit status too
		if after := w.owned(); after != before {
			t.Errorf("%q: got\n%s\nwant\n%s", args, after, before)
			before = after
		}
	}
}

// owned are the rows that the trail is about, and the trail.
func (w *world) owned() string {
	w.t.Helper()
	var all []string
	for _, query := range []string{
		`SELECT id || name || redirects || suspended_at || rate || burst FROM tenants ORDER BY id`,
		`SELECT id || tenant || name || scopes || secret_hash || old_secret_hash || old_secret_until || revoked_at FROM clients ORDER BY id`,
		`SELECT kid || signs_from || revoked_at FROM signing_keys ORDER BY kid`,
		`SELECT appid || tenant FROM authorizers ORDER BY appid`,
		`SELECT hash || status FROM invitations ORDER BY hash`,
		`SELECT known FROM recorded_settings`,
		`SELECT id || action FROM audit ORDER BY id`,
	} {
		rows, err := db.All(anyContext, w.platform.db, db.Value[string], query)
		if err != nil || len(rows) == 0 {
			w.t.Fatalf("%s: got %d rows, %v", query, len(rows), err)
		}
		all = append(all, rows...)
	}
	return strings.Join(all, "\n")
}

// changing reports whether a route with this method may change something. The others are routes
// that take any method.
func changing(method string) bool {
	return slices.Contains([]string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}, method)
}

// unrecordedRoute reports whether what a route changes is not the trail's: a JWT is not stored, a
// push is WeChat's, and a relayed call changes something at WeChat.
func (w *world) unrecordedRoute(path string) bool {
	below, native := strings.CutPrefix(path, "/v1/authorizers/:appid")
	return path == "/oauth/token" || strings.HasPrefix(path, "/wechat/") || native && below == "/*" || w.platform.isWeChats(below)
}

func TestEveryActionIsDocumented(t *testing.T) {
	page := document(t, "docs/design.md")
	actions := found(`Action = "([a-z.-]+)"`, document(t, "audit/audit.go"))
	if len(actions) < 20 {
		t.Fatalf("got %q, want all actions", actions)
	}
	for _, action := range actions {
		if !strings.Contains(page, "`"+action+"`") {
			t.Errorf("docs/design.md does not name %s", action)
		}
	}
}

// A second cancellation changes nothing, at once or later.
func TestACancellationIsRecordedOnce(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		id, _ := w.invitation("")
		_, last := w.entries(0)
		statuses := make(chan int)
		const callers = 6
		for range callers {
			go func() {
				answer, err := w.call(anyContext, w.jwt, "DELETE", "/v1/invitations/"+id, "")
				if err != nil {
					w.t.Error(err)
				}
				statuses <- answer.status
			}()
		}
		counts := map[int]int{}
		for range callers {
			counts[<-statuses]++
		}
		w.wants(w.ask("DELETE", "/v1/invitations/"+id, ""), 409, "invitation-ended")
		want := []string{`CLIENT invitation.cancel TENANT INVITATION {"status":"pending"} {"status":"cancelled"}`}
		if got, _ := w.entries(last); !slices.Equal(got, want) || counts[200] != 1 || counts[409] != callers-1 {
			w.t.Errorf("got %q and the statuses %v, want one cancellation and one entry", got, counts)
		}
	})
}
