//go:build failpoints

package faults

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The ordinary binary knows neither the steps nor the settings of the fault suite; the tagged one, by the same search, does.
func TestTheOrdinaryBinaryHasNoFailpoints(t *testing.T) {
	for _, c := range []struct {
		flags []string
		has   bool
	}{{nil, false}, {[]string{"-tags", "failpoints"}, true}} {
		binary := filepath.Join(t.TempDir(), "platform")
		build(t, binary, append(c.flags, "-ldflags=-s -w")...)
		text, err := os.ReadFile(binary)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"FAILPOINTS", "FAILPOINTS_CLOCK", "PLATFORM_TEST_TIMES", "failpoint.act"} {
			if got := bytes.Contains(text, []byte(name)); got != c.has {
				t.Errorf("flags %q: the binary holds %s: %v, want %v", c.flags, name, got, c.has)
			}
		}
	}
}
