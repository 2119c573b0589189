package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"wxplatform/audit"
	"wxplatform/authorizer"
	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/reconcile"
	"wxplatform/tenant"
	"wxplatform/walk"
	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

func (w *world) reconcile(args ...string) reconcileView {
	w.t.Helper()
	var v reconcileView
	w.command(&v, append([]string{"reconcile"}, args...)...)
	return v
}

func (w *world) counts(want map[reconcile.Finding]int, args ...string) {
	w.t.Helper()
	if got := w.reconcile(args...); fmt.Sprint(got.Counts) != fmt.Sprint(want) {
		w.t.Errorf("got %v, want %v", got.Counts, want)
	}
}

func (w *world) number(query string, args ...any) int {
	w.t.Helper()
	var n int
	w.patiently("an answer of the database", func() (err error) {
		n, err = db.One(anyContext, w.platform.db, db.Value[int], query, args...)
		return err
	})
	return n
}

func TestAnEmptyDatabaseIsRebuiltFromWeChatsList(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		const many = 1100 // three pages
		w.sim.AddSynthetic(many)
		if _, err := w.sim.Authorize(service, 1, 6); err != nil {
			w.t.Fatal(err)
		}
		before := w.sim.Calls(listPath)
		w.counts(map[reconcile.Finding]int{reconcile.Adopted: many + 1})
		pages := 3
		if w.inTheField() {
			pages = 12 // of a hundred each, whatever is asked for
		}
		if n := w.sim.Calls(listPath) - before; n != pages {
			w.t.Errorf("got %d pages, want %d", n, pages)
		}
		w.counts(map[reconcile.Finding]int{}) // again: nothing differs
		file := filepath.Join(w.t.TempDir(), "assign.csv")
		lines := fmt.Sprintf("appid,tenant\n%s,%s\nwx00000000000000ff,%s\n", service, w.tenant, w.tenant)
		for i := range many {
			lines += fmt.Sprintf("%s,%s\n", wechatsim.SyntheticAppID(i), w.tenant)
		}
		if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
			w.t.Fatal(err)
		}
		err := w.operate(anyContext, &struct{}{}, "reconcile", "--assign", file)
		if err == nil || !strings.Contains(err.Error(), "1 assignments were refused") {
			w.t.Errorf("got %v, want the unknown appid refused and the rest assigned", err)
		}
		if n := w.number(`SELECT COUNT(*) FROM authorizers WHERE tenant = $1`, w.tenant); n != many+1 {
			w.t.Errorf("got %d assigned, want %d", n, many+1)
		}
		w.open(kfAccount)
		w.eventually("the account to be usable", func() bool { return w.shut(kfAccount).status == 200 })
	})
}

// An operator's disk may be slow or busy: a hundred rows then take longer than a transaction may
// last, or another process holds SQLite's lock for longer than the busy timeout.
func TestReconcilingWaitsForASlowDatabase(t *testing.T) {
	t.Parallel()
	const many = 100
	slow := map[string]func(*world) (over func()){
		"sqlite": func(w *world) func() {
			held, done := make(chan struct{}), make(chan error, 1)
			file := w.env["PLATFORM_DATABASE_URL"]
			go func() {
				other, err := db.Open(anyContext, seal.NewSecret(file))
				if err == nil {
					err = other.Tx(anyContext, func(*db.Tx) error { close(held); time.Sleep(7 * time.Second); return nil })
					err = errors.Join(err, other.Close())
				}
				done <- err
			}()
			<-held
			return func() {
				if err := <-done; err != nil {
					w.t.Error(err)
				}
			}
		},
		"postgres": func(w *world) func() {
			w.exec(`CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.11); RETURN NEW; END'`)
			w.exec(`CREATE TRIGGER slow BEFORE INSERT ON tokens FOR EACH ROW EXECUTE FUNCTION slow()`)
			return func() {}
		},
	}
	engines(t, func(w *world) {
		w.sim.AddSynthetic(many)
		over := slow[w.platform.db.Engine()](w)
		defer over()
		found, err := w.platform.reconciling.Reconcile(anyContext, audit.Program, func(reconcile.Report) {})
		if err != nil || found.Counts[reconcile.Adopted] != many {
			w.t.Fatalf("got %+v, %v, want %d adopted", found.Counts, err, many)
		}
		all := []authorizer.Assignment{{AppID: "wx00000000000000ff", Tenant: "nobody's"}}
		for i := range many {
			all = append(all, authorizer.Assignment{AppID: wechatsim.SyntheticAppID(i), Tenant: tenant.ID(w.tenant)})
		}
		refused, err := w.platform.authorizers.Assign(anyContext, tester, all)
		if err != nil || len(refused) != 1 {
			w.t.Errorf("got %v refused, %v, want all but one assigned", refused, err)
		}
		if n := w.number(`SELECT COUNT(*) FROM authorizers WHERE tenant = $1`, w.tenant); n != many {
			w.t.Errorf("got %d assigned, want %d", n, many)
		}
	})
}

func TestAnAssignmentTakesNothingFromAnotherTenant(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		other := w.as("other")
		all := []authorizer.Assignment{{AppID: service, Tenant: "nobody"}}
		refused, err := w.platform.authorizers.Assign(anyContext, tester, all)
		if err != nil || len(refused) != 1 || w.authorizer(service).status != 200 || other.authorizer(service).status != 404 {
			w.t.Errorf("got %v, %v, want it left where it is", refused, err)
		}
	})
}

func TestAFileOfAssignmentsIsReadStrictly(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"appid,tenant\nwx0000000000000001,t1\n": "", "\ufeffappid,tenant\nwx0000000000000001, t1\n": "", "wx0000000000000001,t1": "",
		"wx1,t1\n": "line 1", "wx0000000000000001,\n": "line 1", "wx0000000000000001,t1\nwx0000000000000001\n": "line 2", "a,b,c\n": "line 1",
	} {
		lines, one, err := newAssignments(strings.NewReader(text)), authorizer.Assignment{}, error(nil)
		for err == nil {
			var next authorizer.Assignment
			if next, err = lines.next(); err == nil {
				one = next
			}
		}
		if want == "" && (err.Error() != "EOF" || one != authorizer.Assignment{AppID: "wx0000000000000001", Tenant: "t1"}) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v, want %q", text, one, err, want)
		}
	}
}

func TestReconcilingFindsWhatDiffersAndDeletesNothing(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		w.grant(official, "1")
		if err := w.sim.ReplaceRefreshToken(official); err != nil {
			w.t.Fatal(err)
		}
		w.lose("unauthorized")
		if err := w.sim.Unauthorize(service); err != nil {
			w.t.Fatal(err)
		}
		if err := w.sim.FaultPushes(wechatsim.PushFault{Kind: "authorized", Count: 1, Do: wechatsim.Lose}); err != nil {
			w.t.Fatal(err)
		}
		_, link := w.invitation("")
		page := w.raw("GET", strings.TrimPrefix(link, w.publicURL), nil, "")
		if _, err := w.sim.Consent(anyContext, preAuthCode(w.t, string(page.body)), wechatsim.SampleUnverified, 1); err != nil {
			w.t.Fatal(err)
		}
		asked := w.sim.Calls(refreshPath)
		stored := w.number(`SELECT version FROM tokens WHERE id = $1`, string(official))
		w.counts(map[reconcile.Finding]int{reconcile.Offered: 1, reconcile.Missing: 1, reconcile.NotExchanged: 1})
		w.eventually("the spare to be tried", func() bool { return w.number(`SELECT version FROM tokens WHERE id = $1`, string(official)) > stored })
		if n := w.sim.Calls(refreshPath) - asked; n != 2 {
			w.t.Errorf("got %d asks, want one with the old refresh token, which the list must not overwrite, and one with the spare", n)
		}
		if got := w.authorizer(service).field("state"); got != "healthy" {
			w.t.Errorf("got %s, want absence alone to change nothing", got)
		}
		w.exec(`UPDATE authorizers SET check_at = 1 WHERE check_at > 0`)
		w.becomes(service, "revoked") // for WeChat, asked, said 61003
		w.counts(map[reconcile.Finding]int{reconcile.NotExchanged: 1})
		if n := w.number(`SELECT COUNT(*) FROM authorizers`); n != 2 {
			w.t.Errorf("got %d rows, want both kept", n)
		}
	})
}

func TestOneThatWithdrewAndIsListedAgainIsFreed(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		if err := w.sim.Unauthorize(service); err != nil {
			w.t.Fatal(err)
		}
		w.later(61 * time.Second)
		w.becomes(service, "revoked")
		if _, err := w.sim.Authorize(service, 1); err != nil { // of which nobody tells us
			w.t.Fatal(err)
		}
		_, last := w.entries(0)
		w.counts(map[reconcile.Finding]int{reconcile.Returned: 1})
		if got, _ := w.entries(last); !slices.Equal(got, []string{`OPERATOR authorizer.return TENANT SERVICE {"tenant":"TENANT"} {"tenant":null}`}) {
			w.t.Errorf("got %q, want the return recorded for the tenant that had the account", got)
		}
		var shown struct{ Tenant, State string }
		w.command(&shown, "authorizer", "show", string(service))
		if shown.Tenant != "" || shown.State != "healthy" {
			w.t.Errorf("got %+v, want it kept, nobody's", shown)
		}
		w.command(&shown, "authorizer", "move", string(service), w.tenant)
		w.open(kfAccount)
		w.eventually("calls to be made again", func() bool { return w.shut(kfAccount).status == 200 })
	})
}

func TestOneReplicaWalksAtATime(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		second := make(chan struct{})
		w.sim.Fault(wechatsim.Fault{Path: listPath, Hold: second})
		first := errgroup.Group{}
		first.Go(func() error { return w.operate(anyContext, &struct{}{}, "reconcile") })
		w.eventually("the first to walk", func() bool { return w.sim.Calls(listPath) > 0 })
		_, err := w.platform.reconciling.Reconcile(anyContext, audit.Program, func(reconcile.Report) {})
		if !errors.Is(err, walk.ErrUnderWay) {
			w.t.Errorf("got %v, want ErrUnderWay", err)
		}
		close(second)
		if err := first.Wait(); err != nil {
			w.t.Error(err)
		}
		w.reconcile() // and then again
	})
}

func TestAWalkThatDiedLeavesOnlyItsLease(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.sim.Fault(wechatsim.Fault{Path: listPath, Code: 45009})
	if _, err := w.platform.reconciling.Reconcile(anyContext, audit.Program, func(reconcile.Report) {}); err == nil {
		t.Error("got no error, want the list's")
	}
	w.reconcile() // a walk that failed gave its lease back
	w.exec(`UPDATE walks SET begun_at = begun_at + 1, lease_until = $1`, time.Now().Add(time.Minute).UnixMilli())
	if err := w.operate(anyContext, &struct{}{}, "reconcile"); err == nil || !strings.Contains(err.Error(), "run this again") {
		t.Errorf("got %v, want to be told to wait", err)
	}
	w.exec(`UPDATE walks SET lease_until = lease_until - 61000`)
	w.reconcile()
}

func TestReconcilingRunsByItselfOnceADay(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.sim.AddSynthetic(1)
		w.stays("no walk on the first day", func() bool { return w.sim.Calls(listPath) == 0 })
		w.replica(nil)
		w.exec(`UPDATE walks SET reconciled_at = reconciled_at - $1`, (24 * time.Hour).Milliseconds())
		w.eventually("a reconciliation", func() bool { return w.number(`SELECT COUNT(*) FROM authorizers`) == 1 })
		w.nextWalk()
		w.stays("one a day", func() bool { return w.sim.Calls(listPath) == 1 })
	})
}

func TestAPageThatIsBusyIsAskedForAgain(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.sim.AddSynthetic(1)
	w.sim.Fault(wechatsim.Fault{Path: listPath, Code: -1})
	w.counts(map[reconcile.Finding]int{reconcile.Adopted: 1})
}

func TestTheNamesOfAdoptedAuthorizersAreReadInTheBackground(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.sim.AddSynthetic(25)
	w.reconcile()
	w.eventually("the names", func() bool { return w.number(`SELECT COUNT(*) FROM authorizers WHERE nick_name <> ''`) == 25 })
}

func TestReconcileIsATableForPeople(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.sim.AddSynthetic(2)
	out, errOut := &bytes.Buffer{}, &bytes.Buffer{}
	if code := run(shell{anyContext, out, errOut, w.lookup, noEnvironment}, []string{"reconcile"}); code != 0 {
		t.Fatal(errOut)
	}
	got := out.String()
	if !strings.Contains(got, string(wechatsim.SyntheticAppID(1))+"  adopted") || !strings.Contains(got, "2 listed by WeChat; adopted: 2") {
		t.Errorf("got %s", got)
	}
	for _, m := range meanings {
		found := m.of == reconcile.Adopted
		if strings.Contains(got, string(m.of)+": "+m.en) != found || strings.Contains(got, string(m.of)+"："+m.zh) != found {
			t.Errorf("%s: got %s, want it explained: %v", m.of, got, found)
		}
	}
}

func TestEveryFindingIsExplained(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../../reconcile/finding.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := found(`(?m)^\t\w+ +Finding = "([a-z-]+)"`, string(source))
	var explained []string
	for _, m := range meanings {
		explained = append(explained, string(m.of))
		if m.en == "" || m.zh == "" {
			t.Errorf("%s is not explained in both languages", m.of)
		}
	}
	if slices.Sort(explained); len(declared) == 0 || !slices.Equal(declared, explained) {
		t.Errorf("got explanations of %q, want those of %q", explained, declared)
	}
}

func TestALongWalkSaysHowFarItIs(t *testing.T) {
	t.Parallel()
	now, out := time.Now(), &bytes.Buffer{}
	tell := progressTo(out, func() time.Time { return now })
	for i := range 12 {
		now = now.Add(time.Second)
		tell(reconcile.Report{Listed: 500 * i, Total: 10_000})
	}
	if got, want := out.String(), "2000 of 10000: nothing differs\n4500 of 10000: nothing differs\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestListingByState(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		w.grant(official, "1")
		w.fails(42007, wechatsim.Always, official) // or it is healthy again as soon as the platform tries again
		w.renewal(official)
		w.becomes(official, "reauthorize")
		var all []struct{ AppID wechat.AppID }
		w.command(&all, "authorizer", "list", "--state", "reauthorize")
		if len(all) != 1 || all[0].AppID != official {
			w.t.Errorf("got %v, want %s", all, official)
		}
		counts, err := w.platform.authorizers.Count(anyContext)
		if err != nil || counts[authorizer.Healthy] != 1 || counts[authorizer.Reauthorize] != 1 {
			w.t.Errorf("got %v, %v, want one each", counts, err)
		}
	})
}
