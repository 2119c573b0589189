package mirror

import (
	"context"
	"crypto/sha256"
	"strconv"
	"testing"

	"wxplatform/internal/dbtest"
)

func TestACacheKeepsNoMoreThanItsBound(t *testing.T) {
	const entries, bound = 1000, 10
	m := open(t, "", dbtest.SQLite(t))
	hashed, facts, newest := NewHashed[int](entries), NewFacts[tenant](m, "tenant", entries, nil), NewNewest(m, "secret", entries)
	for i := range entries {
		key := strconv.Itoa(i)
		hashed.Set(sha256.Sum256([]byte(key)), i)
		_, _ = facts.get(t.Context(), key, func(context.Context, string) (tenant, error) { return tenant{}, nil })
		newest.Filled(t.Context(), key, Versioned{Version: 1}, newest.Generation())
	}
	if hashed.Len() != entries || facts.Len() != entries || newest.Len() != entries {
		t.Fatalf("got %d, %d and %d entries, want %d of each", hashed.Len(), facts.Len(), newest.Len(), entries)
	}
	hashed.Resize(bound)
	facts.Resize(bound)
	newest.Resize(bound)
	if hashed.Len() != bound || facts.Len() != bound || newest.Len() != bound {
		t.Errorf("got %d, %d and %d entries, want %d of each", hashed.Len(), facts.Len(), newest.Len(), bound)
	}
}
