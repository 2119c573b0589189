package check

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"wxplatform/internal/testenv"
)

const (
	root     = "../.."
	patience = 40 * time.Minute // a release compiles everything four times
)

// program returns the path of a tool, or fails and names the package that has it.
func program(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: apt-get install %s", name, pkg)
	}
	return path
}

// output runs a command in dir and returns what it prints on standard output. It fails if the
// command does.
func output(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	out, said, err := run(dir, nil, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, said)
	}
	return out
}

// run runs a command in dir, with env besides the tests' environment, and returns what it prints on
// standard output and on standard error.
func run(dir string, env []string, name string, args ...string) (out, said string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(testenv.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

// build builds the program once for all tests, and returns its path.
var build = sync.OnceValues(func() (string, error) {
	path, err := filepath.Abs(filepath.Join(root, "out", "deploy", "platform"))
	if err != nil {
		return "", err
	}
	if _, said, err := run(root, nil, "go", "build", "-o", path, "./cmd/platform"); err != nil {
		return "", fmt.Errorf("%w: %s", err, said)
	}
	return path, nil
})

// platform returns the path of the program.
func platform(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// read returns the text of a file, by its path from the root of the repository.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// write writes a file, makes its folder if need be, and returns its path.
func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// replaced replaces each old text in a file's, and fails if one is not there.
func replaced(t *testing.T, text string, oldNew ...string) string {
	t.Helper()
	for i := 0; i < len(oldNew); i += 2 {
		if !strings.Contains(text, oldNew[i]) {
			t.Fatalf("got no %q in\n%s", oldNew[i], text)
		}
		text = strings.ReplaceAll(text, oldNew[i], oldNew[i+1])
	}
	return text
}
