package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// columnGap is how many spaces are between two columns.
const columnGap = 2

// grid prints rows with their cells in columns. The zero value is ready.
type grid struct {
	widths []int // so far, in columns of a terminal
}

// print prints rows in aligned columns. A column never becomes narrower than in an earlier call, so
// the pages of a list line up, except where a later page needs a wider column.
func (g *grid) print(out io.Writer, rows [][]string) error {
	for _, row := range rows {
		g.fit(row)
	}
	var text strings.Builder
	for _, row := range rows {
		g.write(&text, row)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func (g *grid) fit(row []string) {
	for i, cell := range row {
		if i == len(g.widths) {
			g.widths = append(g.widths, 0)
		}
		g.widths[i] = max(g.widths[i], shownWidth(cell))
	}
}

// write writes one line, without spaces at its end.
func (g *grid) write(to *strings.Builder, row []string) {
	pending := 0
	for i, cell := range row {
		if cell != "" {
			to.WriteString(strings.Repeat(" ", pending) + cell)
			pending = 0
		}
		pending += g.widths[i] - shownWidth(cell) + columnGap
	}
	to.WriteByte('\n')
}

// shownWidth returns how many columns of a terminal text takes: two for each Chinese character.
func shownWidth(text string) int {
	n := 0
	for _, r := range text {
		n += shownRuneWidth(r)
	}
	return n
}

func shownRuneWidth(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0 // drawn on the character before, or not at all
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// texts formats the cells of a row.
func texts(cells []any) []string {
	return viewsOf(cells, func(cell any) string { return fmt.Sprint(cell) })
}
