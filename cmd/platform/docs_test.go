package main

import (
	"fmt"
	"io/fs"
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

	"wxplatform/internal/otlp"
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

func TestTheChineseErrorsAreRight(t *testing.T) {
	page := document(t, "docs/zh/errors.md")
	for _, r := range problemTypes() {
		retryable := "不可重试"
		if r.retryable {
			retryable = "可重试"
		}
		statuses := strings.ReplaceAll(statusesOf(r.slug), " or ", " 或 ")
		if want := fmt.Sprintf("\n## %s\n\n%s · %s", r.slug, statuses, retryable); !strings.Contains(page, want+"\n") && !strings.Contains(page, want+" · ") {
			t.Errorf("docs/zh/errors.md does not say %q", want)
		}
	}
}

// configurePages are the pages that list the settings, with their words for a setting without a
// default.
var configurePages = map[string]struct{ required, empty string }{
	"docs/operate/configure.md":    {"required", "empty"},
	"docs/zh/operate/configure.md": {"必填", "空"},
}

func TestEverySettingIsDocumented(t *testing.T) {
	for path, words := range configurePages {
		page := document(t, path)
		for _, s := range settings {
			value := "`" + s.fallback + "`"
			switch {
			case s.required:
				value = words.required
			case s.fallback == "":
				value = words.empty
			}
			if want := fmt.Sprintf("\n| `%s` | %s |", s.name, value); !strings.Contains(page, want) {
				t.Errorf("%s does not say %q", path, want)
			}
		}
		for _, name := range found("(?m)^\\| `(PLATFORM_[A-Z_]+)`", page) {
			if !slices.ContainsFunc(settings, func(s setting) bool { return s.name == name }) {
				t.Errorf("%s has %s, which is no setting", path, name)
			}
		}
	}
}

func TestEverySettingOfTracesIsDocumented(t *testing.T) {
	for _, path := range []string{"docs/operate/traces.md", "docs/zh/operate/traces.md"} {
		page := document(t, path)
		for _, name := range otlp.Names {
			if !regexp.MustCompile("(?m)^\\| `(OTEL_\\w+`[,、] ?`)?" + name + "`").MatchString(page) {
				t.Errorf("%s has no line for %s", path, name)
			}
		}
		for _, name := range found("`(OTEL_[A-Z_]+)`", page) {
			if general := strings.Replace(name, "OTLP_TRACES_", "OTLP_", 1); !slices.Contains(otlp.Names, general) && !strings.HasSuffix(name, "_") {
				t.Errorf("%s has %s, which is no setting", path, name)
			}
		}
	}
}

func TestTheReadmesNameEveryRequiredSetting(t *testing.T) {
	for _, readme := range []string{"README.md", "README.zh-CN.md"} {
		page := document(t, readme)
		for _, s := range settings {
			if s.required && !strings.Contains(page, s.name) {
				t.Errorf("%s does not name %s, without which nothing starts", readme, s.name)
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
	got := registered(sqliteWorld(t).platform.metrics)
	for _, page := range []string{"docs/operate/metrics.md", "docs/zh/operate/metrics.md"} {
		documented := found("(?m)^\\| `(wxplatform_[a-z_]+)` \\|", document(t, page))
		if len(got) == 0 || !slices.Equal(got, documented) {
			t.Errorf("got the metrics\n%s\nand %s has\n%s", strings.Join(got, "\n"), page, strings.Join(documented, "\n"))
		}
	}
}

// An operator who looks for a metric that a page names must find it.
func TestTheOperatorsPagesNameNoOtherMetrics(t *testing.T) {
	t.Parallel()
	known := registered(sqliteWorld(t).platform.metrics)
	for _, page := range pages(t) {
		if !strings.Contains(page, "/operate/") {
			continue
		}
		for _, name := range found(`(wxplatform_[a-z_]+)`, document(t, page)) {
			series := regexp.MustCompile("_(bucket|count|sum)$").ReplaceAllString(name, "")
			if !slices.Contains(known, name) && !slices.Contains(known, series) {
				t.Errorf("%s names %s, which is no metric", page, name)
			}
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
	for _, page := range []string{"docs/operate/commands.md", "docs/zh/operate/commands.md"} {
		documented := found("(?:[|,] |、)`(platform [a-z ]+)`", document(t, page))
		if !slices.Equal(known, documented) {
			t.Errorf("got the commands\n%s\nand %s has\n%s", strings.Join(known, "\n"), page, strings.Join(documented, "\n"))
		}
	}
}

// inChinese reports whether a page is in Chinese.
func inChinese(page string) bool {
	return strings.HasPrefix(page, "docs/zh/") || strings.HasSuffix(page, ".zh-CN.md")
}

// pages are all pages of the repository, by their path from the root of the module.
func pages(t *testing.T) []string {
	t.Helper()
	root, all := filepath.Join("..", ".."), []string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		hidden := strings.HasPrefix(entry.Name(), ".") || entry.Name() == "node_modules"
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && hidden:
			return fs.SkipDir
		case !entry.IsDir() && filepath.Ext(path) == ".md":
			name, err := filepath.Rel(root, path)
			all = append(all, filepath.ToSlash(name))
			return err
		}
		return nil
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("got the pages %q, %v", all, err)
	}
	return all
}

// An operator begins at the index, so each page must be in it.
func TestTheIndexLeadsToEachOfTheOperatorsPages(t *testing.T) {
	for _, page := range pages(t) {
		folder, name, below := strings.Cut(page, "/operate/")
		if !below || name == "README.md" {
			continue
		}
		if index := folder + "/operate/README.md"; !strings.Contains(document(t, index), "]("+name+")") {
			t.Errorf("%s does not lead to %s", index, name)
		}
	}
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
		if inChinese(page) {
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

// code are the blocks of code of a page; a # in them begins no heading.
var code = regexp.MustCompile("(?ms)^```.*?^```")

// anchors are the headings of a page as GitHub spells them in links: lower case, of letters, marks,
// digits, underscores and hyphens, with hyphens for spaces, and a number if one comes again.
func anchors(page string) []string {
	var all []string
	times := map[string]int{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(code.ReplaceAllString(page, ""), -1) {
		name := regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(strings.ToLower(heading[1]), "$1")
		name = regexp.MustCompile(`[^\p{L}\p{M}\p{Nd}\p{Pc} -]`).ReplaceAllString(name, "")
		name = strings.ReplaceAll(name, " ", "-")
		if times[name]++; times[name] > 1 {
			name += "-" + strconv.Itoa(times[name]-1)
		}
		all = append(all, name)
	}
	return all
}

func TestAnchorsAreThoseOfGitHub(t *testing.T) {
	page := strings.Join([]string{
		"# Full-network release (全网发布)", "## 值班、健康检查与告警", "## `PLATFORM_SEAL_FORM`: what's new?", "### [Keys](keys.md)", "## Keys", "## Keys",
		"```sh", "# 1. stop the platform", "```", "## From SQLite to PostgreSQL",
	}, "\n")
	want := []string{"full-network-release-全网发布", "值班健康检查与告警", "platform_seal_form-whats-new", "keys", "keys-1", "keys-2", "from-sqlite-to-postgresql"}
	if got := anchors(page); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
