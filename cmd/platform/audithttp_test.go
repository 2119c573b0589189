package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"wxplatform/audit"
)

func TestATenantReadsItsOwnTrail(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		w.grant(service, "1")
		var other struct{ ID string }
		w.command(&other, "tenant", "create", "Book Shop")
		made := w.ask("POST", "/v1/invitations", fmt.Sprintf(`{"redirect_url":%q,"kind":"pc"}`, redirect))
		w.command(&struct{}{}, "authorizer", "move", string(service), other.ID)
		all := w.trail("")
		if len(all) < 5 {
			w.t.Fatalf("got %d entries, want those of the tenant, its client, invitations and account", len(all))
		}
		for _, e := range all {
			if e.Tenant != audit.Owner(w.tenant) || e.Actor.OSUser != "" || e.Actor.Host != "" || strings.Contains(e.Before.String()+e.After.String(), other.ID) {
				w.t.Errorf("got %+v, want only the tenant's own, without the operator's name and host", e)
			}
		}
		ordered := all[len(all)-2]
		if ordered.Action != audit.InvitationCreate || ordered.RequestID != made.header.Get("Request-Id") || ordered.Actor.Client == "" {
			w.t.Errorf("got %+v, want the client and the id of its request %s", ordered, made.header.Get("Request-Id"))
		}
		if moved := all[len(all)-1]; moved.Action != audit.AuthorizerUnassign || moved.Actor.Kind != "operator" {
			w.t.Errorf("got %+v, want what the operator did", moved)
		}
		var paged []audit.View
		for after := ""; ; {
			answer := w.ask("GET", "/v1/audit?limit=2&after="+after, "")
			var page entriesPage
			if err := json.Unmarshal(answer.body, &page); err != nil || len(page.Entries) > 2 {
				w.t.Fatalf("got %s, %v, want at most two entries", answer.body, err)
			}
			paged = append(paged, page.Entries...)
			if after = page.Next; after == "" {
				break
			}
		}
		if !slices.Equal(paged, all) {
			w.t.Errorf("got %d entries page by page, want the same %d", len(paged), len(all))
		}
	})
}

type entriesPage struct {
	Entries []audit.View
	Next    string
}

// trail returns the entries that the tenant reads.
func (w *world) trail(query string) []audit.View {
	w.t.Helper()
	answer := w.ask("GET", "/v1/audit"+query, "")
	var page entriesPage
	if err := json.Unmarshal(answer.body, &page); err != nil || answer.status != http.StatusOK {
		w.t.Fatalf("got %d %s, %v", answer.status, answer.body, err)
	}
	return page.Entries
}

func TestTheTrailIsReadWithItsScopeOnly(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.wants(w.ask("GET", "/v1/audit?limit=0", ""), 400, "invalid-request")
	w.wants(w.ask("GET", "/v1/audit?after=x", ""), 400, "invalid-request")
	w.wants(w.ask("GET", "/v1/audit?since=x", ""), 400, "invalid-request")
	w.wants(w.raw("GET", "/v1/audit", nil, ""), 401, "invalid-token")
	client, _, _ := strings.Cut(w.basic, ":")
	w.command(&[]struct{}{}, "client", "set", w.tenant, client, "--scope", "authorizers:read")
	w.eventually("the scope to be gone", func() bool { return w.ask("GET", "/v1/audit", "").status == 403 })
	w.wants(w.ask("GET", "/v1/audit", ""), 403, "insufficient-scope")
}
