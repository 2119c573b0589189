package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// explainMisuse says what is wrong with the arguments. To kong's error, which names commands and
// flags of similar spelling, it adds the commands elsewhere that have this very name, and the
// --help that lists what is possible here.
func explainMisuse(err error) string {
	var wrong *kong.ParseError
	if !errors.As(err, &wrong) || wrong.Context == nil {
		return err.Error()
	}
	at := wrong.Context.Selected()
	if at == nil {
		at = wrong.Context.Model.Node
	}
	text := err.Error()
	if elsewhere := commandsNamed(wrong.Context.Model.Node, unexpected(wrong.Context)); len(elsewhere) > 0 && !at.Leaf() {
		text += "; there is " + strings.Join(elsewhere, ", ")
	}
	return fmt.Sprintf("%s (see `%s --help`)", text, at.FullPath())
}

// unexpected returns the first word that was not understood, or "" if all were.
func unexpected(c *kong.Context) string {
	if rest := c.Path[len(c.Path)-1].Remainder(); len(rest) > 0 {
		return rest[0]
	}
	return ""
}

// commandsNamed returns the commands below node whose last word is name, as they are typed.
func commandsNamed(node *kong.Node, name string) (all []string) {
	for _, child := range node.Children {
		if child.Name == name {
			all = append(all, "`"+child.FullPath()+"`")
		}
		all = append(all, commandsNamed(child, name)...)
	}
	return all
}
