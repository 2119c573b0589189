package db

import (
	"context"
	"errors"
	"slices"

	"wxplatform/internal/seal"
)

// SealedRow holds the sealed values of one row.
type SealedRow struct {
	Key    string
	Sealed [][]byte     // one per sealed column, in the table's order
	Places []seal.Place // where each was sealed
}

// Page says which part of a table one call of Reseal handles.
type Page struct {
	After     string // the last key of the page before; "" begins with the first row
	Most      int    // rows
	CountOnly bool   // changes nothing
	// Lost is a key that is gone, or 0. If it is not 0 nothing is resealed, and rows that have a
	// value under it are deleted. Then Losing is told how many, in their transaction.
	Lost   seal.KeyID
	Losing func(tx *Tx, rows int)
}

// Resealed is the result of one page.
type Resealed struct {
	Next      string             // Page.After of the next page; "" after the last one
	Rows      int                // read
	Moved     int                // values moved to the newest key and the ring's form
	Overtaken int                // rows that another process saved meanwhile
	Stuck     []string           // keys of the rows that could not be decrypted
	Deleted   int                // rows that had a value under the lost key
	Under     map[seal.KeyID]int // values by the key they are under now
	In        map[seal.Form]int  // values by the form they are in now
}

// A page that other processes keep saving is read this often. Then Reseal leaves it as it is and
// counts its values under the keys that they have.
const overtakings = 5

// Reseal moves a page of a table's values to the ring's newest key and form, in one transaction. It
// never replaces a value that was saved after it read the page. Resealing a page twice changes
// nothing, so it may be stopped and started again at any time.
func (d *DB) Reseal(ctx context.Context, ring *seal.Ring, table SealedTable, page Page) (Resealed, error) {
	if page.Lost != 0 {
		return d.deleteLost(ctx, table, page)
	}
	var done Resealed
	for try := 1; ; try++ {
		rows, err := table.Read(ctx, d, page.After, page.Most)
		if err != nil {
			return done, err
		}
		p := plan(ring, rows)
		overtaken := 0
		if !page.CountOnly {
			var moved int
			if moved, overtaken, err = d.carryOut(ctx, table, p); err != nil {
				return done, err
			}
			done.Moved += moved
			done.Overtaken += overtaken
		}
		if overtaken == 0 || try == overtakings {
			done.Rows, done.Next, done.Stuck = len(rows), page.next(rows), p.stuck
			done.Under, done.In = p.count(page.CountOnly || overtaken > 0)
			return done, nil
		}
	}
}

func (p Page) next(rows []SealedRow) string {
	if len(rows) < p.Most || len(rows) == 0 {
		return ""
	}
	return rows[len(rows)-1].Key
}

// resealing is what has to be written to move the rows of a page to the newest key and form.
type resealing struct {
	rows  []SealedRow
	fresh [][][]byte // for each row its values under the newest key; nil if nothing has to change
	stuck []string
}

func plan(ring *seal.Ring, rows []SealedRow) resealing {
	p := resealing{rows: rows, fresh: make([][][]byte, len(rows))}
	for i, row := range rows {
		fresh, err := row.resealed(ring)
		if err != nil {
			p.stuck = append(p.stuck, row.Key)
			continue
		}
		p.fresh[i] = fresh
	}
	return p
}

// resealed returns the row's values under the newest key and in the ring's form, or nil if all of
// them already are.
func (r SealedRow) resealed(ring *seal.Ring) ([][]byte, error) {
	var faults []error
	fresh, old := make([][]byte, len(r.Sealed)), false
	for i, sealed := range r.Sealed {
		var err error
		fresh[i], err = ring.Reseal(sealed, r.Places[i]...)
		faults = append(faults, err)
		old = old || !ring.Newest(sealed)
	}
	if err := errors.Join(faults...); err != nil || !old {
		return nil, err
	}
	return fresh, nil
}

// count counts values by their key and by their form, either as they were read or as they are after
// the write.
func (p resealing) count(asRead bool) (under map[seal.KeyID]int, in map[seal.Form]int) {
	under, in = map[seal.KeyID]int{}, map[seal.Form]int{}
	for i, row := range p.rows {
		values := row.Sealed
		if !asRead && p.fresh[i] != nil {
			values = p.fresh[i]
		}
		for _, sealed := range values {
			if id, ok := seal.KeyOf(sealed); ok {
				under[id]++
				in[seal.FormOf(sealed)]++
			}
		}
	}
	return under, in
}

func (d *DB) carryOut(ctx context.Context, table SealedTable, p resealing) (moved, overtaken int, err error) {
	err = d.Tx(ctx, func(tx *Tx) error {
		moved, overtaken = 0, 0 // Tx may run this function again
		for i, row := range p.rows {
			if p.fresh[i] == nil {
				continue
			}
			mine, err := table.Replace(ctx, tx, row, p.fresh[i])
			if err != nil {
				return err
			}
			if !mine {
				overtaken++
				continue
			}
			moved += differing(row.Sealed, p.fresh[i])
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

func (d *DB) deleteLost(ctx context.Context, table SealedTable, page Page) (Resealed, error) {
	rows, err := table.Read(ctx, d, page.After, page.Most)
	if err != nil {
		return Resealed{}, err
	}
	done := Resealed{Rows: len(rows), Next: page.next(rows)}
	err = d.Tx(ctx, func(tx *Tx) error {
		done.Deleted, done.Overtaken = 0, 0 // Tx may run this function again
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
		if done.Deleted > 0 {
			page.Losing(tx, done.Deleted)
		}
		return nil
	})
	return done, err
}

func (r SealedRow) isUnder(key seal.KeyID) bool {
	return slices.ContainsFunc(r.Sealed, func(sealed []byte) bool { id, ok := seal.KeyOf(sealed); return ok && id == key })
}
