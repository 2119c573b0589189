package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"wxplatform/audit"
	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/internal/testenv"
	"wxplatform/token"
	"wxplatform/wechat/wechatsim"
)

// sealedCell is a sealed value as it is in SQL.
type sealedCell struct {
	table  string // as reseal names it
	column string
	where  string // the row
	key    string // as reseal names it
	value  []byte
}

// cells returns all sealed values of the world's database.
func (w *world) cells() (all []sealedCell) {
	w.t.Helper()
	for _, c := range []struct{ name, table, column, key, where string }{
		{"signing_keys", "signing_keys", "private", "kid", "true"},
		{"tickets", "tickets", "ticket", "component", "true"},
		{"tokens (component)", "tokens", "access", "id", "kind = 'component'"},
		{"tokens (authorizer)", "tokens", "access", "id", "kind = 'authorizer'"},
		{"tokens (authorizer)", "tokens", "refresh", "id", "kind = 'authorizer'"},
		{"tokens (authorizer)", "tokens", "spare", "id", "kind = 'authorizer'"},
		{"events", "events", "body", "hash", "true"},
	} {
		rows, err := db.All(anyContext, w.platform.db, func(scan db.Scan) (sealedCell, error) {
			cell := sealedCell{table: c.name, column: c.column}
			err := scan(&cell.key, &cell.value)
			cell.where = fmt.Sprintf("UPDATE %s SET %s = $1 WHERE %s AND %s = '%s'", c.table, c.column, c.where, c.key, cell.key)
			return cell, err
		}, fmt.Sprintf(`SELECT %s, %s FROM %s WHERE %s AND length(%s) > 0`, c.key, c.column, c.table, c.where, c.column))
		if err != nil || len(rows) == 0 {
			w.t.Fatalf("got %d values in %s.%s, %v, want some", len(rows), c.name, c.column, err)
		}
		all = append(all, rows...)
	}
	return all
}

func (w *world) put(c sealedCell, value []byte) {
	w.t.Helper()
	if _, err := db.Exec(anyContext, w.platform.db, c.where, value); err != nil {
		w.t.Fatal(err)
	}
}

// opens reports which rows of a table do not open.
func (w *world) opens(table string) []string {
	w.t.Helper()
	for _, one := range w.platform.sealedTables() {
		if one.name == table {
			done, err := one.reseal(anyContext, db.Page{Most: 1000, CountOnly: true})
			if err != nil {
				w.t.Fatal(err)
			}
			return done.Stuck
		}
	}
	w.t.Fatalf("there is no table %s", table)
	return nil
}

// lived returns a world in which every sealed column has a value.
func (w *world) lived() {
	w.t.Helper()
	w.grant(service, "1")
	w.grant(wechatsim.SampleOfficial, "1")
	w.settles()
	ring, d := w.platform.ring, w.platform.db
	spare := ring.Seal(seal.NewSecret("spare"), "tokens", "spare", "authorizer", string(service))
	if _, err := db.Exec(anyContext, d, `UPDATE tokens SET spare = $1 WHERE kind = 'authorizer' AND id = $2`, spare, service); err != nil {
		w.t.Fatal(err)
	}
	for _, hash := range []string{"h1", "h2"} { // that nobody works off for now
		body := ring.Seal(seal.NewSecret("<xml/>"+hash), "events", "body", hash)
		if _, err := db.Exec(anyContext, d, `INSERT INTO events (hash, body, received_at, due) VALUES ($1, $2, $3, $3)`, hash, body, time.Now().Add(time.Hour).UnixMilli()); err != nil {
			w.t.Fatal(err)
		}
	}
}

// A sealed value moved to another row, column or table does not open there.
func TestNoSealedValueOpensInAnothersPlace(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.lived()
		all := w.cells()
		for _, c := range all {
			if stuck := w.opens(c.table); len(stuck) > 0 {
				w.t.Fatalf("got %q stuck in %s before anything was moved", stuck, c.table)
			}
		}
		swaps := 0
		for _, from := range all {
			for _, to := range all {
				if from.where == to.where {
					continue
				}
				w.put(to, from.value)
				if stuck := w.opens(to.table); !slices.Contains(stuck, to.key) {
					w.t.Errorf("%s.%s of %s opens as %s.%s of %s", from.table, from.column, from.key, to.table, to.column, to.key)
				}
				w.put(to, to.value)
				swaps++
			}
		}
		if swaps < 60 {
			w.t.Errorf("got %d swaps, want every pair of the tables tried", swaps)
		}
	})
}

func TestEverySealedColumnIsResealed(t *testing.T) {
	text, err := os.ReadFile("../../migrations/0001_start.sql")
	if err != nil {
		t.Fatal(err)
	}
	unsealed := map[string]bool{"signing_keys.public": true, "sealing_keys.id": true, "sealing_keys.canary": true}
	sealed := map[string]bool{}
	for _, table := range regexp.MustCompile(`(?s)CREATE TABLE (\w+) \((.*?)\n\);`).FindAllStringSubmatch(string(text), -1) {
		for _, column := range regexp.MustCompile(`(?m)^\s+(\w+)\s+BYTEA`).FindAllStringSubmatch(table[2], -1) {
			if name := table[1] + "." + column[1]; !unsealed[name] {
				sealed[name] = true
			}
		}
	}
	want := []string{"events.body", "signing_keys.private", "tickets.ticket", "tokens.access", "tokens.refresh", "tokens.spare"}
	if got := slices.Sorted(maps.Keys(sealed)); !slices.Equal(got, want) {
		t.Errorf("got the sealed columns %q, want those that the tests swap and reseal moves: %q", got, want)
	}
}

// reseal runs the command with the given keys.
func (w *world) reseal(keys string, more ...string) (view struct {
	Tables []struct {
		Table string
		Rows  int
		Moved int `json:"values_moved"`
	}
	Keys []struct {
		Key        string
		Configured string
		Values     int
		MayGo      bool `json:"may_go"`
	}
}, said string, code int) {
	w.t.Helper()
	var out, errOut bytes.Buffer
	code = run(shell{anyContext, &out, &errOut, w.with("PLATFORM_SEALING_KEYS", keys), noEnvironment}, append([]string{"reseal", "--json"}, more...))
	if err := json.Unmarshal(out.Bytes(), &view); err != nil && code == 0 {
		w.t.Fatal(err)
	}
	return view, errOut.String(), code
}

func (w *world) with(name, value string) func(string) (string, bool) {
	return func(asked string) (string, bool) {
		if asked == name {
			return value, true
		}
		return w.lookup(asked)
	}
}

func TestResealMovesEverythingAndSaysWhenAKeyMayGo(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.lived()
		old, young := w.env["PLATFORM_SEALING_KEYS"], seal.NewKey()
		values := len(w.cells())
		counted, _, _ := w.reseal(young+","+old, "--check")
		if k := counted.Keys[1]; k.Values != values || k.MayGo || len(w.opens("tickets")) != 0 {
			w.t.Errorf("got %+v, want %d values counted and none moved", counted, values)
		}
		moved, said, code := w.reseal(young + "," + old)
		total := 0
		for _, table := range moved.Tables {
			total += table.Moved
		}
		if code != 0 || total != values || moved.Keys[0].Values != values || moved.Keys[1].Values != 0 {
			w.t.Errorf("got status %d, %+v, want all %d values moved", code, moved, values)
		}
		if moved.Keys[1].MayGo || !strings.Contains(said, "sealed with it until") {
			w.t.Errorf("got %+v, %q, want the old key kept: the platform still seals with it", moved.Keys, said)
		}
		if got := w.started(young); !strings.Contains(got, "a sealing key is missing") {
			w.t.Errorf("got %q from a start without it, want it refused", got)
		}
		w.endedBefore()
		again, _, _ := w.reseal(young + "," + old)
		if last := again.Keys[len(again.Keys)-1]; last.Values != 0 || !last.MayGo {
			w.t.Errorf("got %+v, want the old key to go", again.Keys)
		}
		if got := w.started(young); got != "" {
			w.t.Errorf("got %q, want a start without the old key", got)
		}
	})
}

// endedBefore ends the platform, as if that had been a while ago: it says every half minute that it
// still seals with its key. The test goes on with a connection of its own.
func (w *world) endedBefore() {
	w.t.Helper()
	w.end()
	again, err := db.Open(anyContext, seal.NewSecret(w.env["PLATFORM_DATABASE_URL"]))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = again.Close() })
	w.platform.db = again
	w.exec(`UPDATE sealing_keys SET seen_at = seen_at - 100000`)
}

// started starts the platform with the given keys, and returns its error text, "" if it started.
func (w *world) started(keys string) string {
	w.t.Helper()
	c, err := loadConfig(w.with("PLATFORM_SEALING_KEYS", keys), needsAll)
	if err != nil {
		w.t.Fatal(err)
	}
	p, err := assemble(anyContext, c, w.log)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = p.close() }()
	for _, table := range p.sealedTables() {
		if done, err := table.reseal(anyContext, db.Page{Most: 1000, CountOnly: true}); err != nil || len(done.Stuck) > 0 {
			w.t.Errorf("got %q stuck in %s, %v", done.Stuck, table.name, err)
		}
	}
	return ""
}

func TestAMissingSealingKeyStopsTheStart(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		old, other := w.env["PLATFORM_SEALING_KEYS"], seal.NewKey()
		for _, command := range [][]string{{"serve"}, {"tenant", "list"}, {"key", "rotate"}, {"authorizer", "list"}} {
			var errOut bytes.Buffer
			env := w.with("PLATFORM_SEALING_KEYS", other)
			lookup := func(name string) (string, bool) {
				if strings.HasSuffix(name, "LISTEN") {
					return "127.0.0.1:0", true
				}
				return env(name)
			}
			code := run(shell{anyContext, &bytes.Buffer{}, &errOut, lookup, noEnvironment}, command)
			id := w.platform.ring.Keys()[0].String()
			if code != 1 || !strings.Contains(errOut.String(), "PLATFORM_SEALING_KEYS: a sealing key is missing: "+id) || strings.Contains(errOut.String(), `"serving"`) {
				w.t.Errorf("%v: got status %d, %q, want it to name the missing key and not to start", command, code, errOut.String())
			}
			if !strings.Contains(errOut.String(), "platform reseal --give-up") || !strings.Contains(errOut.String(), "docs/operate/keys.md") {
				w.t.Errorf("%v: got %q, want what to do if the key is lost for good", command, errOut.String())
			}
		}
		found, _ := w.doctor(map[string]string{"PLATFORM_SEALING_KEYS": other})
		w.finds(found, "sealing-keys", "failure", "platform reseal --give-up")
		if got := w.started(old); got != "" {
			w.t.Errorf("got %q, want the attempt with a wrong key to leave no trace", got)
		}
		if got := w.started(other + "," + old); got != "" {
			w.t.Errorf("got %q, want a start with both", got)
		}
		if r := w.platform.ready(anyContext); r.Status != "ready" {
			w.t.Errorf("got %+v, want ready", r)
		}
		w.platform.health.checkedKeys(w.platform.db.StillSeals(anyContext, w.platform.ring))
		if r := w.platform.ready(anyContext); !strings.Contains(strings.Join(r.Reasons, " "), "a sealing key is missing") {
			w.t.Errorf("got %+v, want the replica that was not restarted to say that it lacks a key", r)
		}
	})
}

// reseal is killed repeatedly, as a process, and run again. Nothing is lost, and what was moved
// stays moved.
func TestResealMayBeKilledAtAnyMoment(t *testing.T) {
	engines(t, func(w *world) {
		w.grant(service, "1")
		old, young := w.env["PLATFORM_SEALING_KEYS"], seal.NewKey()
		const rows = 2000
		w.fill(rows)
		moved := 0
		kills := 0
		for wait := 60.0; moved < rows && kills < 16; wait *= 1.3 { // a busy machine takes longer to begin
			w.killed(young+","+old, time.Duration(wait+rand.Float64()*2*wait)*time.Millisecond)
			kills++
			both, err := seal.NewRing(seal.NewSecret(young + "," + old))
			if err != nil {
				w.t.Fatal(err)
			}
			store, err := token.New(token.Authorizer, w.platform.db, w.platform.mirror, both, token.DefaultTimes())
			if err != nil {
				w.t.Fatal(err)
			}
			done, err := store.Reseal(anyContext, db.Page{Most: rows + 10, CountOnly: true})
			if err != nil || len(done.Stuck) > 0 {
				w.t.Fatalf("got %d rows stuck after kill %d, %v", len(done.Stuck), kills, err)
			}
			if now := done.Under[both.Keys()[0]]; now < moved {
				w.t.Errorf("got %d values under the new key after %d", now, moved)
			} else {
				moved = now
			}
		}
		view, _, code := w.reseal(young + "," + old)
		if code != 0 || view.Keys[1].Values != 0 || view.Tables[3].Rows != rows+1 {
			w.t.Errorf("got status %d, %+v, want the rest moved", code, view)
		}
		w.t.Logf("killed %d times; %d values were moved by then", kills, moved)
	})
}

// fill inserts authorizers' tokens, sealed under the world's key.
func (w *world) fill(rows int) {
	w.t.Helper()
	for first := 0; first < rows; first += 100 { // in transactions that are short on a busy machine too
		err := w.platform.db.Tx(anyContext, func(tx *db.Tx) error {
			for i := first; i < min(first+100, rows); i++ {
				id := fmt.Sprintf("wx%016x", i)
				refresh := w.platform.ring.Seal(seal.NewSecret("refresh "+id), "tokens", "refresh", "authorizer", id)
				if _, err := db.Exec(anyContext, tx, `INSERT INTO tokens (kind, id, access, refresh, spare) VALUES ('authorizer', $1, $2, $3, $2)`, id, []byte{}, refresh); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// killed runs reseal as a process and kills it.
func (w *world) killed(keys string, after time.Duration) {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	program := filepath.Join(w.t.TempDir(), "platform") // by which name the test's binary is the platform
	if err := os.Symlink(self, program); err != nil {
		w.t.Fatal(err)
	}
	command := exec.Command(program, "reseal")
	command.Env = testenv.Environ()
	for name, value := range w.env {
		command.Env = append(command.Env, name+"="+value)
	}
	command.Env = append(command.Env, "PLATFORM_SEALING_KEYS="+keys)
	if err := command.Start(); err != nil {
		w.t.Fatal(err)
	}
	time.Sleep(after)
	_ = command.Process.Kill()
	_ = command.Wait()
}

func TestSealingKeysAreListed(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	var keys []struct{ Key, Configured string }
	w.command(&keys, "key", "sealing")
	if len(keys) != 1 || keys[0].Key != w.platform.ring.Keys()[0].String() || keys[0].Configured != "newest" {
		t.Errorf("got %+v, want the one key", keys)
	}
}

func TestAKeyIsKeptWhileSomethingIsUnderIt(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	if _, err := db.Exec(anyContext, w.platform.db, `UPDATE sealing_keys SET seen_at = seen_at - 100000`); err != nil {
		t.Fatal(err)
	}
	young := seal.NewKey()
	view, said, code := w.reseal(young)
	if code != 1 || !strings.Contains(said, "do not open") || !strings.Contains(said, string(service)) {
		t.Errorf("got status %d, %q, want the rows named whose key is not configured", code, said)
	}
	if last := view.Keys[len(view.Keys)-1]; last.Configured != "no" || last.Values == 0 || last.MayGo {
		t.Errorf("got %+v, want the missing key counted and kept", view.Keys)
	}
	if got := w.started(young); !strings.Contains(got, "a sealing key is missing") {
		t.Errorf("got %q, want the start refused still", got)
	}
}

// A key is permanently lost. What was sealed under it is deleted, and WeChat gives back what it
// has. Tenants, their clients, and which tenant a merchant belongs to stay.
func TestAKeyThatIsLostForGoodIsGivenUp(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.lived()
		lost, young := w.platform.ring.Keys()[0].String(), seal.NewKey()
		for name, c := range map[string]struct{ keys, key, said string }{
			"still sealed with": {young, lost, "a process sealed with " + lost},
			"configured":        {w.env["PLATFORM_SEALING_KEYS"], lost, "is configured"},
			"unknown":           {young, "00000001", "no key 00000001"},
		} {
			if _, said, code := w.reseal(c.keys, "--give-up", c.key); code != 1 || !strings.Contains(said, c.said) {
				w.t.Errorf("%s: got status %d, %q, want %q", name, code, said, c.said)
			}
		}
		if stuck := w.opens("tokens (authorizer)"); len(w.cells()) < 9 || len(stuck) > 0 {
			w.t.Errorf("got %q stuck, want nothing deleted", stuck)
		}
		w.endedBefore()
		_, last := w.entries(0)
		var out, errOut bytes.Buffer
		if code := run(shell{anyContext, &out, &errOut, w.with("PLATFORM_SEALING_KEYS", young), noEnvironment}, []string{"reseal", "--give-up", lost}); code != 0 || !strings.Contains(errOut.String(), "platform reconcile") {
			w.t.Fatalf("got status %d, %s %s, want it given up", code, &out, &errOut)
		}
		for _, table := range []string{"signing_keys", "tickets", "tokens", "events WHERE length(body) > 0", "sealing_keys"} {
			if n := w.number(`SELECT COUNT(*) FROM ` + table); n != 0 {
				w.t.Errorf("got %d rows left in %s, want all that was under the lost key deleted", n, table)
			}
		}
		w.givenUp(last, lost)
		after := w.replica(map[string]string{"PLATFORM_SEALING_KEYS": young}) // to which the next ticket comes
		after.must(after.getJWT(anyContext))
		after.wants(after.shut(kfAccount), 410, "reauthorization-required")
		after.command(&struct{}{}, "reconcile")
		after.open(kfAccount)
		after.ok(after.shut(kfAccount))
		if got := after.authorizer(service).field("state"); got != "healthy" {
			w.t.Errorf("got %s, want healthy", got)
		}
	})
}

// givenUp fails unless the trail has what was deleted of each table, and that the key was
// forgotten.
func (w *world) givenUp(after audit.ID, key string) {
	w.t.Helper()
	got, _ := w.entries(after)
	tables := map[string]bool{}
	for i, text := range got {
		begins, table, _ := strings.Cut(text, `{"table":"`)
		table, rows, _ := strings.Cut(table, `","rows_deleted":`)
		if i < len(got)-1 && (begins != "OPERATOR sealing-key.give-up - "+key+" - " || rows == "0}") {
			w.t.Errorf("got %s, want what was deleted", text)
		}
		tables[table] = true
	}
	for _, table := range []string{"signing_keys", "tickets", "tokens (component)", "tokens (authorizer)", "events"} {
		if !tables[table] {
			w.t.Errorf("got %q, want rows of %s deleted", got, table)
		}
	}
	if want := "OPERATOR sealing-key.forget - " + key + ` {"last_sealed_at":TIME} -`; len(got) == 0 || got[len(got)-1] != want {
		w.t.Errorf("got %q, want last %s", got, want)
	}
}
