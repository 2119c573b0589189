package trace_test

import (
	"strings"
	"testing"

	"wxplatform/internal/trace"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	parent  = "00-" + traceID + "-00f067aa0ba902b7-01"
)

func TestAParentOfTheStandardsFormIsRead(t *testing.T) {
	for _, text := range []string{parent, strings.TrimSuffix(parent, "01") + "00", strings.TrimSuffix(parent, "01") + "ff"} {
		if got := trace.ParseParent([]string{text}).TraceID(); got != traceID {
			t.Errorf("%s: got %q, want %s", text, got, traceID)
		}
	}
}

func TestAnyOtherParentIsIgnored(t *testing.T) {
	changed := func(old, with string) []string { return []string{strings.Replace(parent, old, with, 1)} }
	for name, values := range map[string][]string{
		"none":                       nil,
		"an empty one":               {""},
		"two":                        {parent, parent},
		"two in one field":           {parent + "," + parent},
		"another version":            changed("00-4", "01-4"),
		"the version that is never":  changed("00-4", "ff-4"),
		"more after the flags":       {parent + "-01"},
		"longer flags":               {parent + "01"},
		"a blank after the flags":    {parent + " "},
		"no flags":                   {strings.TrimSuffix(parent, "-01")},
		"upper case":                 {strings.ToUpper(parent)},
		"upper case in the trace":    changed("4bf9", "4BF9"),
		"a letter after f":           changed("4bf9", "4bg9"),
		"a letter in the span":       changed("00f0", "00x0"),
		"flags that are not hex":     changed("-01", "-0x"),
		"a trace of zeros":           changed(traceID, strings.Repeat("0", 32)),
		"a span of zeros":            changed("00f067aa0ba902b7", strings.Repeat("0", 16)),
		"a short trace":              changed(traceID, traceID[1:]),
		"an underscore for a hyphen": changed("6-00", "6_00"),
		"another underscore":         changed("-01", "_01"),
		"a first underscore":         changed("00-4", "00_4"),
	} {
		if got := trace.ParseParent(values).TraceID(); got != "" {
			t.Errorf("%s: got %q, want none", name, got)
		}
	}
}

func TestReadingAParentAllocatesNothing(t *testing.T) {
	values := []string{parent}
	if got := testing.AllocsPerRun(100, func() {
		if trace.ParseParent(values).TraceID() != traceID {
			t.Fatal("got no trace id")
		}
	}); got != 0 {
		t.Errorf("got %.0f allocations, want none", got)
	}
}
