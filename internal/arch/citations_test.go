package arch

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A citation names a page and one of its headings: docs/design.md, "Durable first".
var citation = regexp.MustCompile(`(docs/[\w/.-]+\.md), "([^"]+)"`)

// Comments are wrapped, so that a citation may stand on two lines.
var wrapped = regexp.MustCompile(`\n[ \t]*(//|--|#|\*)?[ \t]*`)

func TestCitationsNameHeadings(t *testing.T) {
	cited := 0
	for name, text := range texts(t) {
		for _, c := range citation.FindAllStringSubmatch(wrapped.ReplaceAllString(text, " "), -1) {
			cited++
			if page, heading := c[1], c[2]; !slices.Contains(headings(page), heading) {
				t.Errorf("%s cites %s, %q, and there is no such heading", name, page, heading)
			}
		}
	}
	if cited == 0 {
		t.Error("got no citation, want some")
	}
}

// headings are those of a page; a page that does not exist has none.
func headings(page string) (all []string) {
	text, _ := os.ReadFile(filepath.Join(root, filepath.FromSlash(page)))
	for line := range strings.Lines(string(text)) {
		if marks, heading, found := strings.Cut(strings.TrimSpace(line), " "); found && strings.Trim(marks, "#") == "" {
			all = append(all, heading)
		}
	}
	return all
}

// texts are the files of the repository that people write, by their names from the root.
func texts(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && entry.Name() != "..":
			return fs.SkipDir
		case entry.IsDir() || !slices.Contains([]string{".go", ".sql", ".md", ".yml", ".sh", ".txt", ".html"}, filepath.Ext(name)) && entry.Name() != "Makefile":
			return nil
		}
		text, err := os.ReadFile(name)
		relative, _ := filepath.Rel(root, name)
		all[filepath.ToSlash(relative)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Pages that were split, or that were never in this repository, by their names in two parts so that
// this file does not contain them.
var gone = []string{"DESIGN" + ".md", "wechat-" + "protocol", "docs/" + "sources.md", "docs/" + "operate.md", "docs/zh/" + "operate.md"}

func TestNothingCitesPagesThatAreGone(t *testing.T) {
	for name, text := range texts(t) {
		for _, page := range gone {
			if strings.Contains(text, page) {
				t.Errorf("%s names %s, which is gone", name, page)
			}
		}
	}
}
