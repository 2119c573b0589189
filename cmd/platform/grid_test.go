package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestTheWidthOfTextIsThatOfATerminal(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"": 0, "shop": 4, "四季花店": 8, "ＡＢ": 4, "（）。": 6, "한국": 4, "カナ": 4, "ｶﾅ": 2,
		"é": 1, "e\u0301": 1, "a\u200bb": 2, "🌸": 2, "—": 1, "Müller": 6,
	} {
		if got := shownWidth(text); got != want {
			t.Errorf("%q: got %d columns, want %d", text, got, want)
		}
	}
}

// starts returns the column of a terminal at which each cell of a line begins.
func starts(line string, cells []string) (at []int) {
	from := 0
	for _, cell := range cells {
		from += strings.Index(line[from:], cell)
		at = append(at, shownWidth(line[:from]))
		from += len(cell)
	}
	return at
}

func TestColumnsAreAlignedForChineseNames(t *testing.T) {
	t.Parallel()
	rows := [][]string{{"TENANT", "NAME", "STATE"}, {"t1", "四季花店", "active"}, {"t2", "Tea House of the Four Seasons", "active"}, {"t3", "", "suspended"}, {"t4", "Silk", ""}}
	out := &bytes.Buffer{}
	if err := new(grid).print(out, rows); err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n") {
		if at := starts(line, rows[i]); rows[i][2] != "" && at[2] != len("TENANT")+len(rows[2][1])+2*columnGap {
			t.Errorf("got the state at column %d in\n%s", at[2], out)
		}
		if strings.HasSuffix(line, " ") {
			t.Errorf("got spaces at the end of %q", line)
		}
	}
}

func TestALaterPageIsNotNarrower(t *testing.T) {
	t.Parallel()
	out := &bytes.Buffer{}
	g := &grid{}
	for _, page := range [][][]string{{{"wide cell", "x"}}, {{"n", "y"}}} {
		if err := g.print(out, page); err != nil {
			t.Fatal(err)
		}
	}
	if want := "wide cell  x\nn          y\n"; out.String() != want {
		t.Errorf("got %q, want %q", out, want)
	}
}
