// Package arch checks which package may import which, and which files may use which technology
// (docs/design.md, "Packages").
package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "wxplatform/"
)

// arrows says what a package may import of ours, besides the packages in internal/ that any may
// use.
var arrows = map[string][]string{
	"openapi":          {"docs", "relay", "tenant", "wechat"},
	"docs":             {},
	"session":          {"authorizer", "relay", "wechat"},
	"login":            {"authorizer", "relay", "tenant", "wechat"},
	"relay":            {"authorizer", "tenant", "wechat"},
	"inbox":            {"invitation", "authorizer", "component", "wechat"},
	"invitation":       {"audit", "authorizer", "component", "quota", "tenant", "token", "wechat"}, // token: an exchange's answer is a token.Answer
	"reconcile":        {"audit", "authorizer", "walk", "wechat"},
	"authorizer":       {"audit", "component", "quota", "share", "tenant", "token", "walk", "wechat"},
	"quota":            {"wechat"},
	"replica":          {},
	"share":            {},
	"walk":             {},
	"component":        {"token", "wechat"},
	"token":            {"wechat"},
	"tenant":           {"audit"}, // who changes what; and a tenant reads its own entries
	"audit":            {},
	"wechat":           {},
	"wechat/wechatsim": {"wechat"},
	"migrations":       {},
	"faults":           {}, // tests only
}

// leaves says what the packages in internal/ may import of each other.
var leaves = map[string][]string{
	"internal/db":         {"internal/failpoint", "internal/seal"},
	"internal/mirror":     {"internal/db", "internal/failpoint", "internal/seal"},
	"internal/seal":       {},
	"internal/failpoint":  {},
	"internal/problem":    {},
	"internal/plainhttp":  {"internal/socket"},
	"internal/queue":      {},
	"internal/requestlog": {"internal/address", "internal/trace"},
	"internal/trace":      {},
	"internal/otlp":       {"internal/seal", "internal/trace"},
	"internal/otlptest":   {},
	"internal/address":    {},
	"internal/socket":     {},
	"internal/strict":     {},
	"internal/nearest":    {},
	"internal/sdkreader":  {},
	"internal/bucket":     {},
	"internal/runqueue":   {},
	"internal/arch":       {},
	"internal/dbtest":     {"internal/db", "internal/seal", "internal/testenv", "migrations"},
	"internal/redistest":  {},
	"internal/testenv":    {},
	"internal/suite":      {},
	"internal/transcript": {"internal/testenv"},
}

// homes says which files may use a technology. A trailing slash means a folder.
var homes = map[string][]string{
	"github.com/labstack/echo":      {"*/http.go", "relay/door.go", "invitation/pages.go", "relay/tokenhttp.go", "tenant/audithttp.go", "cmd/platform/", "internal/requestlog/"},
	"github.com/redis/go-redis":     {"internal/mirror/", "internal/redistest/", "bench/"},
	"github.com/alicebob/miniredis": {"internal/mirror/"},
	"github.com/maypok86/otter":     {"internal/mirror/"},
	"github.com/jackc/pgx":          {"internal/db/", "internal/dbtest/"},
	"modernc.org/sqlite":            {"internal/db/"},
	"database/sql":                  {"internal/db/", "internal/dbtest/", "token/columns.go"}, // a Valuer returns a driver.Value
	"github.com/golang-jwt/jwt":     {"tenant/"},
	"github.com/alecthomas/kong":    {"cmd/"},
	"github.com/prometheus":         {"cmd/platform/", "internal/requestlog/"},
	"go.opentelemetry.io":           {"internal/trace/", "internal/otlp/", "internal/otlptest/"},
	"google.golang.org/protobuf":    {"internal/otlptest/"},
	"golang.org/x/sys":              {"wechat/dial_linux.go", "bench/alarm_linux.go"},
	"golang.org/x/text":             {"cmd/platform/"},
	"wxplatform/wechat/wechatsim":   {"cmd/", "bench/"}, // tests may use it everywhere
	"wxplatform/internal/dbtest":    {},
	"wxplatform/internal/redistest": {},
	"wxplatform/internal/otlp":      {"cmd/platform/"}, // others only begin spans, with internal/trace
}

type file struct {
	name    string // from the root, with slashes
	imports []string
	parsed  *ast.File
}

func (f file) test() bool  { return strings.HasSuffix(f.name, "_test.go") }
func (f file) pkg() string { return path.Dir(f.name) }

func TestArrowsPointDown(t *testing.T) {
	for _, f := range files(t) {
		for _, imported := range f.imports {
			ours, isOurs := strings.CutPrefix(imported, module)
			if isOurs && !f.test() && !mayImport(f.pkg(), ours) {
				t.Errorf("%s imports %s: a new arrow is a line here, argued for in the review", f.name, ours)
			}
		}
	}
}

func mayImport(from, to string) bool {
	switch {
	case strings.HasPrefix(from, "cmd/"), strings.HasPrefix(from, "bench"), strings.HasPrefix(from, "deploy/"):
		return true
	case strings.HasPrefix(from, "internal/"):
		return slices.Contains(leaves[from], to)
	case strings.HasPrefix(to, "internal/"):
		return to != "internal/dbtest" && from != "wechat/wechatsim"
	}
	return slices.Contains(arrows[from], to)
}

func TestEveryPackageHasItsArrows(t *testing.T) {
	for _, f := range files(t) {
		_, domain := arrows[f.pkg()]
		_, leaf := leaves[f.pkg()]
		if !domain && !leaf && !strings.HasPrefix(f.pkg(), "cmd/") && !strings.HasPrefix(f.pkg(), "bench") && !strings.HasPrefix(f.pkg(), "deploy/") {
			t.Errorf("%s is in a package that arrows and leaves do not have", f.name)
		}
	}
}

func TestEveryTechnologyHasItsHome(t *testing.T) {
	for _, f := range files(t) {
		if f.test() {
			continue
		}
		for _, imported := range f.imports {
			for technology, at := range homes {
				if strings.HasPrefix(imported, technology) && !atHome(f.name, at) {
					t.Errorf("%s imports %s, whose homes are %q", f.name, imported, at)
				}
			}
		}
	}
}

func atHome(name string, at []string) bool {
	return slices.ContainsFunc(at, func(home string) bool {
		if strings.HasSuffix(home, "/") {
			return strings.HasPrefix(name, home)
		}
		ok, _ := path.Match(home, name)
		return ok
	})
}

var statement = regexp.MustCompile(`(?s)^\s*(SELECT\s|INSERT INTO\s|UPDATE\s+\w+\s+SET\s|DELETE FROM\s|CREATE (TABLE|INDEX)\s)`)

func TestStatementsStandInSQLFiles(t *testing.T) {
	for _, f := range files(t) {
		if f.test() || path.Base(f.name) == "sql.go" || strings.HasPrefix(f.name, "internal/db/") {
			continue
		}
		ast.Inspect(f.parsed, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if ok && literal.Kind == token.STRING {
				if text, err := strconv.Unquote(literal.Value); err == nil && statement.MatchString(text) {
					t.Errorf("%s holds a statement: %.40q", f.name, strings.TrimSpace(text))
				}
			}
			return true
		})
	}
}

func TestNoTestIsSkipped(t *testing.T) {
	for _, f := range files(t) {
		if !f.test() {
			continue
		}
		ast.Inspect(f.parsed, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if ok && (call.Sel.Name == "Skip" || call.Sel.Name == "Skipf" || call.Sel.Name == "SkipNow") && f.pkg() != "internal/arch" {
				t.Errorf("%s skips a test", f.name)
			}
			return true
		})
	}
}

// No environment variable of the caller changes a test.
func TestTestsReadNoEnvironment(t *testing.T) {
	clean := map[string]bool{}
	for _, f := range files(t) {
		if !f.test() && f.pkg() != "internal/dbtest" || f.pkg() == "internal/testenv" {
			continue
		}
		clean[f.pkg()] = clean[f.pkg()] || f.pkg() == "internal/dbtest"
		ast.Inspect(f.parsed, func(n ast.Node) bool {
			used, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch from, _ := used.X.(*ast.Ident); {
			case from == nil:
			case from.Name == "testenv" && (used.Sel.Name == "Main" || used.Sel.Name == "Clean"):
				clean[f.pkg()] = true
			case (from.Name == "os" || from.Name == "syscall") && slices.Contains([]string{"Getenv", "LookupEnv", "Environ", "ExpandEnv"}, used.Sel.Name):
				t.Errorf("%s calls %s.%s: tests read switches with testenv.Get", f.name, from.Name, used.Sel.Name)
			}
			return true
		})
	}
	for pkg, is := range clean {
		if !is {
			t.Errorf("%s has no TestMain that calls testenv.Main", pkg)
		}
	}
}

func files(t *testing.T) []file {
	t.Helper()
	var all []file
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".." {
			if err == nil {
				return fs.SkipDir
			}
			return err
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := read(name)
		all = append(all, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 30 {
		t.Fatalf("got %d files, want the whole tree", len(all))
	}
	return all
}

func read(name string) (file, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		return file{}, err
	}
	relative, err := filepath.Rel(root, name)
	f := file{name: filepath.ToSlash(relative), parsed: parsed}
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return file{}, err
		}
		f.imports = append(f.imports, imported)
	}
	return f, err
}
