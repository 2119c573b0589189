package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
)

// document is a page of the documentation, by its path from the root of the module.
func document(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// found is what the one group of pattern matches in text, without repetitions.
func found(pattern, text string) []string {
	var all []string
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		all = append(all, match[1])
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestEveryProblemHasAHeading(t *testing.T) {
	page := document(t, "docs/errors.md")
	known := map[string]bool{}
	for _, r := range problemTypes() {
		known[r.slug] = true
		retryable := "not retryable"
		if r.retryable {
			retryable = "retryable"
		}
		if want := fmt.Sprintf("\n## %s\n\n%d · %s", r.slug, r.status, retryable); !strings.Contains(page, want+"\n") && !strings.Contains(page, want+" · ") {
			t.Errorf("docs/errors.md does not say %q", want)
		}
	}
	for _, heading := range found(`(?m)^## (.*)$`, page) {
		if !known[heading] {
			t.Errorf("docs/errors.md has the heading %q, which is no problem", heading)
		}
	}
}

func TestEverySettingIsDocumented(t *testing.T) {
	page := document(t, "docs/operate.md")
	for _, s := range settings {
		value := "`" + s.fallback + "`"
		switch {
		case s.required:
			value = "required"
		case s.fallback == "":
			value = "empty"
		}
		if want := fmt.Sprintf("| `%s` | %s |", s.name, value); !strings.Contains(page, want) {
			t.Errorf("docs/operate.md does not say %q", want)
		}
		for _, readme := range []string{"README.md", "README.zh-CN.md"} {
			if s.required && !strings.Contains(document(t, readme), s.name) {
				t.Errorf("%s does not name %s, without which nothing starts", readme, s.name)
			}
		}
	}
	for _, name := range found("(?m)^\\| `(PLATFORM_[A-Z_]+)`", page) {
		if !slices.ContainsFunc(settings, func(s setting) bool { return s.name == name }) {
			t.Errorf("docs/operate.md has %s, which is no setting", name)
		}
	}
}

// registered are the names of our own metrics, those too that have no sample yet.
func registered(metrics *prometheus.Registry) []string {
	described, all := make(chan *prometheus.Desc), []string{}
	go func() {
		metrics.Describe(described)
		close(described)
	}()
	for d := range described {
		all = append(all, found(`fqName: "(wxplatform_[a-z_]+)"`, d.String())...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestEveryMetricIsDocumented(t *testing.T) {
	t.Parallel()
	documented := found("(?m)^\\| `(wxplatform_[a-z_]+)` \\|", document(t, "docs/operate.md"))
	if got := registered(sqliteWorld(t).platform.metrics); len(got) == 0 || !slices.Equal(got, documented) {
		t.Errorf("got the metrics\n%s\nand docs/operate.md has\n%s", strings.Join(got, "\n"), strings.Join(documented, "\n"))
	}
}

func TestEveryCommandIsDocumented(t *testing.T) {
	parser, err := kong.New(&cli{}, kong.Name("platform"))
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, command := range parser.Model.Leaves(false) {
		known = append(known, command.FullPath())
	}
	slices.Sort(known)
	_, table, _ := strings.Cut(document(t, "docs/operate.md"), "\n## Commands\n")
	table, _, _ = strings.Cut(table, "\n## ")
	if documented := found("[|,] `(platform [a-z ]+)`", table); !slices.Equal(known, documented) {
		t.Errorf("got the commands\n%s\nand docs/operate.md has\n%s", strings.Join(known, "\n"), strings.Join(documented, "\n"))
	}
}

// What a reader pastes is the same in both languages, but for the comments.
func TestBothReadmesShowTheSameCommands(t *testing.T) {
	commands := func(path string) []string {
		var all []string
		for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(document(t, path), -1) {
			for line := range strings.Lines(block[1]) {
				if line, _, _ = strings.Cut(line, "#"); strings.TrimSpace(line) != "" {
					all = append(all, strings.TrimSpace(line))
				}
			}
		}
		return all
	}
	english, chinese := commands("README.md"), commands("README.zh-CN.md")
	if len(english) == 0 || !slices.Equal(english, chinese) {
		t.Errorf("README.md shows\n%s\nand README.zh-CN.md\n%s", strings.Join(english, "\n"), strings.Join(chinese, "\n"))
	}
}

// A link in the documentation leads to a file that is there, and to a heading of it.
func TestLinksLeadSomewhere(t *testing.T) {
	for _, page := range []string{"README.md", "README.zh-CN.md", "docs/errors.md", "docs/operate.md", "docs/design.md", "docs/wechat.md", "docs/custody.md"} {
		for _, link := range found(`\]\(([^)]+)\)`, document(t, page)) {
			path, anchor, _ := strings.Cut(link, "#")
			target := page
			if path != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(page), path))
			}
			if anchor != "" && !slices.Contains(anchors(document(t, target)), anchor) {
				t.Errorf("%s links to %s, which has no heading #%s", page, target, anchor)
			}
		}
	}
}

// anchors are the headings of a page as GitHub spells them in links: lower case, letters, digits, hyphens, and hyphens for spaces.
func anchors(page string) []string {
	var all []string
	for _, heading := range found(`(?m)^#+ (.*)$`, page) {
		name := regexp.MustCompile(`[^\p{L}\p{N} -]`).ReplaceAllString(strings.ToLower(heading), "")
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
}
