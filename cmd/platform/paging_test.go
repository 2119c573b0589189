package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

var numberTable = table[string]{columns: []string{"NUMBER"}, cells: func(v string) []any { return []any{v} }}

// numbers lists the numbers from 0001 to 3500, and records how many were read at once.
func numbers(flags paging[string], atOnce *[]int) pager[string, string] {
	read := func(after string, limit int) (some []string, err error) {
		*atOnce = append(*atOnce, limit)
		for i := 1; i <= 3500 && len(some) < limit; i++ {
			if n := fmt.Sprintf("%04d", i); n > after {
				some = append(some, n)
			}
		}
		return some, nil
	}
	return pager[string, string]{flags, read, func(v string) string { return v }}
}

func TestALongListIsReadInPagesAndSaysWhenItIsCut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		flags       paging[string]
		first, last string
		count       int
		cut         bool
	}{
		{paging[string]{Limit: 1000}, "0001", "1000", 1000, true},
		{paging[string]{Limit: 2500}, "0001", "2500", 2500, true},
		{paging[string]{Limit: 1000, After: "2500"}, "2501", "3500", 1000, false},
		{paging[string]{Limit: 3500}, "0001", "3500", 3500, false},
		{paging[string]{Limit: 1, After: "0007"}, "0008", "0008", 1, true},
		{paging[string]{Limit: 1000, All: true}, "0001", "3500", 3500, false},
		{paging[string]{Limit: 1000, All: true, After: "1499"}, "1500", "3500", 2001, false},
	} {
		for _, asJSON := range []bool{false, true} {
			var atOnce []int
			out, errOut := &bytes.Buffer{}, &bytes.Buffer{}
			if err := numbers(c.flags, &atOnce).printTo(shell{out: out, errOut: errOut}, format{asJSON}, numberTable); err != nil {
				t.Fatal(err)
			}
			got := strings.Fields(out.String())[1:]
			if asJSON {
				got = nil
				if err := json.Unmarshal(out.Bytes(), &got); err != nil {
					t.Fatalf("got %v for %s", err, out)
				}
			}
			if len(got) != c.count || got[0] != c.first || got[len(got)-1] != c.last || !slices.IsSorted(got) {
				t.Errorf("%+v: got %d from %s to %s, want %d from %s to %s", c.flags, len(got), got[0], got[len(got)-1], c.count, c.first, c.last)
			}
			if slices.Max(atOnce) > rowsAtOnce+1 {
				t.Errorf("%+v: got %d rows in one statement, want at most %d", c.flags, slices.Max(atOnce), rowsAtOnce+1)
			}
			says := strings.Contains(errOut.String(), "--after "+c.last+" ") && strings.Contains(errOut.String(), "用 --after "+c.last)
			if says != c.cut || !c.cut && errOut.Len() > 0 {
				t.Errorf("%+v: got %q, want it said in both languages: %v", c.flags, errOut, c.cut)
			}
		}
	}
}

func TestAListFailsWithItsStatement(t *testing.T) {
	t.Parallel()
	failure := errors.New("no database")
	p := pager[string, string]{paging[string]{Limit: 1}, func(string, int) ([]string, error) { return nil, failure }, func(v string) string { return v }}
	if err := p.printTo(shell{out: &bytes.Buffer{}}, format{}, numberTable); !errors.Is(err, failure) {
		t.Errorf("got %v, want %v", err, failure)
	}
	p.Limit = 0
	if err := p.printTo(shell{out: &bytes.Buffer{}}, format{}, numberTable); err == nil || errors.Is(err, failure) {
		t.Errorf("got %v, want a limit of 0 refused", err)
	}
}

func TestAnEmptyListIsAHeadingOrAnEmptyArray(t *testing.T) {
	t.Parallel()
	for asJSON, want := range map[bool]string{false: "NUMBER\n", true: "[]\n"} {
		out := &bytes.Buffer{}
		if err := numberTable.printAll(out, format{asJSON}, nil, nil); err != nil || out.String() != want {
			t.Errorf("got %q, %v, want %q", out, err, want)
		}
	}
}

func TestAJSONListHasTheFormOfOneValue(t *testing.T) {
	t.Parallel()
	out, whole := &bytes.Buffer{}, &bytes.Buffer{}
	views := []tenantView{{ID: "t1", Name: "四季花店 & <x>"}, {ID: "t2"}}
	if err := errors.Join(tenantTable.printAll(out, format{true}, views, nil), printJSON(whole, views)); err != nil || out.String() != whole.String() {
		t.Errorf("got %s, %v, want %s", out, err, whole)
	}
}
