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
	Case  string `json:"case"`
	Said  string `json:"said"`            // "-" if the SDK has no such call
	Fault string `json:"fault,omitempty"` // why the case failed
}

type table struct{ Rows []row }

func (t *table) add(name, what, said string, err error) {
	r := row{SDK: name, Case: what, Said: said}
	if err != nil {
		r.Fault = hidden(err).Error()
		r.Said = "FAIL"
	}
	t.Rows = append(t.Rows, r)
}

// print prints a line for each case, a column for each SDK, and the faults.
func (t *table) print(to io.Writer) {
	var sdks, names []string
	said := map[[2]string]string{}
	for _, r := range t.Rows {
		sdks, names = with(sdks, r.SDK), with(names, r.Case)
		said[[2]string{r.SDK, r.Case}] = r.Said
	}
	first := 0
	for _, name := range names {
		first = max(first, utf8.RuneCountInString(name))
	}
	line := func(name string, cell func(sdk string) string) {
		text := fmt.Sprintf("%-*s", first, name)
		for _, sdk := range sdks {
			text += fmt.Sprintf("  %-*s", max(8, len(sdk)), cell(sdk))
		}
		fmt.Fprintln(to, strings.TrimRight(text, " "))
	}
	line("", func(sdk string) string { return sdk })
	for _, name := range names {
		line(name, func(sdk string) string { return said[[2]string{sdk, name}] })
	}
	for _, r := range t.Rows {
		if r.Fault != "" {
			fmt.Fprintf(to, "\nFAIL %s, %s: %s\n", r.SDK, r.Case, r.Fault)
		}
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
