package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// With one letter left out or doubled, the name of each command leads to the command.
func TestEveryMisspeltCommandShowsTheNearest(t *testing.T) {
	t.Parallel()
	parser, err := kong.New(&cli{}, kong.Name("platform"))
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range parser.Model.Leaves(true) {
		for node := leaf; node.Parent != nil; node = node.Parent {
			args := strings.Fields(strings.TrimPrefix(node.FullPath(), "platform"))
			last := args[len(args)-1]
			for _, misspelt := range []string{last[:1] + last[2:], last + last[len(last)-1:]} {
				args[len(args)-1] = misspelt
				errOut := &bytes.Buffer{}
				code := run(shell{anyContext, &bytes.Buffer{}, errOut, func(string) (string, bool) { return "", false }, noEnvironment}, args)
				said := errOut.String()
				if code != 2 || !strings.Contains(said, "did you mean") || !strings.Contains(said, `"`+last+`"`) {
					t.Errorf("%q: got status %d and %q, want %s named", args, code, said, last)
				}
			}
		}
	}
}
