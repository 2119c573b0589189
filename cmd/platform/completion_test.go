package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// program is the program's commands and flags.
func program(t *testing.T) *kong.Node {
	t.Helper()
	parser, err := kong.New(&cli{}, kong.Name("platform"))
	if err != nil {
		t.Fatal(err)
	}
	return parser.Model.Node
}

func TestEveryCommandAndFlagIsCompleted(t *testing.T) {
	t.Parallel()
	has := func(words []string, want string) bool {
		return slices.ContainsFunc(complete(program(t), words), func(c candidate) bool { return c.word == want && c.help != "" })
	}
	leaves := program(t).Leaves(true)
	if len(leaves) < 30 {
		t.Fatalf("got %d commands, want all", len(leaves))
	}
	for _, leaf := range leaves {
		path := strings.Fields(leaf.FullPath())[1:]
		for i, word := range path {
			if begun := append(slices.Clone(path[:i]), word[:1]); !has(begun, word) {
				t.Errorf("got no %s for %q", word, begun)
			}
		}
		for _, f := range slices.Concat(leaf.AllFlags(true)...) {
			if begun := append(slices.Clone(path), "--"+f.Name[:1]); !has(begun, "--"+f.Name) {
				t.Errorf("got no --%s for %q", f.Name, begun)
			}
		}
	}
}

func TestWhatCompletesAWord(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"authorizer list --state ":      "healthy degraded quota reauthorize revoked",
		"authorizer list --state=q":     "--state=quota",
		"authorizer list --state = d":   "degraded",
		"authorizer list --limit ":      "",
		"authorizer list --limit=":      "",
		"authorizer list --all mo":      "",
		"authorizer list --limit 5 --a": "--after --all",
		"authorizer --nonsense=x mo":    "move",
		"completion ":                   "bash zsh fish",
		"completion zsh ":               "",
		"tenant show list":              "",
		"nonsense ":                     "",
		"reconcile --assign ":           "",
	} {
		var got []string
		for _, one := range complete(program(t), strings.Split(line, " ")) {
			got = append(got, one.word)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}
