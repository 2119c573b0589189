package audit

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"testing"
	"time"
)

func TestValuesAreAJSONObject(t *testing.T) {
	type name string
	v := Of(Is("name", name("四季 <a&b> \"x\"\n")), Is("on", true), Is("n", int64(7)), Is("urls", []string{"https://a/?b&c"}),
		When("at", time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.FixedZone("x", 3600))), When("never", time.Time{}), Null("gone"))
	want := `{"name":"四季 <a&b> \"x\"\n","on":true,"n":7,"urls":["https://a/?b&c"],"at":"2026-01-02T02:04:05.006Z","never":null,"gone":null}`
	if v.String() != want || !json.Valid([]byte(want)) {
		t.Errorf("got %s, want %s", v, want)
	}
	if Of() != (Values{"{}"}) {
		t.Errorf("got %q, want an empty object", Of())
	}
}

func TestValuesAreShownAsTheyAre(t *testing.T) {
	for _, v := range []Values{{}, Of(Is("a", 1), Null("b"))} {
		text, err := json.Marshal(v)
		var again Values
		if err != nil || json.Unmarshal(text, &again) != nil || again != v {
			t.Errorf("got %s, %v and %q, want %q", text, err, again, v)
		}
	}
	if text, _ := json.Marshal(Values{}); string(text) != "null" {
		t.Errorf("got %s, want null", text)
	}
}

// The compiler refuses each type that can hold a secret.
func TestNoSecretIsPlain(t *testing.T) {
	constraint := plain(t)
	named := func(under types.Type) types.Type {
		return types.NewNamed(types.NewTypeName(token.NoPos, nil, "named", nil), under, nil)
	}
	secret := types.NewStruct([]*types.Var{types.NewField(token.NoPos, nil, "value", types.Typ[types.String], false)}, nil)
	for what, refused := range map[string]types.Type{
		"a secret":              named(secret),
		"a pointer to a secret": types.NewPointer(named(secret)),
		"secrets":               types.NewSlice(named(secret)),
		"bytes":                 types.NewSlice(types.Typ[types.Byte]),
		"named bytes":           named(types.NewSlice(types.Typ[types.Byte])),
		"an array":              types.NewArray(types.Typ[types.Byte], 32),
		"anything":              types.NewInterfaceType(nil, nil),
		"a map":                 types.NewMap(types.Typ[types.String], types.Typ[types.String]),
	} {
		if types.Satisfies(refused, constraint) {
			t.Errorf("%s may be recorded", what)
		}
	}
	for _, accepted := range []types.Type{types.Typ[types.String], named(types.Typ[types.String]), types.Typ[types.Int], types.NewSlice(types.Typ[types.String])} {
		if !types.Satisfies(accepted, constraint) {
			t.Errorf("%s may not be recorded", accepted)
		}
	}
}

// plain is the constraint Plain as it is declared.
func plain(t *testing.T) *types.Interface {
	t.Helper()
	source, err := os.ReadFile("values.go")
	if err != nil {
		t.Fatal(err)
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "values.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	var text string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, is := n.(*ast.TypeSpec); is && spec.Name.Name == "Plain" {
			text = string(source[files.Position(spec.Type.Pos()).Offset:files.Position(spec.Type.End()).Offset])
		}
		return true
	})
	checked, err := types.Eval(files, nil, token.NoPos, text)
	if err != nil {
		t.Fatalf("the type Plain: %v", err)
	}
	return checked.Type.Underlying().(*types.Interface)
}
