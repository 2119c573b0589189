package token

import (
	"database/sql/driver"
	"fmt"
	"strings"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/wechat"
)

// stored is a row of the table tokens with its id.
type stored struct {
	id  wechat.AppID
	row row
}

// column is a column of the table tokens.
type column struct {
	name  string
	field any // a pointer to the field, which is scanned into and written from
}

// columns returns every column that custody reads and writes, each with its field of to. A column
// comes after the id, because the place of a sealed one contains it.
func (t table) columns(to *stored) []column {
	r := &to.row
	secret := func(name string, field *seal.Secret, unopened *string) column {
		return column{name, sealed{t, name, &to.id, field, unopened}}
	}
	return []column{
		{"id", &to.id},
		{"fence", &r.fence},
		{"version", &r.version},
		{"claimed_at", (*db.Stamp)(&r.claimed)},
		{"lease_until", (*db.Stamp)(&r.lease)},
		{"unsettled_until", (*db.Stamp)(&r.unsettled)},
		secret("access", &r.access, &r.unopened.access),
		secret("refresh", &r.refresh, &r.unopened.refresh),
		secret("spare", &r.spare, &r.unopened.spare),
		{"spare_fence", &r.spareFence},
		{"expires_at", (*db.Stamp)(&r.expires)},
		{"renew_early", (*db.Stamp)(&r.early)},
		{"renew_late", (*db.Stamp)(&r.late)},
		{"due", (*db.Stamp)(&r.due)},
		{"warm", (*flag)(&r.warm)},
		{"failures", &r.failures},
		{"retry_at", (*db.Stamp)(&r.retry)},
		{"barred_until", (*db.Stamp)(&r.barred)},
		{"used_at", (*db.Stamp)(&r.used)},
		{"forced_at", (*db.Stamp)(&r.forced)},
		{"forced_version", &r.forcedFor},
		{"retired_at", (*db.Stamp)(&r.retired)},
	}
}

// fields returns the fields of to in the order of columns, for Scan and for the arguments of a
// statement.
func (t table) fields(to *stored) []any {
	var all []any
	for _, c := range t.columns(to) {
		all = append(all, c.field)
	}
	return all
}

// selected names every column, for SELECT. assigned gives each but the id a new value, for UPDATE:
// the argument at its place in columns.
var selected, assigned = func() (string, string) {
	var names, values []string
	for i, c := range (table{}).columns(&stored{}) {
		names = append(names, c.name)
		if c.name != "id" {
			values = append(values, fmt.Sprintf("%s = $%d", c.name, i+1))
		}
	}
	return strings.Join(names, ", "), strings.Join(values, ", ")
}()

func (t table) scan(scan db.Scan) (to stored, err error) {
	err = scan(t.fields(&to)...)
	return to, err
}

// sealed reads and writes a secret that SQL stores sealed. It cannot be opened in another column or
// row.
type sealed struct {
	table    table
	column   string
	id       *wechat.AppID
	secret   *seal.Secret
	unopened *string // the stored value, if it does not open
}

// Scan opens the column into the secret. A value that does not open concerns this row only, so it
// is no error, which would take the other rows of the statement with it.
func (f sealed) Scan(value any) error {
	var stored []byte
	switch value := value.(type) {
	case []byte:
		stored = value
	case string: // SQLite stores any type in any column
		stored = []byte(value)
	default:
		return fmt.Errorf("a sealed column must be a BYTEA, not %T", value)
	}
	opened, err := f.table.ring.Open(stored, f.place()...)
	if err != nil {
		*f.unopened = string(stored)
		return nil
	}
	*f.secret = opened
	return nil
}

// Value seals the secret. Without one it returns a value that did not open as it was.
func (f sealed) Value() (driver.Value, error) {
	if f.secret.IsZero() && *f.unopened != "" {
		return []byte(*f.unopened), nil
	}
	return f.table.ring.Seal(*f.secret, f.place()...), nil
}

func (f sealed) place() seal.Place { return f.table.sealedTable().Place(f.column, string(*f.id)) }

// flag is a bool as SQL stores it: a BIGINT, 0 or 1.
type flag bool

// Scan reads a BIGINT.
func (f *flag) Scan(value any) error {
	n, ok := value.(int64)
	if !ok {
		return fmt.Errorf("a flag must be a BIGINT, not %T", value)
	}
	*f = n != 0
	return nil
}

// Value returns 0 or 1.
func (f flag) Value() (driver.Value, error) {
	if f {
		return int64(1), nil
	}
	return int64(0), nil
}
