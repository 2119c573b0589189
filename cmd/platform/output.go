package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	if err != nil {
		return err
	}
	all := t.listing(out, f)
	return errors.Join(all.print(views), all.end())
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
	return t.listing(out, format{}).print(views)
}

// listing prints a list page by page, so that one of any length needs the memory of one page.
func (t table[V]) listing(out io.Writer, f format) *listing[V] {
	return &listing[V]{table: t, format: f, out: out}
}

// listing prints the pages of a list: as one table with one heading, or as one JSON array.
type listing[V any] struct {
	table[V]
	format
	out   io.Writer
	grid  grid
	begun bool // something is printed
}

// print prints a page.
func (l *listing[V]) print(views []V) error {
	if l.JSON {
		return l.printElements(views)
	}
	var rows [][]string
	if !l.begun {
		rows = append(rows, l.columns)
	}
	l.begun = true
	for _, v := range views {
		rows = append(rows, texts(l.cells(v)))
	}
	return l.grid.print(l.out, rows)
}

func (l *listing[V]) printElements(views []V) error {
	for _, v := range views {
		text, err := indented("  ", v)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(l.out, "%s%s", l.before(), bytes.TrimSuffix(text, []byte("\n"))); err != nil {
			return err
		}
		l.begun = true
	}
	return nil
}

// before is what JSON has before the next element.
func (l *listing[V]) before() string {
	if !l.begun {
		return "[\n  "
	}
	return ",\n  "
}

// end prints what a list needs behind its last page.
func (l *listing[V]) end() error {
	text := ""
	switch {
	case l.JSON && !l.begun:
		text = "[]\n"
	case l.JSON:
		text = "\n]\n"
	}
	_, err := io.WriteString(l.out, text)
	return err
}

func printJSON(out io.Writer, v any) error {
	text, err := indented("", v)
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}

// indented returns v as JSON. All lines but the first begin with prefix.
func indented(prefix string, v any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent(prefix, "  ")
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return text.Bytes(), err
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
