package invitation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/seal"
	"wxplatform/internal/strict"
	"wxplatform/tenant"
)

// lists returns a service on d with invitations of two tenants, at noon. Two of each status are the
// first tenant's, and pairs of them were made at the same time.
func lists(t *testing.T, d *db.DB) *Service {
	t.Helper()
	d.Clock = func() time.Time { return noon }
	exec(t, d, `INSERT INTO tenants (id, name, redirects, created_at) VALUES ('t1', 'Tea', '[]', 1), ('t2', 'Silk', '[]', 1)`)
	age := 0
	for _, status := range []Status{Cancelled, Pending, NotBound, Expired, Authorized} {
		stored, expires := status, noon.Add(time.Hour)
		if status == Expired {
			stored, expires = Pending, noon
		}
		for i := range 2 {
			created := noon.Add(-time.Duration(age/2) * time.Hour)
			age++
			for _, owner := range []string{"t1", "t2"} {
				exec(t, d, `INSERT INTO invitations (hash, tenant, redirect_url, kind, status, state, created_at, expires_at) VALUES ($1, $2, '', 'pc', $3, $4, $5, $6)`,
					seal.Hash(fmt.Sprint(owner, status, i)), owner, string(stored), fmt.Sprint(owner, " ", status), created.UnixMilli(), expires.UnixMilli())
			}
		}
	}
	return &Service{db: d, table: table{d}}
}

// pagesOf lists the first tenant's invitations of a status in pages of a size.
func pagesOf(t *testing.T, s *Service, status Status, size int) (all []Invitation) {
	t.Helper()
	after := ""
	for {
		view, err := Handler{Service: s}.page(context.Background(), "t1", status, strict.Page{Limit: size, After: after})
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range view.Invitations {
			all = append(all, Invitation{hash: one.Hash, Status: one.Status, State: one.State, Created: one.Created})
		}
		if after = view.Next; after == "" {
			return all
		}
	}
}

func TestATenantsInvitationsAreListedNewestFirst(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := lists(t, d)
		whole := pagesOf(t, s, "", 100)
		if len(whole) != 10 || slices.ContainsFunc(whole, func(i Invitation) bool { return !strings.HasPrefix(i.State, "t1 ") }) {
			t.Fatalf("got %+v, want the tenant's ten", whole)
		}
		newestFirst := slices.IsSortedFunc(whole, func(a, b Invitation) int { return b.Created.Compare(a.Created) })
		if !newestFirst {
			t.Errorf("got %+v, want the newest first", whole)
		}
		for size := 1; size <= 11; size++ {
			if got := pagesOf(t, s, "", size); !slices.EqualFunc(got, whole, func(a, b Invitation) bool { return a.hash == b.hash }) {
				t.Errorf("pages of %d: got %+v, want %+v", size, got, whole)
			}
		}
	})
}

func TestInvitationsAreListedByStatus(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := lists(t, d)
		for _, status := range []Status{Pending, Authorized, NotBound, Cancelled, Expired} {
			for _, size := range []int{1, 2, 3} {
				got := pagesOf(t, s, status, size)
				if len(got) != 2 || slices.ContainsFunc(got, func(i Invitation) bool { return i.Status != status || i.State != "t1 "+string(status) }) {
					t.Errorf("%s in pages of %d: got %+v, want the tenant's two", status, size, got)
				}
			}
		}
		var fault *strict.Fault
		if _, err := s.list(context.Background(), "t1", "lost", first, 1); !errors.As(err, &fault) || fault.Field != "status" {
			t.Errorf("got %v for a status that there is not, want a fault", err)
		}
	})
}

func TestThePlaceInAListIsReadStrictly(t *testing.T) {
	hash := seal.Hash("x")
	for text, want := range map[string]place{"": first, "0-" + hash: {0, hash}, "1795901424344-" + hash: {1795901424344, hash}} {
		if got, err := parsePlace(text); err != nil || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"x", "1", "-", "1-", "1-x", "-1-" + hash, "01-" + hash, "+1-" + hash, "1-" + strings.ToUpper(hash), "1-" + hash + "0", "1-" + hash[1:], "99999999999999999999-" + hash} {
		var fault *strict.Fault
		if got, err := parsePlace(text); !errors.As(err, &fault) || fault.Field != "after" {
			t.Errorf("%q: got %+v, %v, want a fault", text, got, err)
		}
	}
}

// A page costs the same however many invitations a tenant has: its statement searches an index and
// sorts nothing.
func TestAPageOfInvitationsReadsOnlyItsOwnRows(t *testing.T) {
	d := dbtest.SQLite(t)
	s := lists(t, d)
	for _, status := range []Status{"", Pending, Authorized} {
		plan := planOf(t, d, func() error {
			_, err := s.listAt(context.Background(), noon, tenant.ID("t1"), status, first, 100)
			return err
		})
		if !strings.Contains(plan, "SEARCH invitations USING INDEX") || !strings.Contains(plan, "(created_at,hash)<") || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("status %q: got the plan %s, want one that searches an index and sorts nothing", status, plan)
		}
	}
}

// planOf returns how SQLite carries out the one statement that work reads with.
func planOf(t *testing.T, d *db.DB, work func() error) string {
	t.Helper()
	var text string
	var args []any
	d.Gate = func(_ context.Context, statement string, given []any) db.Fate {
		text, args = statement, given
		return db.Done
	}
	err := work()
	d.Gate = nil
	if err != nil {
		t.Fatal(err)
	}
	steps, err := db.All(context.Background(), d, func(scan db.Scan) (detail string, err error) {
		var number, parent, unused int
		err = scan(&number, &parent, &unused, &detail)
		return detail, err
	}, `EXPLAIN QUERY PLAN `+text, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(steps, "; ")
}
