package main

import (
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string   `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
	Words []string `arg:"" optional:"" help:"For the script: the words of a command line. The command then prints what may complete the last one. 供脚本使用：命令行中的各个词；此时输出最后一个词的候选。"`
}

//go:embed completion.bash
var completionBash string

//go:embed completion.zsh
var completionZsh string

//go:embed completion.fish
var completionFish string

// completionShells have what differs between the shells: the script, and the line for a candidate.
var completionShells = map[string]struct {
	script *string
	line   func(candidate) string
}{
	"bash": {&completionBash, func(c candidate) string { return c.word }},
	"zsh":  {&completionZsh, func(c candidate) string { return c.word + ":" + c.help }},
	"fish": {&completionFish, func(c candidate) string { return c.word + "\t" + c.help }},
}

// Run prints the script for a shell. With Words, as the script calls it, it prints what may
// complete the last one.
func (c completionCmd) Run(s shell, parsed *kong.Context) error {
	in := completionShells[c.Shell]
	if len(c.Words) == 0 {
		_, err := io.WriteString(s.out, *in.script)
		return err
	}
	for _, one := range complete(parsed.Model.Node, c.Words) {
		if _, err := fmt.Fprintln(s.out, in.line(one)); err != nil {
			return err
		}
	}
	return nil
}

// candidate is a word that may come next, and what it does.
type candidate struct{ word, help string }

// complete returns what may complete the last of words, which are the command line without the
// program's name. Where any text may come there is nothing; the shells offer files then.
func complete(program *kong.Node, words []string) []candidate {
	at := place{command: program}
	for _, word := range words[:len(words)-1] {
		at = at.after(word)
	}
	last := words[len(words)-1]
	return slices.DeleteFunc(at.offers(last), func(c candidate) bool { return !strings.HasPrefix(c.word, last) })
}

// place is a place in a command line.
type place struct {
	command *kong.Node
	flag    *kong.Flag // the word here is its value; nil if no flag waits for one
	args    int        // how many arguments come before it
}

// after returns the place that follows word, which stands at p.
func (p place) after(word string) place {
	switch {
	case p.flag != nil && word == "=": // bash makes three words of --flag=value
		return p
	case p.flag != nil:
		return place{p.command, nil, p.args}
	case strings.HasPrefix(word, "-"):
		return place{p.command, p.takesValue(word), p.args}
	}
	for _, child := range p.command.Children {
		if child.Name == word {
			return place{command: child}
		}
	}
	return place{p.command, nil, p.args + 1}
}

// takesValue returns the flag that word names if its value is the next word, or nil.
func (p place) takesValue(word string) *kong.Flag {
	for _, f := range p.flags() {
		if "--"+f.Name == word && !f.IsBool() {
			return f
		}
	}
	return nil
}

func (p place) flags() []*kong.Flag { return slices.Concat(p.command.AllFlags(true)...) }

// offers returns what may stand at p. word is what is typed of it so far.
func (p place) offers(word string) []candidate {
	flag, _, assigns := strings.Cut(word, "=")
	switch {
	case p.flag != nil:
		return choices(p.flag.Value, "")
	case assigns:
		if f := p.takesValue(flag); f != nil {
			return choices(f.Value, flag+"=")
		}
		return nil
	case strings.HasPrefix(word, "-"):
		return viewsOf(p.flags(), func(f *kong.Flag) candidate { return candidate{"--" + f.Name, f.Help} })
	case p.args < len(p.command.Positional):
		return choices(p.command.Positional[p.args], "")
	case p.args == len(p.command.Positional):
		return p.commands()
	}
	return nil
}

func (p place) commands() (all []candidate) {
	for _, child := range p.command.Children {
		if !child.Hidden {
			all = append(all, candidate{child.Name, child.Help})
		}
	}
	return all
}

// choices returns the values that v may have, if they are known, with prefix in front of each.
func choices(v *kong.Value, prefix string) (all []candidate) {
	for _, choice := range v.EnumSlice() {
		if choice != "" {
			all = append(all, candidate{prefix + choice, ""})
		}
	}
	return all
}
