package db

import (
	"context"
	"errors"
	"slices"

	"wxplatform/internal/seal"
)

// SealedTable is how a package's sealed values are read and replaced; its statements stand in that package's sql.go.
type SealedTable struct {
	// Read gives up to most rows behind the key after, in the order of their keys.
	Read func(ctx context.Context, q Querier, after string, most int) ([]SealedRow, error)
	// Replace stores fresh in the place of what Read gave, if all of that still stands there; false says that somebody was quicker.
	Replace func(ctx context.Context, tx *Tx, row SealedRow, fresh [][]byte) (bool, error)
	// Delete deletes what Read gave, if all of that still stands there; false says that somebody was quicker.
	Delete func(ctx context.Context, tx *Tx, row SealedRow) (bool, error)
}

// SealedRow is the sealed values of one row.
type SealedRow struct {
	Key    string
	Sealed [][]byte
	Places []seal.Place // of each
}

// ReadSealed reads a row's key and then its sealed columns, which stand at the places of that key.
func ReadSealed(places func(key string) []seal.Place) func(Scan) (SealedRow, error) {
	return func(scan Scan) (SealedRow, error) {
		var r SealedRow
		values := make([][]byte, len(places("")))
		into := []any{&r.Key}
		for i := range values {
			into = append(into, &values[i])
		}
		err := scan(into...)
		for _, sealed := range values {
			r.Sealed = append(r.Sealed, append([]byte{}, sealed...)) // never nil, which would be NULL where it is compared
		}
		r.Places = places(r.Key)
		return r, err
	}
}

// Page says which part of a table is resealed in one step.
type Page struct {
	After     string // "" begins with the first row
	Most      int
	CountOnly bool       // changes nothing
	Lost      seal.KeyID // where it is not 0 nothing is moved, and the rows that have a value under this key are deleted
}

// Resealed is what became of a page.
type Resealed struct {
	Next      string             // where the next page begins; "" where this was the last
	Rows      int                // that were looked at
	Moved     int                // values that are under the newest key now and were not
	Overtaken int                // rows that somebody else saved meanwhile, and sealed in doing so
	Stuck     []string           // keys of rows that do not open
	Deleted   int                // rows with a value under the key that is lost
	Under     map[seal.KeyID]int // values by the key under which they are now
}

// A row that others keep saving is read again this often; then it is left as it is, and counted under the key that it has.
const overtakings = 5

// Reseal moves a page of values to the ring's newest key, all at once or not at all. Nobody's newer value is ever replaced, and a page that was moved stays as it is, so it may be stopped and begun again at will.
func (d *DB) Reseal(ctx context.Context, ring *seal.Ring, table SealedTable, page Page) (Resealed, error) {
	if page.Lost != 0 {
		return d.giveUp(ctx, table, page)
	}
	var done Resealed
	for try := 1; ; try++ {
		rows, err := table.Read(ctx, d, page.After, page.Most)
		if err != nil {
			return done, err
		}
		seen := look(ring, rows)
		overtaken := 0
		if !page.CountOnly {
			var moved int
			if moved, overtaken, err = d.replace(ctx, table, rows, seen.fresh); err != nil {
				return done, err
			}
			done.Moved += moved
			done.Overtaken += overtaken
		}
		if overtaken == 0 || try == overtakings {
			done.Rows, done.Stuck, done.Under = len(rows), seen.stuck, seen.under(page.CountOnly || overtaken > 0)
			if len(rows) == page.Most {
				done.Next = rows[len(rows)-1].Key
			}
			return done, nil
		}
	}
}

// looked is what reading a page showed: per row its values under the newest key, nil where nothing is to be done.
type looked struct {
	rows  []SealedRow
	fresh [][][]byte
	stuck []string
}

func look(ring *seal.Ring, rows []SealedRow) looked {
	l := looked{rows: rows, fresh: make([][][]byte, len(rows))}
	for i, row := range rows {
		fresh, err := renewed(ring, row)
		if err != nil {
			l.stuck = append(l.stuck, row.Key)
			continue
		}
		l.fresh[i] = fresh
	}
	return l
}

// renewed is row's values under the newest key, or nil where they are already.
func renewed(ring *seal.Ring, row SealedRow) ([][]byte, error) {
	var faults []error
	fresh, old := make([][]byte, len(row.Sealed)), false
	for i, sealed := range row.Sealed {
		var err error
		fresh[i], err = ring.Reseal(sealed, row.Places[i]...)
		faults = append(faults, err)
		old = old || !ring.Newest(sealed)
	}
	if err := errors.Join(faults...); err != nil || !old {
		return nil, err
	}
	return fresh, nil
}

// under counts values by their key: as they were read, or as they are once all that was renewed is stored.
func (l looked) under(asRead bool) map[seal.KeyID]int {
	counts := map[seal.KeyID]int{}
	for i, row := range l.rows {
		values := row.Sealed
		if !asRead && l.fresh[i] != nil {
			values = l.fresh[i]
		}
		for _, sealed := range values {
			if id, ok := seal.KeyOf(sealed); ok {
				counts[id]++
			}
		}
	}
	return counts
}

func (d *DB) replace(ctx context.Context, table SealedTable, rows []SealedRow, fresh [][][]byte) (moved, overtaken int, err error) {
	err = d.Tx(ctx, func(tx *Tx) error {
		moved, overtaken = 0, 0 // PostgreSQL may have this run again
		for i, row := range rows {
			if fresh[i] == nil {
				continue
			}
			mine, err := table.Replace(ctx, tx, row, fresh[i])
			if err != nil {
				return err
			}
			if !mine {
				overtaken++
				continue
			}
			moved += differing(row.Sealed, fresh[i])
		}
		return nil
	})
	return moved, overtaken, err
}

func differing(old, fresh [][]byte) (n int) {
	for i := range old {
		if string(old[i]) != string(fresh[i]) {
			n++
		}
	}
	return n
}

func (d *DB) giveUp(ctx context.Context, table SealedTable, page Page) (Resealed, error) {
	rows, err := table.Read(ctx, d, page.After, page.Most)
	if err != nil {
		return Resealed{}, err
	}
	done := Resealed{Rows: len(rows)}
	err = d.Tx(ctx, func(tx *Tx) error {
		done.Deleted, done.Overtaken = 0, 0
		for _, row := range rows {
			if !row.isUnder(page.Lost) {
				continue
			}
			mine, err := table.Delete(ctx, tx, row)
			if err != nil {
				return err
			}
			if mine {
				done.Deleted++
			} else {
				done.Overtaken++
			}
		}
		return nil
	})
	if len(rows) == page.Most {
		done.Next = rows[len(rows)-1].Key
	}
	return done, err
}

func (r SealedRow) isUnder(key seal.KeyID) bool {
	return slices.ContainsFunc(r.Sealed, func(sealed []byte) bool { id, ok := seal.KeyOf(sealed); return ok && id == key })
}
