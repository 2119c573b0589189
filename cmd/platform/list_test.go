package main

import (
	"bytes"
	"strings"
	"testing"
)

// prints runs a command and returns what it prints to both outputs.
func (w *world) prints(args ...string) (out, errOut string) {
	w.t.Helper()
	var printed, said bytes.Buffer
	if code := run(shell{anyContext, &printed, &said, w.lookup, noEnvironment}, args); code != 0 {
		w.t.Fatalf("%q: exit status %d: %s", args, code, &said)
	}
	return printed.String(), said.String()
}

func TestAuthorizersAreListedInPages(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		w.exec(`
			INSERT INTO authorizers (appid, tenant, nick_name, profile_at, created_at)
			WITH RECURSIVE n(i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
			SELECT 'wx' || CAST(1000000000000000 + i AS TEXT), CAST($1 AS TEXT), '四季花店', 1, 1 FROM n`, w.tenant)
		for _, c := range []struct {
			args  string
			count int
			cut   string
		}{
			{"", 1000, "wx1000000000001000"},
			{"--all", 2500, ""},
			{"--limit 2400", 2400, "wx1000000000002400"},
			{"--after wx1000000000002000", 500, ""},
			{"--all --tenant " + w.tenant, 2500, ""},
			{"--all --state healthy", 2500, ""},
			{"--state revoked", 0, ""},
		} {
			out, errOut := w.prints(append([]string{"authorizer", "list"}, strings.Fields(c.args)...)...)
			if got := strings.Count(out, "\n") - 1; got != c.count {
				w.t.Errorf("%q: got %d lines, want %d", c.args, got, c.count)
			}
			if c.cut == "" && errOut != "" || !strings.Contains(errOut, c.cut) {
				w.t.Errorf("%q: got %q, want it cut behind %q", c.args, errOut, c.cut)
			}
		}
	})
}

func TestTenantsAreListedInPages(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.as("second")
	if out, errOut := w.prints("tenant", "list"); strings.Count(out, "\n") != 3 || errOut != "" {
		t.Errorf("got %s%s, want two tenants", out, errOut)
	}
	out, errOut := w.prints("tenant", "list", "--limit", "1")
	first := strings.Fields(strings.SplitAfter(out, "\n")[1])[0]
	if !strings.Contains(errOut, "--after "+first) {
		t.Errorf("got %s%s, want it cut behind %s", out, errOut, first)
	}
	if out, errOut := w.prints("tenant", "list", "--after", first); strings.Count(out, "\n") != 2 || strings.Contains(out, first) || errOut != "" {
		t.Errorf("got %s%s, want the other tenant", out, errOut)
	}
}
