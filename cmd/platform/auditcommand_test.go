package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"wxplatform/audit"
	"wxplatform/internal/dbtest"
)

func TestTheTrailIsListedForTheOperator(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		w.command(&struct{}{}, "tenant", "suspend", w.tenant)
		w.command(&struct{}{}, "tenant", "resume", w.tenant)
		list := func(args ...string) (text, said string) {
			var out, errOut bytes.Buffer
			if code := run(shell{anyContext, &out, &errOut, w.lookup, noEnvironment}, append([]string{"audit", "list"}, args...)); code != 0 {
				w.t.Fatalf("%q: %s", args, &errOut)
			}
			return out.String(), errOut.String()
		}
		text, said := list("--limit", "2")
		lines := strings.Split(strings.TrimSpace(text), "\n")
		if len(lines) != 3 || !strings.Contains(lines[1], "tenant.suspend") || !strings.Contains(lines[2], "tenant.resume") || !strings.Contains(said, "--before") {
			w.t.Errorf("got %s %q, want the two newest, the last one last, and how to see more", text, said)
		}
		var views []audit.View
		text, said = list("--json", "--tenant", w.tenant, "--action", "tenant.suspend", "--since", "1h")
		if err := json.Unmarshal([]byte(text), &views); err != nil || len(views) != 1 || views[0].Actor.Kind != "operator" || views[0].Actor.Host == "" || said != "" {
			w.t.Errorf("got %s %q, %v, want the one entry", text, said, err)
		}
		before, _ := list("--before", fmt.Sprint(views[0].ID))
		if strings.Contains(before, "tenant.suspend") || !strings.Contains(before, "tenant.create") {
			w.t.Errorf("got %s, want what was before", before)
		}
	})
}

func TestALimitBelowOneIsRefused(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for _, limit := range []string{"0", "-1"} {
		var out bytes.Buffer
		code := run(shell{anyContext, &out, &out, w.lookup, noEnvironment}, []string{"audit", "list", "--limit=" + limit})
		if code == 0 || !strings.Contains(out.String(), errLimit.Error()) {
			t.Errorf("--limit %s: got status %d and %s, want it refused", limit, code, &out)
		}
	}
}

func TestSinceIsATimeOrHowLongAgo(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"": {}, "90m": now.Add(-90 * time.Minute), "7d": now.Add(-7 * 24 * time.Hour), "2026-11-27": time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC),
		"2026-11-27T21:30:00+08:00": time.Date(2026, 11, 27, 13, 30, 0, 0, time.UTC),
	} {
		if got, err := parseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"yesterday", "-1h", "2026-13-01"} {
		if got, err := parseSince(text, now); err == nil {
			t.Errorf("%q: got %v, want it refused", text, got)
		}
	}
}

func TestTheTrailIsFollowed(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		for _, args := range [][]string{{"audit", "follow"}, {"audit", "follow", "--json"}} {
			following, stop := context.WithCancelCause(anyContext)
			defer stop(nil)
			out, ended := &locked{}, make(chan int, 1)
			go func() { ended <- run(shell{following, out, out, w.lookup, noEnvironment}, args) }()
			w.eventually("a new entry", func() bool {
				w.command(&struct{}{}, "tenant", "suspend", w.tenant)
				w.command(&struct{}{}, "tenant", "resume", w.tenant)
				return strings.Contains(out.String(), "tenant.resume")
			})
			stop(stopped{syscall.SIGINT})
			if code := <-ended; code != 0 || strings.Contains(out.String(), "tenant.create") || strings.Contains(out.String(), "platform:") {
				w.t.Errorf("got status %d and %s, want 0 and nothing but new entries", code, out)
			}
		}
	})
}

func TestTheTrailOfADatabaseThatIsNotMigratedIsNotRead(t *testing.T) {
	t.Parallel()
	env := map[string]string{"PLATFORM_DATABASE_URL": dbtest.SQLiteURL(t)}
	lookup := func(name string) (string, bool) { value, ok := env[name]; return value, ok }
	try := func(want string) {
		t.Helper()
		var out bytes.Buffer
		if code := run(shell{anyContext, &out, &out, lookup, noEnvironment}, []string{"audit", "list"}); code != 1 || !strings.Contains(out.String(), want) {
			t.Errorf("got status %d and %s, want %q", code, &out, want)
		}
	}
	try("no such file")
	if err := os.WriteFile(strings.TrimPrefix(env["PLATFORM_DATABASE_URL"], "sqlite:"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	try("platform migrate")
}
