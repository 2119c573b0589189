package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

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

// statusesOf returns the HTTP statuses of a problem, such as "422 or 502".
func statusesOf(slug string) string {
	var all []string
	for _, r := range problemTypes() {
		if r.slug == slug {
			all = append(all, strconv.Itoa(r.status))
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " or ")
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
		if want := fmt.Sprintf("\n## %s\n\n%s · %s", r.slug, statusesOf(r.slug), retryable); !strings.Contains(page, want+"\n") && !strings.Contains(page, want+" · ") {
			t.Errorf("docs/errors.md does not say %q", want)
		}
	}
	for _, heading := range found(`(?m)^## (.*)$`, page) {
		if !known[heading] {
			t.Errorf("docs/errors.md has the heading %q, which is no problem", heading)
		}
	}
}

// The Chinese page may lack a new problem for a while, but what it says is right.
func TestTheChineseErrorsAreRight(t *testing.T) {
	english, chinese := document(t, "docs/errors.md"), document(t, "docs/zh/errors.md")
	headings := found(`(?m)^## (.*)$`, chinese)
	if len(headings) == 0 {
		t.Error("docs/zh/errors.md has no headings")
	}
	for _, slug := range headings {
		for status, retryable := range map[string]string{" · not retryable": " · 不可重试", " · retryable": " · 可重试"} {
			_, code, _ := strings.Cut(english, "\n## "+slug+"\n\n")
			code, _, _ = strings.Cut(code, " · ")
			says := func(page, want string) bool { return strings.Contains(page, "\n## "+slug+"\n\n"+code+want) }
			if says(english, status) != says(chinese, retryable) {
				t.Errorf("docs/zh/errors.md and docs/errors.md differ about %s", slug)
			}
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
	for _, path := range []string{"docs/operate.md", "docs/zh/operate.md"} {
		for _, name := range found("(?m)^\\| `(PLATFORM_[A-Z_]+)`", document(t, path)) {
			if !slices.ContainsFunc(settings, func(s setting) bool { return s.name == name }) {
				t.Errorf("%s has %s, which is no setting", path, name)
			}
		}
	}
}

// registered returns the names of our own metrics, including those without a sample.
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
	for _, name := range found("(?m)^\\| `(wxplatform_[a-z_]+)` \\|", document(t, "docs/zh/operate.md")) {
		if !slices.Contains(documented, name) {
			t.Errorf("docs/zh/operate.md has %s, which is no metric", name)
		}
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

// translated are the pages that exist in both languages, by their English path.
func translated(t *testing.T) map[string]string {
	t.Helper()
	pairs := map[string]string{"README.md": "README.zh-CN.md"}
	for _, page := range pages(t) {
		if name, chinese := strings.CutPrefix(page, "docs/zh/"); chinese {
			pairs["docs/"+name] = page
		}
	}
	return pairs
}

// pages are all pages of the documentation, by their path from the root of the module.
func pages(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/zh/*.md"} {
		files, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(pattern)))
		if err != nil || len(files) == 0 {
			t.Fatalf("no page is like %s: %v", pattern, err)
		}
		for _, file := range files {
			all = append(all, filepath.ToSlash(filepath.Clean(strings.TrimPrefix(file, filepath.Join("..", "..")+string(filepath.Separator)))))
		}
	}
	return all
}

// pasted are the lines that a reader of a page pastes into a shell, without their comments.
func pasted(page string) []string {
	var all []string
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(page, -1) {
		for line := range strings.Lines(block[1]) {
			if line, _, _ = strings.Cut(line, "#"); strings.TrimSpace(line) != "" {
				all = append(all, strings.TrimSpace(line))
			}
		}
	}
	return all
}

// What a reader pastes is the same in both languages, but for the comments.
func TestBothLanguagesShowTheSameCommands(t *testing.T) {
	for english, chinese := range translated(t) {
		got, want := pasted(document(t, chinese)), pasted(document(t, english))
		if !slices.Equal(got, want) {
			t.Errorf("%s shows\n%s\nand %s\n%s", english, strings.Join(want, "\n"), chinese, strings.Join(got, "\n"))
		}
	}
	for _, readme := range []string{"README.md", "README.zh-CN.md"} {
		if len(pasted(document(t, readme))) == 0 {
			t.Errorf("%s shows no command", readme)
		}
	}
}

// Chinese is in pages of its own; English pages have names in it, which WeChat's console shows.
func TestNoPageMixesLanguages(t *testing.T) {
	for _, page := range pages(t) {
		if strings.HasPrefix(page, "docs/zh/") || page == "README.zh-CN.md" {
			continue
		}
		for number, line := range strings.Split(document(t, page), "\n") {
			var han, latin int
			for _, r := range line {
				switch {
				case unicode.Is(unicode.Han, r):
					han++
				case unicode.Is(unicode.Latin, r):
					latin++
				}
			}
			if han > latin {
				t.Errorf("%s:%d is in Chinese: %s", page, number+1, line)
			}
		}
	}
}

// A link in the documentation leads to a file that is there, and to a heading of it.
func TestLinksLeadSomewhere(t *testing.T) {
	for _, page := range pages(t) {
		for _, link := range found(`\]\(([^)]+)\)`, document(t, page)) {
			path, anchor, _ := strings.Cut(link, "#")
			target := page
			if path != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(page), path))
			}
			if strings.Contains(path, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(target))); err != nil {
				t.Errorf("%s links to %s: %v", page, link, err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(document(t, target)), anchor) {
				t.Errorf("%s links to %s, which has no heading #%s", page, target, anchor)
			}
		}
	}
}

// anchors are the headings of a page as GitHub spells them in links: lower case, letters, digits,
// hyphens, and hyphens for spaces.
func anchors(page string) []string {
	var all []string
	for _, heading := range found(`(?m)^#+ (.*)$`, page) {
		name := regexp.MustCompile(`[^\p{L}\p{N} -]`).ReplaceAllString(strings.ToLower(heading), "")
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
}
