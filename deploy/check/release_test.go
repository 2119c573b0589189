package check

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// cloned returns a clone of the commit that is checked out.
func cloned(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "clone")
	output(t, ".", "git", "clone", "--quiet", "--no-local", root, dir)
	output(t, dir, "git", "checkout", "--quiet", strings.TrimSpace(output(t, root, "git", "rev-parse", "HEAD")))
	return dir
}

// released makes a release in a clone and returns its folder.
func released(t *testing.T) string {
	t.Helper()
	dir := cloned(t)
	output(t, dir, "scripts/release.sh")
	return filepath.Join(dir, "out", "release")
}

func TestAReleaseIsACommit(t *testing.T) {
	dir := cloned(t)
	write(t, filepath.Join(dir, "new.txt"), "")
	if _, said, err := run(dir, nil, "scripts/release.sh"); err == nil || !strings.Contains(said, "not committed") || !strings.Contains(said, "new.txt") {
		t.Errorf("got %v, %s, want it refused", err, said)
	}
}

func TestAReleaseCanBeRepeated(t *testing.T) {
	first, second := released(t), released(t)
	sums := output(t, first, "cat", "SHA256SUMS")
	if got := output(t, second, "cat", "SHA256SUMS"); got != sums {
		t.Errorf("got\n%s\nand\n%s\nof one commit", sums, got)
	}
	output(t, first, "sha256sum", "--strict", "--check", "SHA256SUMS")
	for _, system := range []string{"linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64"} {
		for _, file := range []string{"platform-" + system, "platform-" + system + ".cdx.json"} {
			if !strings.Contains(sums, "  "+file+"\n") {
				t.Errorf("got no %s in\n%s", file, sums)
			}
		}
		hasMaterials(t, filepath.Join(first, "platform-"+system+".cdx.json"))
	}
	saysItsCommit(t, filepath.Join(first, "platform-"+runtime.GOOS+"-"+runtime.GOARCH))
}

// hasMaterials checks that a bill of materials lists a module and Go's own library, with their
// versions.
func hasMaterials(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	type component struct{ Name, Version string }
	var bill struct {
		BOMFormat  string
		Components []component
		Metadata   struct{ Component component }
	}
	if err := json.Unmarshal(text, &bill); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"modernc.org/sqlite", "std"} {
		if !slices.ContainsFunc(bill.Components, func(c component) bool { return c.Name == name && c.Version != "" }) {
			t.Errorf("%s: got no version of %s", path, name)
		}
	}
	if bill.BOMFormat != "CycloneDX" || bill.Metadata.Component.Name != "wxplatform" || bill.Metadata.Component.Version == "" {
		t.Errorf("%s: got %q of %+v", path, bill.BOMFormat, bill.Metadata.Component)
	}
}

// saysItsCommit checks that the program knows which commit it was built from.
func saysItsCommit(t *testing.T, path string) {
	t.Helper()
	var version struct {
		Version, Revision string
		Modified          bool
	}
	if err := json.Unmarshal([]byte(output(t, ".", path, "version", "--json")), &version); err != nil {
		t.Fatal(err)
	}
	head := strings.TrimSpace(output(t, root, "git", "rev-parse", "HEAD"))
	if version.Revision != head || version.Modified || version.Version == "" || version.Version == "(devel)" {
		t.Errorf("got %+v, want the version of %s", version, head)
	}
}
