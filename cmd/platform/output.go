package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// format is the flag with which an operator's command prints JSON instead of a table.
type format struct {
	JSON bool `name:"json" help:"Print JSON, for programs. 输出 JSON。"`
}

// table prints values of one type: as a table for people, or with --json for programs.
type table[V any] struct {
	columns []string
	cells   func(V) []any
}

// printAll prints views, in JSON as an array. It returns err instead if the views could not be
// read.
func (t table[V]) printAll(out io.Writer, f format, views []V, err error) error {
	switch {
	case err != nil:
		return err
	case f.JSON:
		return printJSON(out, append([]V{}, views...))
	}
	return t.printTable(out, views)
}

// printOne prints one view, in JSON as an object. It returns err instead if the view could not
// be read.
func (t table[V]) printOne(out io.Writer, f format, view V, err error) error {
	switch {
	case err != nil:
		return err
	case f.JSON:
		return printJSON(out, view)
	}
	return t.printTable(out, []V{view})
}

func (t table[V]) printTable(out io.Writer, views []V) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, strings.Join(t.columns, "\t"))
	for _, v := range views {
		_, _ = fmt.Fprintln(w, tabbed(t.cells(v)))
	}
	return w.Flush()
}

func tabbed(cells []any) string {
	texts := []string{}
	for _, cell := range cells {
		texts = append(texts, fmt.Sprint(cell))
	}
	return strings.Join(texts, "\t")
}

func printJSON(out io.Writer, v any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// viewsOf returns the view of each of all.
func viewsOf[T, V any](all []T, view func(T) V) []V {
	made := []V{}
	for _, one := range all {
		made = append(made, view(one))
	}
	return made
}

// timestamp is a time in a table: "-" if there is none.
func timestamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// timestampOrDash is an optional time in a table.
func timestampOrDash(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return timestamp(*t)
}

// timeOrNull is a time in JSON: null if there is none.
func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
