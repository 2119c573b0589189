package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// row is what one SDK showed in one case.
type row struct {
	SDK   string `json:"sdk"`
	Ran   bool   `json:"ran"` // or else its bytes were replayed
	Case  string `json:"case"`
	Said  string `json:"said"`            // "-" if the SDK has no such call
	Fault string `json:"fault,omitempty"` // why the case failed
}

type table struct{ Rows []row }

func (t *table) add(of subject, what, said string, err error) {
	r := row{SDK: of.Name, Ran: !of.Replayed, Case: what, Said: said}
	if err != nil {
		r.Fault = hidden(err).Error()
		r.Said = "FAIL"
	}
	t.Rows = append(t.Rows, r)
}

// print prints a table of the SDKs that ran, one of those that were replayed, and the faults.
func (t *table) print(to io.Writer) {
	t.printSome(to, "SDKs, run", true)
	t.printSome(to, "SDKs, replayed: the bytes that they send, and their rules for reading", false)
	for _, r := range t.Rows {
		if r.Fault != "" {
			fmt.Fprintf(to, "\nFAIL %s, %s: %s\n", r.SDK, r.Case, r.Fault)
		}
	}
}

// printSome prints a line for each case, with a column for each SDK.
func (t *table) printSome(to io.Writer, title string, ran bool) {
	var names, sdks []string
	said := map[[2]string]string{}
	for _, r := range t.Rows {
		if r.Ran == ran {
			sdks, names = with(sdks, r.SDK), with(names, r.Case)
			said[[2]string{r.SDK, r.Case}] = r.Said
		}
	}
	if len(sdks) == 0 {
		return
	}
	lines := [][]string{append([]string{""}, sdks...)}
	for _, name := range names {
		line := []string{name}
		for _, sdk := range sdks {
			line = append(line, said[[2]string{sdk, name}])
		}
		lines = append(lines, line)
	}
	fmt.Fprintf(to, "\n%s\n\n", title)
	align(to, lines)
}

// align prints lines in columns.
func align(to io.Writer, lines [][]string) {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, line := range lines {
		text := ""
		for i, cell := range line {
			text += fmt.Sprintf("%-*s  ", widths[i], cell)
		}
		fmt.Fprintln(to, strings.TrimRight(text, " "))
	}
}

func with(all []string, one string) []string {
	if slices.Contains(all, one) {
		return all
	}
	return append(all, one)
}

// fault fails if a case failed, or if nothing ran.
func (t *table) fault() error {
	n := 0
	for _, r := range t.Rows {
		if r.Fault != "" {
			n++
		}
	}
	switch {
	case len(t.Rows) == 0:
		return errors.New("nothing ran")
	case n > 0:
		return fmt.Errorf("%d of %d cases failed", n, len(t.Rows))
	}
	return nil
}
