package db_test

import (
	"slices"
	"testing"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
)

var sealedTokens = db.SealedTable{Name: "tokens", Kind: "authorizer", Key: "id", Columns: []string{"access", "refresh", "spare"}}

func TestASealedTableReadsAndWritesOnlyItsKind(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, row := range [][]any{{"authorizer", "a"}, {"authorizer", "b"}, {"authorizer", "c"}, {"component", "b"}} {
			insertToken(t, d, row[0].(string), row[1].(string), "1")
		}
		rows, err := sealedTokens.Read(ctx, d, "a", 10)
		if err != nil || len(rows) != 2 || rows[0].Key != "b" || rows[1].Key != "c" {
			t.Fatalf("got %v, %v, want the rows b and c", rows, err)
		}
		if got, want := rows[0].Places[1], []string{"tokens", "refresh", "authorizer", "b"}; !slices.Equal(got, want) {
			t.Errorf("got the place %q, want %q", got, want)
		}
		write(t, d, func(tx *db.Tx) (bool, error) {
			return sealedTokens.Replace(ctx, tx, rows[0], [][]byte{[]byte("x"), []byte("y"), {}})
		}, true)
		write(t, d, func(tx *db.Tx) (bool, error) { return sealedTokens.Delete(ctx, tx, rows[1]) }, true)
		want := []string{"authorizer a 1 1 1", "authorizer b x y ", "component b 1 1 1"}
		if got := tokens(t, d); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestARowWithOneColumnSavedSinceIsNeitherReplacedNorDeleted(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, column := range sealedTokens.Columns {
			insertToken(t, d, "authorizer", column, "old")
			rows, err := sealedTokens.Read(ctx, d, "", 10)
			if err != nil {
				t.Fatal(err)
			}
			row := rows[slices.IndexFunc(rows, func(r db.SealedRow) bool { return r.Key == column })]
			if _, err := db.Exec(ctx, d, `UPDATE tokens SET `+column+` = $1 WHERE id = $2`, []byte("newer"), column); err != nil {
				t.Fatal(err)
			}
			write(t, d, func(tx *db.Tx) (bool, error) { return sealedTokens.Replace(ctx, tx, row, row.Sealed) }, false)
			write(t, d, func(tx *db.Tx) (bool, error) { return sealedTokens.Delete(ctx, tx, row) }, false)
		}
		want := []string{"authorizer access newer old old", "authorizer refresh old newer old", "authorizer spare old old newer"}
		if got := tokens(t, d); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestOnlyWritesToCachedTablesRaiseTheCounter(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		insertToken(t, d, "authorizer", "a", "1")
		cached := sealedTokens
		cached.Cached = true
		for want, table := range []db.SealedTable{sealedTokens, cached} {
			rows, err := table.Read(ctx, d, "", 1)
			if err != nil {
				t.Fatal(err)
			}
			write(t, d, func(tx *db.Tx) (bool, error) { return table.Replace(ctx, tx, rows[0], rows[0].Sealed) }, true)
			if got := d.Changes(); got != int64(want) {
				t.Errorf("got %d changes, want %d", got, want)
			}
		}
	})
}

func insertToken(t *testing.T, d *db.DB, kind, id, value string) {
	t.Helper()
	_, err := db.Exec(ctx, d, `INSERT INTO tokens (kind, id, access, refresh, spare) VALUES ($1, $2, $3, $3, $3)`, kind, id, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, d *db.DB, work func(*db.Tx) (bool, error), want bool) {
	t.Helper()
	err := d.Tx(ctx, func(tx *db.Tx) error {
		got, err := work(tx)
		if got != want {
			t.Errorf("got %v, want %v", got, want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func tokens(t *testing.T, d *db.DB) []string {
	t.Helper()
	all, err := db.All(ctx, d, func(scan db.Scan) (string, error) {
		var kind, id string
		var access, refresh, spare []byte
		err := scan(&kind, &id, &access, &refresh, &spare)
		return kind + " " + id + " " + string(access) + " " + string(refresh) + " " + string(spare), err
	}, `SELECT kind, id, access, refresh, spare FROM tokens ORDER BY kind, id`)
	if err != nil {
		t.Fatal(err)
	}
	return all
}
