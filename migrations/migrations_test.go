package migrations

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A migration says which programs can work with the tables that it makes (db.Migrate). Those before
// 0011 were made before programs asked.
func TestEachMigrationSaysWhichProgramsCanWorkWithIt(t *testing.T) {
	names, err := fs.Glob(Files, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^-- oldest: (\d{4})\n`)
	for _, name := range names {
		text, err := fs.ReadFile(Files, name)
		if err != nil {
			t.Fatal(err)
		}
		said := form.FindSubmatch(text)
		switch {
		case name < "0011":
		case said == nil:
			t.Errorf("%s does not begin with a line such as -- oldest: 0010", name)
		case string(said[1]) > name[:4] || !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, string(said[1])) }):
			t.Errorf("%s names %s, want an earlier migration or itself", name, said[1])
		}
	}
}
