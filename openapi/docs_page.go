package openapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"sync"

	"wxplatform/docs"
)

//go:embed docs.html
var docsHTML string

//go:embed docs.js
var docsJS string

var docsTemplate = template.Must(template.New("docs").Parse(docsHTML))

// docsPage shows the document to people. It is made once, when it is first read.
var docsPage = sync.OnceValue(func() answer {
	var d document
	if err := json.Unmarshal(docs.OpenAPI, &d.whole); err != nil {
		panic(err) // the document is built into the program
	}
	view := struct {
		Style  template.CSS
		Script template.JS
		About  []string
		Groups []group
	}{template.CSS(styleCSS), template.JS(docsJS), strings.Split(d.string("info", "description"), "\n\n"), d.groups()}
	var html strings.Builder
	if err := docsTemplate.Execute(&html, view); err != nil {
		panic(err)
	}
	return newAnswer("text/html; charset=utf-8", []byte(html.String()))
})

// document is an OpenAPI document that is being read.
type document struct{ whole object }

// group are the operations with one tag.
type group struct {
	Name, About string
	Operations  []operationView
}

// operationView is what the page shows of an operation.
type operationView struct {
	ID, Method, Path, Summary, Description, Scope, Link, Body string
	Parameters                                                []fieldView
	Members                                                   []fieldView // of the body
	Answers                                                   []answerView
	Problems                                                  []string
	Facts                                                     []factView // of an API of WeChat's
}

type fieldView struct {
	Name, In, Kind, About string
	Required              bool
}

type answerView struct{ Status, About, Example string }

type factView struct{ Name, Value string }

// groups returns the operations of the public listener by their first tags, in the order of the
// tags. An API of WeChat's is shown once, at the native door.
func (d document) groups() (all []group) {
	byTag := map[string][]operationView{}
	for _, path := range sorted(d.object("paths")) {
		item := d.object("paths", path)
		for _, method := range methods {
			if operation, has := item[method].(object); has {
				tag := texts(operation["tags"])[0]
				byTag[tag] = append(byTag[tag], d.operation(method, path, item, operation))
			}
		}
	}
	for _, tag := range listOf(d.whole["tags"]) {
		name, about := tag.(object)["name"].(string), tag.(object)["description"].(string)
		if len(byTag[name]) > 0 {
			all = append(all, group{name, about, byTag[name]})
		}
	}
	return all
}

func (d document) operation(method, path string, item, operation object) operationView {
	v := operationView{
		ID: str(operation["operationId"]), Method: strings.ToUpper(method), Path: path,
		Summary: str(operation["summary"]), Description: str(operation["description"]),
		Scope: scopeOf(operation), Link: str(in(operation, "externalDocs", "url")),
		Facts: factsOf(operation, strings.ToUpper(method), path),
	}
	if v.ID == "" {
		v.ID = method + path
	}
	for _, one := range append(listOf(item["parameters"]), listOf(operation["parameters"])...) {
		v.Parameters = append(v.Parameters, d.parameter(d.resolve(one)))
	}
	v.Body, v.Members = d.body(operation["requestBody"])
	v.Answers, v.Problems = d.answers(operation)
	return v
}

func scopeOf(operation object) string {
	for _, one := range listOf(operation["security"]) {
		if scopes := texts(one.(object)["oauth"]); len(scopes) > 0 {
			return scopes[0]
		}
	}
	return ""
}

// factsOf are what the catalogue knows of an API, in the order of the page.
func factsOf(operation object, method, path string) (all []factView) {
	known, _ := operation["x-wechat"].(object)
	if known == nil {
		return nil
	}
	all = append(all, factView{"SDK", method + " " + strings.TrimPrefix(path, nativePrefix) + "?access_token="})
	for _, fact := range [][2]string{
		{"permission_sets", "Permission sets 权限集"}, {"permission_set_rule", "Rule 规则"}, {"account_kinds", "Accounts 帐号类型"},
		{"verification", "Verification 认证"}, {"safe_to_repeat", "Safe to repeat 可重复"}, {"spends_a_code", "Spends a code 消耗一次性凭据"}, {"notes", "Notes 备注"},
	} {
		if value, has := known[fact[0]]; has {
			all = append(all, factView{fact[1], strings.Trim(fmt.Sprint(value), "[]")})
		}
	}
	return all
}

func (d document) parameter(p object) fieldView {
	schema := d.resolve(p["schema"])
	required, _ := p["required"].(bool)
	return fieldView{Name: str(p["name"]), In: str(p["in"]), Kind: kindOf(schema), About: str(p["description"]), Required: required}
}

// body returns an example of a request's body, or what it is, and its members if they are known.
func (d document) body(of any) (example string, members []fieldView) {
	body := d.resolve(of)
	content, _ := body["content"].(object)
	if len(content) == 0 {
		return "", nil
	}
	kind := sorted(content)[0]
	media := content[kind].(object)
	if example = kind; body["description"] != nil {
		example += "\n" + str(body["description"])
	}
	if media["example"] != nil {
		example += "\n" + string(write(media["example"]))
	}
	return example, d.members(d.resolve(media["schema"]))
}

func (d document) members(schema object) (all []fieldView) {
	properties, _ := schema["properties"].(object)
	for _, name := range sorted(properties) {
		one := d.resolve(properties[name])
		all = append(all, fieldView{Name: name, Kind: kindOf(one), About: str(one["description"]), Required: slices.Contains(texts(schema["required"]), name)})
	}
	return all
}

// kindOf says what a value is, such as "integer" or "pc | mobile".
func kindOf(schema object) string {
	if choices := listOf(schema["enum"]); len(choices) > 0 {
		return strings.Join(strings.Fields(strings.Trim(fmt.Sprintf("%q", choices), "[]")), " | ")
	}
	if only, has := schema["const"]; has {
		return fmt.Sprintf("%q", only)
	}
	switch kind := schema["type"].(type) {
	case string:
		return kind
	case []any:
		return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(kind...)), " | "), "[]")
	}
	return ""
}

// answers returns the answers that are no problems, and the slugs of the problems. The APIs of
// WeChat's share their problems, so theirs are left out.
func (d document) answers(operation object) (all []answerView, slugs []string) {
	responses, _ := operation["responses"].(object)
	for _, status := range sorted(responses) {
		response := d.resolve(responses[status])
		content, _ := response["content"].(object)
		if problems, is := content[problemJSON].(object); is && operation["x-wechat"] == nil {
			slugs = append(slugs, d.slugs(problems)...)
		}
		if _, is := content[problemJSON]; !is || len(content) > 1 {
			all = append(all, answerView{status, str(response["description"]), d.example(content)})
		}
	}
	return all, slices.Compact(slices.Sorted(slices.Values(slugs)))
}

// slugs are those of the examples of an answer.
func (d document) slugs(problems object) (all []string) {
	examples, _ := problems["examples"].(object)
	for _, example := range examples {
		all = append(all, strings.TrimPrefix(str(in(d.resolve(example), "value", "type")), "/problems/"))
	}
	return all
}

func (d document) example(content object) string {
	for _, kind := range sorted(content) {
		media := content[kind].(object)
		if media["example"] != nil {
			return string(write(media["example"]))
		}
		examples, _ := media["examples"].(object)
		for _, name := range sorted(examples) {
			if kind != problemJSON {
				return string(write(d.resolve(examples[name])["value"]))
			}
		}
	}
	return ""
}

// resolve returns an object, or the one that it refers to.
func (d document) resolve(value any) object {
	o, _ := value.(object)
	if address := str(o["$ref"]); address != "" {
		return d.object(strings.Split(strings.TrimPrefix(address, "#/"), "/")...)
	}
	return o
}

func (d document) object(path ...string) object { return in(d.whole, path...).(object) }

func (d document) string(path ...string) string { return str(in(d.whole, path...)) }

// in returns a member of a member …, or nil.
func in(o object, path ...string) any {
	var value any = o
	for _, name := range path {
		parent, _ := value.(object)
		value = parent[name]
	}
	return value
}

func str(value any) string {
	text, _ := value.(string)
	return text
}
