package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"wxplatform/login"
	"wxplatform/relay"
	"wxplatform/tenant"
)

type apiCmd struct {
	List apiListCmd `cmd:"" help:"List WeChat's APIs, the scope and the permission sets that each needs. 列出微信接口。"`
	Show apiShowCmd `cmd:"" help:"Show all that is known of an API. 查看一个微信接口。"`

	OpenAPI apiOpenAPICmd `cmd:"" name:"openapi" help:"Print docs/openapi.json, the description of every route in OpenAPI 3.1. 输出 OpenAPI 文档。"`
}

// apiView is an API as the commands print it.
type apiView struct {
	Method       string             `json:"method"`
	Path         string             `json:"path"`
	English      string             `json:"english"`
	Chinese      string             `json:"chinese"`
	Family       string             `json:"family"`
	Scope        tenant.Scope       `json:"scope"`
	Sets         []setView          `json:"permission_sets"` // any one suffices
	Rule         relay.SetRule      `json:"permission_set_rule"`
	Certainty    relay.Certainty    `json:"certainty"`
	Source       string             `json:"source"`
	Body         relay.BodyKind     `json:"request_body"`
	Answer       relay.AnswerKind   `json:"answer"`
	Writes       bool               `json:"writes"`
	Safe         bool               `json:"safe_to_repeat"`
	SingleUse    bool               `json:"spends_a_code"`
	Kinds        []relay.Kind       `json:"account_kinds"`
	KindsSure    bool               `json:"account_kinds_documented"`
	Verification relay.Verification `json:"verification"`
	Notes        string             `json:"notes"`
	Link         string             `json:"link"`
	Off          bool               `json:"off"`
	Unchecked    bool               `json:"unchecked"`
}

// setView is a permission set as the commands print it.
type setView struct {
	ID      int    `json:"id"`
	English string `json:"english"`
	Chinese string `json:"chinese"`
}

func (s setView) String() string {
	names := slices.DeleteFunc([]string{s.English, s.Chinese}, func(name string) bool { return name == "" })
	if len(names) == 0 {
		return fmt.Sprint(s.ID)
	}
	return fmt.Sprintf("%d (%s)", s.ID, strings.Join(names, ", "))
}

// viewAPIs returns the views of the APIs, with the names that the catalogue has for their sets.
func viewAPIs(in *relay.Catalogue, apis []relay.API) []apiView {
	return viewsOf(apis, func(a relay.API) apiView {
		sets := []setView{}
		for _, set := range a.AnyOf {
			name := in.SetName(set)
			sets = append(sets, setView{int(set), name.English, name.Chinese})
		}
		return apiView{
			Method: a.Method, Path: a.Path, English: a.English, Chinese: a.Chinese,
			Family: a.Family, Scope: a.Scope(), Sets: sets, Rule: a.Sets, Certainty: a.Certainty, Source: a.Source,
			Body: a.Body, Answer: a.Answer, Writes: a.Write, Safe: a.Safe, SingleUse: a.SingleUse,
			Kinds: append([]relay.Kind{}, a.Kinds...), KindsSure: a.KindsSure, Verification: a.Verified,
			Notes: a.Notes, Link: a.Link, Off: a.Off, Unchecked: a.Unchecked,
		}
	})
}

// numbers are the ids of the sets, as in "1,6,100", or "-" if there are none.
func (v apiView) numbers() string {
	var ids []string
	for _, set := range v.Sets {
		ids = append(ids, fmt.Sprint(set.ID))
	}
	return orDash(strings.Join(ids, ","))
}

// name is what WeChat calls the API, in English if that is known.
func (v apiView) name() string {
	if v.English == "" {
		return v.Chinese
	}
	return v.English
}

// state is what the operator changed.
func (v apiView) state() string {
	switch {
	case v.Off:
		return "off"
	case v.Unchecked:
		return "unchecked"
	}
	return "-"
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

var apiTable = table[apiView]{
	columns: []string{"METHOD", "PATH", "SCOPE", "SETS", "RULE", "SETTING", "NAME"},
	cells: func(v apiView) []any {
		return []any{v.Method, v.Path, v.Scope, v.numbers(), v.Rule, v.state(), v.name()}
	},
}

type apiListCmd struct {
	format
	Family   string `help:"Only this family, such as messages. 只列出一类。" placeholder:"FAMILY"`
	Markdown bool   `help:"Print docs/apis.md: all APIs, whatever the settings. 输出 docs/apis.md。" xor:"format"`
	Chinese  bool   `help:"With --markdown: print docs/zh/apis.md. 与 --markdown 同用，输出中文页。"`
}

// Run prints the APIs.
func (c apiListCmd) Run(s shell) error {
	switch {
	case c.Markdown && c.Chinese:
		return apiPageChinese.print(s.out)
	case c.Markdown:
		return apiPageEnglish.print(s.out)
	case c.Chinese:
		return errors.New("--chinese needs --markdown")
	}
	if err := c.knownFamily(); err != nil {
		return err
	}
	settings, err := loadConfig(s.lookup, needsDatabase)
	if err != nil {
		return err
	}
	apis := slices.DeleteFunc(slices.Clone(settings.catalogue.All()), func(a relay.API) bool {
		return c.Family != "" && a.Family != c.Family
	})
	return apiTable.printAll(s.out, c.format, viewAPIs(settings.catalogue, apis), nil)
}

// knownFamily is an error if there is no such family.
func (c apiListCmd) knownFamily() error {
	var names []string
	for _, family := range relay.Families() {
		names = append(names, family.Name)
	}
	if c.Family != "" && !slices.Contains(names, c.Family) {
		return fmt.Errorf("there is no family %q; the families are %s", c.Family, strings.Join(names, ", "))
	}
	return nil
}

type apiShowCmd struct {
	format
	Path string `arg:"" help:"WeChat's path, such as /cgi-bin/menu/create, with or without a method in front. 接口路径。"`
}

// Run prints the APIs at the path.
func (c apiShowCmd) Run(s shell) error {
	settings, err := loadConfig(s.lookup, needsDatabase)
	if err != nil {
		return err
	}
	if path := login.Named(c.Path); path != "" {
		return settings.describeLogin(path)
	}
	if path := c.Path[strings.LastIndex(c.Path, " ")+1:]; settings.catalogue.Denied(path) {
		return fmt.Errorf("%s is never relayed: it takes or returns a secret of the component or of an account", path)
	}
	apis, err := settings.catalogue.Named(c.Path)
	if err != nil {
		return err
	}
	views := viewAPIs(settings.catalogue, apis)
	if c.JSON {
		return printJSON(s.out, views)
	}
	for i, v := range views {
		if err := v.print(s.out, i > 0); err != nil {
			return err
		}
	}
	return nil
}

// describeLogin returns an error that says where a login call is described, and its setting.
func (c config) describeLogin(path string) error {
	state := "on"
	if slices.Contains(c.loginsOff, path) {
		state = "off: not relayed"
	}
	return fmt.Errorf("%s is not in the catalogue but a login call, see docs/login.md; it is %s", path, state)
}

// print prints what is known of the API, one fact a line, after an empty line if there were others.
func (v apiView) print(out io.Writer, more bool) error {
	if more {
		_, _ = fmt.Fprintln(out)
	}
	var known [][]string
	for _, fact := range v.facts() {
		if fact[1] != "" {
			known = append(known, fact[:])
		}
	}
	return new(grid).print(out, known)
}

// facts are the names and values of what is known of the API. An empty value is not known.
func (v apiView) facts() [][2]string {
	sets := viewsOf(v.Sets, setView.String)
	return [][2]string{
		{"API", v.Method + " " + v.Path},
		{"name", strings.TrimSpace(v.English + " " + v.Chinese)},
		{"setting", map[string]string{"off": "off: not relayed", "unchecked": "unchecked: WeChat decides"}[v.state()]},
		{"scope", string(v.Scope)},
		{"permission sets", strings.Join(sets, ", ")},
		{"", ruleMeanings[v.Rule]},
		{"certainty", strings.TrimSuffix(string(v.Certainty)+": "+v.Source, ": ")},
		{"accounts", v.accounts()},
		{"verification", verificationMeanings[v.Verification]},
		{"request body", string(v.Body)},
		{"answer", string(v.Answer)},
		{"effect", v.effect()},
		{"notes", v.Notes},
		{"page", v.Link},
	}
}

// ruleMeanings say what a rule means for a caller.
var ruleMeanings = map[relay.SetRule]string{
	relay.Required:    "documented: without one of them, a call is refused before WeChat is called",
	relay.Guessed:     "guessed: WeChat decides",
	relay.AnySet:      "documented: any authorization suffices",
	relay.Unsupported: "WeChat's page says that third parties may not call it; WeChat decides",
	relay.NotKnown:    "not known: WeChat decides",
}

// verificationMeanings say which accounts WeChat must have verified.
var verificationMeanings = map[relay.Verification]string{
	relay.VerifiedYes:  "only verified accounts have it",
	relay.VerifiedNo:   "not needed",
	relay.VerifiedSome: "needed for some kinds of account",
}

func (v apiView) accounts() string {
	kinds := strings.Join(viewsOf(v.Kinds, func(k relay.Kind) string { return string(k) }), ", ")
	if kinds != "" && !v.KindsSure {
		return kinds + " (not documented)"
	}
	return kinds
}

// effect says whether the API changes something, and whether the platform may repeat it.
func (v apiView) effect() string {
	effect := "reads"
	if v.Writes {
		effect = "writes"
	}
	switch {
	case v.SingleUse:
		return effect + "; spends a code, so it is never repeated"
	case v.Safe:
		return effect + "; safe to repeat"
	}
	return effect
}
