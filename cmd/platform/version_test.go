package main

import (
	"bytes"
	"context"
	"encoding/json"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersionOfABuildFromGit(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Path: "wxplatform", Version: "v1.2.3"}, Settings: []debug.BuildSetting{
		{Key: "vcs", Value: "git"}, {Key: "vcs.revision", Value: "646d8e8"}, {Key: "vcs.time", Value: "2026-11-28T20:58:00Z"}, {Key: "vcs.modified", Value: "true"},
	}}
	if got, want := versionOf(info).String(), "platform v1.2.3 646d8e8 2026-11-28T20:58:00Z modified go1.26.8"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestVersionOfABuildWithoutGit(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Path: "wxplatform", Version: "(devel)"}}
	if got, want := versionOf(info).String(), "platform (devel) go1.26.8"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// printed is what the program prints when it is called with args, which must succeed.
func printed(t *testing.T, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	none := func(string) (string, bool) { return "", false }
	if code := run(shell{context.Background(), &out, &errOut, none, noEnvironment}, args); code != 0 {
		t.Fatalf("platform %q: exit status %d: %s", args, code, errOut.String())
	}
	return out.String()
}

func TestTheVersionIsPrintedByCommandAndFlag(t *testing.T) {
	want := currentVersion().String() + "\n"
	for _, argument := range []string{"version", "--version"} {
		if got := printed(t, argument); got != want {
			t.Errorf("platform %s: got %q, want %q", argument, got, want)
		}
	}
}

func TestTheVersionForPrograms(t *testing.T) {
	var got version
	if err := json.Unmarshal([]byte(printed(t, "version", "--json")), &got); err != nil {
		t.Fatal(err)
	}
	if got != currentVersion() {
		t.Errorf("got %+v, want %+v", got, currentVersion())
	}
}

// An operator sees from the beginning of a log which build wrote it, even if that did not start.
func TestTheFirstLogLineSaysWhichBuildThisIs(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	var errOut bytes.Buffer
	if code := run(shell{anyContext, &bytes.Buffer{}, &errOut, w.with("PLATFORM_LISTEN", "nonsense"), noEnvironment}, []string{"serve"}); code != 1 {
		t.Fatalf("got exit status %d, want an address that cannot be listened on to fail", code)
	}
	first, _, _ := strings.Cut(errOut.String(), "\n")
	var line struct {
		Msg, Version, Revision string
		Go                     string `json:"go_version"`
	}
	if err := json.Unmarshal([]byte(first), &line); err != nil {
		t.Fatalf("got %q, %v", first, err)
	}
	if v := currentVersion(); line.Msg != "starting" || line.Version != v.Module || line.Revision != v.Revision || line.Go != runtime.Version() {
		t.Errorf("got %s, want the version %+v", first, v)
	}
}

func TestTheBuildIsAMetric(t *testing.T) {
	t.Parallel()
	v := currentVersion()
	want := `wxplatform_build_info{go_version="` + runtime.Version() + `",revision="` + v.Revision + `",version="` + v.Module + `"} 1`
	if got := sqliteWorld(t).scraped(); !strings.Contains(got, "\n"+want+"\n") {
		t.Errorf("got no %s", want)
	}
}
