package arch

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"testing"
)

// Whoever makes a change is recorded with it: a function that is told the Actor uses it.
func TestEveryActorIsUsed(t *testing.T) {
	told := 0
	for _, f := range files(t) {
		if f.test() {
			continue
		}
		ast.Inspect(f.parsed, func(n ast.Node) bool {
			function, is := n.(*ast.FuncDecl)
			if !is || function.Body == nil {
				return true
			}
			for _, name := range actors(function.Type) {
				told++
				if name == "_" || !uses(function.Body, name) {
					t.Errorf("%s: %s is told who makes a change, and does not record it", f.name, function.Name.Name)
				}
			}
			return true
		})
	}
	if told < 20 {
		t.Errorf("got %d functions that are told who makes a change, want more", told)
	}
}

// actors are the parameters of type audit.Actor.
func actors(function *ast.FuncType) (names []string) {
	for _, parameter := range function.Params.List {
		if !named(parameter.Type, "audit", "Actor") {
			continue
		}
		for _, name := range parameter.Names {
			names = append(names, name.Name)
		}
	}
	return names
}

// named reports whether an expression is pkg.name, or name.
func named(e ast.Expr, pkg, name string) bool {
	if selector, is := e.(*ast.SelectorExpr); is {
		from, _ := selector.X.(*ast.Ident)
		return from != nil && from.Name == pkg && selector.Sel.Name == name
	}
	alone, _ := e.(*ast.Ident)
	return alone != nil && alone.Name == name
}

func uses(in ast.Node, name string) (used bool) {
	ast.Inspect(in, func(n ast.Node) bool {
		if identifier, is := n.(*ast.Ident); is && identifier.Name == name {
			used = true
		}
		return !used
	})
	return used
}

// What a secret reveals is a string, which the compiler lets into the trail.
func TestNoSecretIsRevealedToTheTrail(t *testing.T) {
	for _, f := range files(t) {
		if f.test() {
			continue
		}
		ast.Inspect(f.parsed, func(n ast.Node) bool {
			call, is := n.(*ast.CallExpr)
			if !is || !ofAudit(call.Fun) {
				return true
			}
			for _, argument := range call.Args {
				if uses(argument, "Reveal") {
					t.Errorf("%s reveals a secret to the audit trail", f.name)
				}
			}
			return true
		})
	}
}

func ofAudit(function ast.Expr) bool {
	selector, is := function.(*ast.SelectorExpr)
	if !is {
		return false
	}
	from, _ := selector.X.(*ast.Ident)
	return from != nil && from.Name == "audit"
}

var ofTheTrail = regexp.MustCompile(`(INSERT INTO|UPDATE|DELETE FROM|FROM|JOIN)\s+audit\b`)

// Entries are inserted, read and trimmed, and only by package audit.
func TestNothingChangesTheTrail(t *testing.T) {
	found := map[string]bool{}
	for _, f := range files(t) {
		if f.test() {
			continue
		}
		ast.Inspect(f.parsed, func(n ast.Node) bool {
			literal, is := n.(*ast.BasicLit)
			if !is || literal.Kind != token.STRING {
				return true
			}
			for _, match := range ofTheTrail.FindAllStringSubmatch(literal.Value, -1) {
				found[match[1]] = true
				if f.name != path.Join("audit", "sql.go") || !slices.Contains([]string{"INSERT INTO", "FROM", "DELETE FROM"}, match[1]) {
					t.Errorf("%s: %s the audit trail", f.name, match[1])
				}
			}
			return true
		})
	}
	if !found["INSERT INTO"] || !found["DELETE FROM"] {
		t.Errorf("got %v, want to find what inserts and what trims", found)
	}
}
