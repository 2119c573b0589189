package authorizer

import (
	"context"
	"strings"
	"testing"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/wechat"
)

// A page of a list costs the same whether hundreds of accounts are stored or millions: each of its
// statements searches an index for the page, and sorts nothing.
func TestAPageReadsOnlyItsOwnRows(t *testing.T) {
	d := dbtest.SQLite(t)
	r := registry(t, d)
	lists := map[string]func() ([]Authorizer, error){
		"all":         func() ([]Authorizer, error) { return r.All(ctx, "wx1", 1000) },
		"in a state":  func() ([]Authorizer, error) { return r.InState(ctx, Healthy, "wx1", 1000) },
		"of a tenant": func() ([]Authorizer, error) { return r.List(ctx, "t1", "wx1", 1000) },
	}
	for name, list := range lists {
		plan := strings.Join(planned(t, d, func() error {
			_, err := list()
			return err
		}), "\n")
		if !strings.Contains(plan, "SEARCH authorizers USING INDEX") || strings.Contains(plan, "SCAN") || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("%s: got the plan\n%s\nwant one that searches an index and sorts nothing", name, plan)
		}
	}
	plan := strings.Join(planned(t, d, func() error {
		_, err := r.tokens.Health(ctx, []wechat.AppID{id})
		return err
	}), "\n")
	if !strings.Contains(plan, "SEARCH tokens USING INDEX") || strings.Contains(plan, "SCAN tokens") {
		t.Errorf("health: got the plan\n%s\nwant one that searches the tokens' index", plan)
	}
}

// planned returns how SQLite carries out the statements that work reads with.
func planned(t *testing.T, d *db.DB, work func() error) (steps []string) {
	t.Helper()
	type statement struct {
		text string
		args []any
	}
	var all []statement
	d.Gate = func(_ context.Context, text string, args []any) db.Fate {
		all = append(all, statement{text, args})
		return db.Done
	}
	err := work()
	d.Gate = nil
	if err != nil || len(all) == 0 {
		t.Fatalf("got %d statements, %v", len(all), err)
	}
	for _, one := range all {
		some, err := db.All(ctx, d, readPlan, `EXPLAIN QUERY PLAN `+one.text, one.args...)
		if err != nil {
			t.Fatal(err)
		}
		steps = append(steps, some...)
	}
	return steps
}

func readPlan(scan db.Scan) (detail string, err error) {
	var number, parent, unused int
	err = scan(&number, &parent, &unused, &detail)
	return detail, err
}
