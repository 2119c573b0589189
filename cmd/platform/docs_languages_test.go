package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// twin returns the path of the Chinese page that belongs to an English one.
func twin(english string) string {
	if name, found := strings.CutPrefix(english, "docs/"); found {
		return "docs/zh/" + name
	}
	return strings.TrimSuffix(english, ".md") + ".zh-CN.md"
}

// translated are the Chinese pages that there must be, by their English path. Only the changelog
// has none.
func translated(t *testing.T) map[string]string {
	t.Helper()
	pairs := map[string]string{}
	for _, page := range pages(t) {
		if !inChinese(page) && page != "CHANGELOG.md" {
			pairs[page] = twin(page)
		}
	}
	return pairs
}

func TestEveryPageIsInBothLanguages(t *testing.T) {
	want := slices.Sorted(maps.Values(translated(t)))
	got := slices.DeleteFunc(pages(t), func(page string) bool { return !inChinese(page) })
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got the Chinese pages\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The Chinese pages stay in step with the English ones: both have the same headings by level,
// paragraphs, items of lists, code, and tables with the same figures. docs/apis.md is left out: it
// is made from the catalogue, and the names of APIs in it are WeChat's own in each language.
func TestBothLanguagesHaveTheSameOutline(t *testing.T) {
	for english, chinese := range translated(t) {
		if english == "docs/apis.md" {
			continue
		}
		want, got := outline(document(t, english)), outline(document(t, chinese))
		if len(want) == 0 {
			t.Errorf("%s has no outline", english)
		}
		for i := range max(len(want), len(got)) {
			if e, c := at(want, i), at(got, i); !e.matches(c) {
				t.Errorf("%s:%d has %s, and %s:%d has %s", english, e.line, e, chinese, c.line, c)
				break // what follows is shifted
			}
		}
	}
}

// block is a part of a page: a heading, the beginning of a paragraph, an item of a list, a row of a
// table, or a line of code. shape is what does not depend on the language; code is the line.
type block struct {
	line  int
	shape string
	code  string
}

func (b block) String() string { return strings.TrimSpace(b.shape + " " + b.code) }

// at is a block of a page, or one that says that the page has ended.
func at(all []block, i int) block {
	if i < len(all) {
		return all[i]
	}
	return block{shape: "nothing more"}
}

// matches reports whether the Chinese block is the English one, translated. Of a line of code only
// the comment may differ, or the text if it is Chinese, such as what a program prints.
func (b block) matches(chinese block) bool {
	want, got := comment.ReplaceAllString(b.code, ""), comment.ReplaceAllString(chinese.code, "")
	same := slices.Equal(strings.Fields(want), strings.Fields(got))
	return b.shape == chinese.shape && slices.Equal(figures(b.code), figures(chinese.code)) &&
		(same || strings.ContainsFunc(got, isHan))
}

// isHan reports whether r is a Chinese character or a Chinese punctuation mark.
func isHan(r rune) bool {
	return unicode.Is(unicode.Han, r) || r >= 0x3000 && r < 0x3040 || r >= 0xff00 && r < 0xfff0
}

// outline lists the blocks of a page.
func outline(page string) []block {
	var all []block
	inCode, inText := false, false
	for i, line := range strings.Split(page, "\n") {
		text := strings.TrimSpace(line)
		b := block{line: i + 1}
		fence := strings.HasPrefix(text, "```")
		switch {
		case fence:
			inCode = !inCode
			b.shape = text
		case inCode:
			b.shape, b.code = "code", line
		default:
			b.shape = shapeOf(line, inText)
		}
		if b.shape != "" {
			all = append(all, b)
		}
		inText = !inCode && !fence && text != ""
	}
	return all
}

var (
	headingMark = regexp.MustCompile(`^#+ `)
	itemMark    = regexp.MustCompile(`^ *(-|\d+\.) `)
	linkTarget  = regexp.MustCompile(`\]\([^)]*\)`)
	figure      = regexp.MustCompile(`\d[\d,.]*\d|\d`)
	comment     = regexp.MustCompile(`(^|\s)(//|#) .*`) // in code
)

// shapeOf is the shape of a line that is not code, or "" for an empty one and for one that goes on
// with the paragraph or the item before it.
func shapeOf(line string, inText bool) string {
	text := strings.TrimSpace(line)
	switch {
	case headingMark.MatchString(line):
		return "a heading " + headingMark.FindString(line)
	case strings.HasPrefix(text, "|"):
		return fmt.Sprintf("a row of %d cells with the figures %v", strings.Count(text, "|")-strings.Count(text, `\|`)-1, figures(text))
	case itemMark.MatchString(line):
		return fmt.Sprintf("an item %q", itemMark.FindString(line))
	case text == "" || inText:
		return ""
	}
	return "a paragraph"
}

// figures are the numbers in a line, in order of their digits, because sentences order them
// differently. Those in the addresses of links are left out.
func figures(line string) []string {
	all := figure.FindAllString(linkTarget.ReplaceAllString(line, "]"), -1)
	slices.Sort(all)
	return all
}
