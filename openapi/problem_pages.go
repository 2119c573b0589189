package openapi

import (
	_ "embed"
	"html/template"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"wxplatform/docs"
)

// language is one of the two languages of the documentation.
type language string

const (
	english language = "en"
	chinese language = "zh"
)

// section is the part of the page of errors about one problem.
type section struct {
	Slug  string
	Facts string // its first line: the status, and whether a retry helps
	Body  []template.HTML
}

// page is what problems.html shows: one problem, or all.
type page struct {
	Language language
	Style    template.CSS
	One      *section
	All      []section
	Words    words
}

// words are the texts of the pages in one language.
type words struct{ Title, Lead, All, Other, OtherName, Lang string }

var wordsIn = map[language]words{
	english: {"Problems", "The type of a problem is the address of its page here.", "All problems", "zh", "中文", "en"},
	chinese: {"错误码", "错误应答中的 type 就是这里对应页面的地址。", "全部错误码", "en", "English", "zh-CN"},
}

//go:embed problems.html
var problemsHTML string

//go:embed style.css
var styleCSS string

var problemsTemplate = template.Must(template.New("problems").Parse(problemsHTML))

// place is a page and the language it is in. The slug of the list of all problems is "".
type place struct {
	slug string
	in   language
}

// problemPages are the pages of all problems and their list. They are made once, when the first of
// them is read.
var problemPages = sync.OnceValue(func() map[place]answer {
	pages := map[place]answer{}
	for in, text := range map[language]string{english: docs.Errors, chinese: docs.ErrorsZH} {
		all := sections(text)
		list := slices.SortedFunc(maps.Values(all), func(a, b section) int { return strings.Compare(a.Slug, b.Slug) })
		pages[place{"", in}] = problemPage(page{Language: in, All: list})
		for slug, one := range all {
			pages[place{slug, in}] = problemPage(page{Language: in, One: &one})
		}
	}
	return pages
})

func problemPage(p page) answer {
	p.Words, p.Style = wordsIn[p.Language], template.CSS(styleCSS)
	var html strings.Builder
	if err := problemsTemplate.Execute(&html, p); err != nil {
		panic(err) // the template and what it shows are built into the program
	}
	return newAnswer("text/html; charset=utf-8", []byte(html.String()))
}

// sections returns the sections of a page that are headed by a slug.
func sections(page string) map[string]section {
	all := map[string]section{}
	for _, part := range strings.Split(page, "\n## ")[1:] {
		part, _, _ = strings.Cut(part, "\n# ")
		slug, rest, _ := strings.Cut(part, "\n")
		paragraphs := strings.Split(strings.TrimSpace(rest), "\n\n")
		s := section{Slug: slug, Facts: paragraphs[0]}
		for _, paragraph := range paragraphs[1:] {
			s.Body = append(s.Body, render(paragraph))
		}
		all[slug] = s
	}
	return all
}

// marks are the parts of Markdown that the sections use: code, strong, emphasis and links.
var marks = regexp.MustCompile("`([^`]+)`" + `|\*\*([^*]+)\*\*|\*([^*]+)\*|\[([^\]]+)\]\(([^)]+)\)`)

// marked are the HTML elements of marks, in the order of the groups.
var marked = []string{"code", "strong", "em"}

// render turns a paragraph of Markdown into HTML.
func render(paragraph string) template.HTML {
	var html strings.Builder
	at := 0
	for _, found := range marks.FindAllStringSubmatchIndex(paragraph, -1) {
		html.WriteString(template.HTMLEscapeString(paragraph[at:found[0]]))
		html.WriteString(renderMark(marks.FindStringSubmatch(paragraph[found[0]:found[1]])))
		at = found[1]
	}
	html.WriteString(template.HTMLEscapeString(paragraph[at:]))
	return template.HTML(html.String())
}

// renderMark turns one mark into HTML. A list of routes is the page of the document here. Any other
// page of the repository is not served, so the text of a link to it stays alone.
func renderMark(groups []string) string {
	for i, tag := range marked {
		if text := groups[i+1]; text != "" {
			return "<" + tag + ">" + template.HTMLEscapeString(text) + "</" + tag + ">"
		}
	}
	text, target := template.HTMLEscapeString(groups[4]), groups[5]
	if strings.HasSuffix(target, "apis.md") || strings.HasPrefix(target, "quickstart.md#") {
		return `<a href="/docs">` + text + "</a>"
	}
	return text
}
