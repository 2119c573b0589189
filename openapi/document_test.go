package openapi

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"wxplatform/docs"
	"wxplatform/tenant"
)

// read is the document as it is served.
func read(t *testing.T) object {
	t.Helper()
	var document object
	if err := json.Unmarshal(docs.OpenAPI, &document); err != nil {
		t.Fatal(err)
	}
	return document
}

// visit calls see for each object below value.
func visit(value any, see func(object)) {
	switch v := value.(type) {
	case object:
		see(v)
		for _, member := range v {
			visit(member, see)
		}
	case []any:
		for _, each := range v {
			visit(each, see)
		}
	}
}

func TestEveryReferenceLeadsSomewhere(t *testing.T) {
	document := read(t)
	visit(document, func(o object) {
		address, is := o["$ref"].(string)
		if !is {
			return
		}
		var target any = document
		for name := range strings.SplitSeq(strings.TrimPrefix(address, "#/"), "/") {
			parent, _ := target.(object)
			target = parent[name]
		}
		if target == nil {
			t.Errorf("got the reference %s, which leads nowhere", address)
		}
	})
}

func TestOperationIDsAreUnique(t *testing.T) {
	known := map[string]bool{}
	visit(read(t)["paths"], func(o object) {
		id, is := o["operationId"].(string)
		if is && known[id] {
			t.Errorf("got the operationId %s twice", id)
		}
		known[id] = true
	})
	if len(known) < 700 {
		t.Errorf("got %d operationIds, want one for each API", len(known))
	}
}

func TestEveryScopeIsDescribed(t *testing.T) {
	got, want := sorted(scopes()), strings.Fields(tenant.Every.String())
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Each problem of the table is an answer of some route.
func TestEveryProblemIsAnAnswer(t *testing.T) {
	document, used := read(t), map[string]bool{}
	visit([]any{document["paths"], document["components"].(object)["responses"]}, func(o object) {
		examples, _ := o["examples"].(object)
		for name := range examples {
			used[name] = true
		}
	})
	for name := range document["components"].(object)["examples"].(object) {
		if !used[name] {
			t.Errorf("no route of openapi/routes.json lists %s in x-problems", name)
		}
	}
}

func TestAProblemThatIsUnknownIsRefused(t *testing.T) {
	b := &builder{}
	item := object{"get": object{"x-problems": []any{"no-such-problem"}, "responses": object{}}}
	if err := b.addProblems(item); err == nil {
		t.Error("got no error for a slug that no problem has")
	}
}

func TestAStatusCanHaveTwoForms(t *testing.T) {
	b := &builder{problems: []Problem{{Slug: "overloaded", Status: 503}}}
	item := object{"get": object{"x-problems": []any{"overloaded"}, "responses": object{"503": object{"content": object{"application/json": object{}}}}}}
	if err := b.addProblems(item); err != nil {
		t.Fatal(err)
	}
	content := item["get"].(object)["responses"].(object)["503"].(object)["content"].(object)
	if len(content) != 2 || content[problemJSON] == nil {
		t.Errorf("got %v, want both forms", sorted(content))
	}
}

func TestSmallValuesStandOnOneLine(t *testing.T) {
	got := string(write(object{"b": object{"name": "x<y", "a": 1}, "openapi": "3.1.0", "long": []any{strings.Repeat("x", lineWidth), 2}}))
	want := "{\n  \"openapi\": \"3.1.0\",\n  \"b\": {\"name\": \"x<y\", \"a\": 1},\n  \"long\": [\n    \"" + strings.Repeat("x", lineWidth) + "\",\n    2\n  ]\n}\n"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
