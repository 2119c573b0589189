package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestEveryOrderedChangeNamesItsActorInTheLog(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	var made struct{ ID string }
	w.command(&made, "tenant", "create", "Book Shop")
	client := strings.Split(w.basic, ":")[0]
	for _, args := range [][]string{
		{"tenant", "suspend", made.ID}, {"tenant", "resume", made.ID}, {"client", "create", made.ID},
		{"client", "set", w.tenant, client, "--scope", "authorizers:write"}, {"client", "rotate", w.tenant, client}, {"client", "rotate", w.tenant, client, "--end-old"},
		{"key", "rotate"}, {"authorizer", "move", string(service), made.ID}, {"authorizer", "refresh", string(service)}, {"reconcile"},
	} {
		errOut := &bytes.Buffer{}
		if code := run(shell{anyContext, &bytes.Buffer{}, errOut, w.lookup, noEnvironment}, args); code != 0 {
			t.Fatal(args, errOut)
		}
		want := fmt.Sprintf(`"command":%q,"actor":%q`, strings.Join(args[:min(2, len(args))], " "), operator())
		if !strings.Contains(errOut.String(), want) {
			t.Errorf("%v: got %s, want %s", args, errOut, want)
		}
	}
	if got := w.ask("POST", "/v1/invitations", `{"redirect_url":"x"}`); got.status != 400 {
		t.Errorf("got %d %s, want the redirect refused", got.status, got.body)
	}
	who := func() bool { return strings.Contains(w.log.String(), `"actor":"client:`) }
	w.eventually("the line of a tenant's change", who)
}
