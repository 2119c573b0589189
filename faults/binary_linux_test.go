//go:build failpoints

package faults

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// ordinaryBinary checks that the shipped binary contains neither the failpoints nor the settings of
// the fault suite. The same search finds them in the build under test.
func ordinaryBinary(t *testing.T, m *machine) string {
	shipped := filepath.Join(t.TempDir(), "platform")
	build(t, shipped, "-ldflags=-s -w")
	for binary, has := range map[string]bool{shipped: false, m.platform: true} {
		text, err := os.ReadFile(binary)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"FAILPOINTS", "FAILPOINTS_CLOCK", "PLATFORM_TEST_TIMES", "failpoint.act"} {
			if got := bytes.Contains(text, []byte(name)); got != has {
				t.Errorf("%s holds %s: %v, want %v", binary, name, got, has)
			}
		}
	}
	return "no step and no setting of this suite is in it"
}
