package db

import (
	"context"
	"fmt"
	"strings"

	"wxplatform/internal/seal"
)

// SealedTable describes a table that has sealed columns. From it come the places at which their
// values are sealed, and the statements that Reseal reads and replaces them with.
type SealedTable struct {
	Name    string
	Kind    string   // only the rows whose column kind has this value; "" if there is no such column
	Key     string   // the text column that, within a kind, identifies a row
	Columns []string // the sealed ones; none of them is ever NULL
	// Cached says that processes keep the rows in memory, so each write raises the change counter.
	Cached bool
}

// Place returns the place at which a row's column is sealed: a value that was copied to another
// row or column cannot be opened there.
func (t SealedTable) Place(column, key string) seal.Place {
	if t.Kind == "" {
		return seal.Place{t.Name, column, key}
	}
	return seal.Place{t.Name, column, t.Kind, key}
}

// Read returns up to most rows whose key is greater than after, ordered by key.
func (t SealedTable) Read(ctx context.Context, q Querier, after string, most int) ([]SealedRow, error) {
	kind, args := "", []any{after, most}
	if t.Kind != "" {
		kind, args = "kind = $3 AND ", append(args, t.Kind)
	}
	return All(ctx, q, t.readRow, fmt.Sprintf(`
		SELECT %[1]s, %[2]s
		FROM %[3]s
		WHERE %[4]s%[1]s > $1
		ORDER BY %[1]s
		LIMIT $2`, t.Key, strings.Join(t.Columns, ", "), t.Name, kind), args...)
}

func (t SealedTable) readRow(scan Scan) (SealedRow, error) {
	var r SealedRow
	values := make([][]byte, len(t.Columns))
	into := []any{&r.Key}
	for i := range values {
		into = append(into, &values[i])
	}
	err := scan(into...)
	for i, column := range t.Columns {
		r.Sealed = append(r.Sealed, append([]byte{}, values[i]...)) // never nil, which compares as NULL
		r.Places = append(r.Places, t.Place(column, r.Key))
	}
	return r, err
}

// Replace stores fresh in place of the values that Read returned. It reports false and changes
// nothing if one of them was saved or deleted since: the same value is never sealed to the same
// bytes twice, so the bytes show it.
func (t SealedTable) Replace(ctx context.Context, tx *Tx, row SealedRow, fresh [][]byte) (bool, error) {
	where, args := t.unchanged(row)
	var set []string
	for i, column := range t.Columns {
		args = append(args, fresh[i])
		set = append(set, fmt.Sprintf("%s = $%d", column, len(args)))
	}
	return t.write(ctx, tx, `UPDATE `+t.Name+` SET `+strings.Join(set, ", ")+where, args)
}

// Delete deletes a row that Read returned. It reports false and changes nothing if one of its
// sealed values was saved since.
func (t SealedTable) Delete(ctx context.Context, tx *Tx, row SealedRow) (bool, error) {
	where, args := t.unchanged(row)
	return t.write(ctx, tx, `DELETE FROM `+t.Name+where, args)
}

// unchanged is the condition that a row still holds the values that were read.
func (t SealedTable) unchanged(row SealedRow) (where string, args []any) {
	var all []string
	equals := func(column string, value any) {
		args = append(args, value)
		all = append(all, fmt.Sprintf("%s = $%d", column, len(args)))
	}
	if t.Kind != "" {
		equals("kind", t.Kind)
	}
	equals(t.Key, row.Key)
	for i, column := range t.Columns {
		equals(column, row.Sealed[i])
	}
	return " WHERE " + strings.Join(all, " AND "), args
}

func (t SealedTable) write(ctx context.Context, tx *Tx, text string, args []any) (bool, error) {
	if t.Cached {
		tx.Changed()
	}
	rows, err := Exec(ctx, tx, text, args...)
	return rows > 0, err
}
