package main

import (
	"strings"
	"testing"
	"time"
)

func TestATenantHasABoundOfPendingInvitations(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, map[string]string{"PLATFORM_MAX_PENDING_INVITATIONS": "3"})
	var id string
	for range 3 {
		id, _ = w.invitation("")
	}
	body := `{"redirect_url":"` + redirect + `","kind":"pc"}`
	answer := w.ask("POST", "/v1/invitations", body)
	w.wants(answer, 409, "too-many-invitations")
	if !strings.Contains(answer.field("detail"), "3 invitations") {
		t.Errorf("got %s, want the bound named", answer.body)
	}
	w.as("other").invitation("") // another tenant has its own
	w.ask("DELETE", "/v1/invitations/"+id, "")
	w.invitation("")
	w.wants(w.ask("POST", "/v1/invitations", body), 409, "too-many-invitations")
	w.exec(`UPDATE invitations SET expires_at = 1`)
	w.invitation("")
}

func TestTheTimesThatRowsAreKept(t *testing.T) {
	e := &environment{}
	for text, want := range map[string]time.Duration{"90d": 90 * 24 * time.Hour, "2h": 2 * time.Hour, "1h30m": 90 * time.Minute} {
		if got := e.atLeast(time.Hour, "X", map[string]string{"X": text}); got != want || len(e.faults) > 0 {
			t.Errorf("%s: got %v, %v, want %v", text, got, e.faults, want)
		}
	}
	for _, wrong := range []string{"", "90", "d", "-1d", "1.5d", "59m", "0d", "99999999d"} {
		e := &environment{}
		if e.atLeast(time.Hour, "X", map[string]string{"X": wrong}); len(e.faults) != 1 {
			t.Errorf("%q: got %v, want it refused", wrong, e.faults)
		}
	}
}

func TestTheBoundsOfTheCachesAreSettings(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	c, err := loadConfig(w.with("PLATFORM_CACHED_JWTS", "7"), needsAll)
	if err != nil || c.cachedJWTs != 7 || c.cachedAuthorizers != 200_000 {
		t.Errorf("got %d, %d, %v, want 7 JWTs and 200,000 authorizers", c.cachedJWTs, c.cachedAuthorizers, err)
	}
	for _, name := range []string{"PLATFORM_CACHED_JWTS", "PLATFORM_CACHED_AUTHORIZERS"} {
		if _, err := loadConfig(w.with(name, "0"), needsAll); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want 0 refused for %s", err, name)
		}
	}
}
