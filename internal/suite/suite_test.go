package main

import (
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"wxplatform/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// whole is the output of a run that lacks nothing.
const whole = `{"Action":"start","Package":"wxplatform/token"}
{"Action":"run","Package":"wxplatform/token","Test":"TestA"}
{"Action":"pass","Package":"wxplatform/token","Test":"TestA/sqlite"}
{"Action":"pass","Package":"wxplatform/token","Test":"TestA/postgres"}
{"Action":"pass","Package":"wxplatform/token","Test":"TestA/miniredis"}
{"Action":"pass","Package":"wxplatform/token","Test":"TestA/real"}
{"Action":"pass","Package":"wxplatform/token","Test":"TestA","Elapsed":1}
{"Action":"output","Package":"wxplatform/token","Output":"simulation: 400 histories, seeds 1 to 400\n"}
{"Action":"output","Package":"wxplatform/token","Output":"8 scenarios in 1m31s: 100 calls\n"}
{"Action":"pass","Package":"wxplatform/token","Elapsed":1.5}
{"Action":"skip","Package":"wxplatform/bench"}
`

// summed reads events and returns the summary.
func summed(t *testing.T, events string) (ok bool, text string) {
	t.Helper()
	r := newResults(t.TempDir(), io.Discard)
	if err := r.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	ok = r.summarize(&said, nil)
	return ok, said.String()
}

func TestAWholeRunPasses(t *testing.T) {
	ok, text := summed(t, whole)
	if !ok || !strings.HasSuffix(text, "Nothing was skipped.\n5 passed, 0 failed, 0 skipped\n") || !strings.Contains(text, "1 packages, 5 tests, 1 on SQLite") || !strings.Contains(text, "simulation: 400 histories") {
		t.Errorf("got %v, %s", ok, text)
	}
}

func TestWhatIsWrongIsSaidAndFails(t *testing.T) {
	for name, c := range map[string]struct {
		events string
		want   []string
	}{
		"a test that failed": {whole + `{"Action":"output","Package":"wxplatform/internal/db","Test":"TestB/sqlite","Output":"    db_test.go:1: got 2\n"}
{"Action":"fail","Package":"wxplatform/internal/db","Test":"TestB/sqlite"}
{"Action":"fail","Package":"wxplatform/internal/db","Test":"TestB"}
{"Action":"fail","Package":"wxplatform/internal/db"}`,
			[]string{"got 2", "FAILED: internal/db TestB/sqlite failed", "go test -race -count=1 -run '^TestB$/^sqlite$' ./internal/db", "internal-db.log", "5 passed, 1 failed, 0 skipped\n"}},
		"a test that did not end": {whole + `{"Action":"run","Package":"wxplatform/inbox","Test":"TestC"}
{"Action":"output","Package":"wxplatform/inbox","Output":"panic: test timed out after 15m0s\n"}
{"Action":"fail","Package":"wxplatform/inbox"}`, []string{"inbox TestC did not end", "5 passed, 1 failed"}},
		"a package that did not compile": {whole + `{"Action":"build-output","ImportPath":"wxplatform/inbox","Output":"inbox.go:1: undefined: x\n"}
{"Action":"build-fail","ImportPath":"wxplatform/inbox"}
{"Action":"fail","Package":"wxplatform/inbox","FailedBuild":"wxplatform/inbox"}`, []string{"undefined: x", "inbox failed outside of its tests", "5 passed, 1 failed"}},
		"a race when all was over": {whole + `{"Action":"pass","Package":"wxplatform/inbox","Test":"TestC"}
{"Action":"output","Package":"wxplatform/inbox","Output":"WARNING: DATA RACE\n"}
{"Action":"fail","Package":"wxplatform/inbox"}`, []string{"DATA RACE", "inbox failed outside of its tests"}},
		"a test that was skipped": {whole + `{"Action":"skip","Package":"wxplatform/inbox","Test":"TestC"}
{"Action":"pass","Package":"wxplatform/inbox"}`, []string{"FAILED: skipped: inbox TestC", "1 skipped\n"}},
		"no PostgreSQL": {strings.ReplaceAll(whole, "TestA/postgres", "TestA/other"), []string{"nothing was run on PostgreSQL"}},
		"no faults":     {strings.ReplaceAll(whole, "8 scenarios in", "8 of them in"), []string{"the fault suite was not run to its end"}},
		"nothing":       {"go: cannot find main module\n", []string{"nothing was run on SQLite", "0 passed, 1 failed, 0 skipped"}},
	} {
		ok, text := summed(t, c.events)
		for _, want := range c.want {
			if ok || !strings.Contains(text, want) {
				t.Errorf("%s: got ok %v and\n%s\nwant %q in it", name, ok, text, want)
			}
		}
	}
}

func TestFlakyNamesWhatFailed(t *testing.T) {
	for out, want := range map[string][]string{
		"--- FAIL: TestA (1.00s)\n    --- FAIL: TestA/sqlite (0.50s)\n--- FAIL: TestB (0.1s)\nFAIL\n": {"TestA/sqlite", "TestB"},
		"panic: test timed out after 15m0s\n\trunning tests:\n\t\tTestC (14m59s)\n":                   {"TestC"},
		"PASS\nWARNING: DATA RACE\n": {"a data race"},
		"panic: oh\n":                {"panic: oh"},
		"":                           {"the package"},
	} {
		if got := failed([]byte(out)); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", out, got, want)
		}
	}
}

func TestLogsAreKept(t *testing.T) {
	r := newResults(t.TempDir(), io.Discard)
	if err := r.read(strings.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(r.logOf("token")); err != nil || !strings.Contains(string(text), "simulation: 400") {
		t.Errorf("got %q, %v, want the package's output", text, err)
	}
}
