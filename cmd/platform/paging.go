package main

import (
	"errors"
	"fmt"
	"math"
)

// rowsAtOnce is how many rows of a long list one statement reads.
const rowsAtOnce = 1000

// errLimit refuses a --limit below 1.
var errLimit = errors.New("--limit must be above 0. --limit 必须大于 0")

// paging are the flags of a command whose list may be long. K is what it is ordered by.
type paging[K ~string] struct {
	After K    `help:"Start after this one, the last of an earlier list. 从其后开始（上一次列出的最后一个）。" placeholder:"ID"`
	Limit int  `help:"The most to list. 最多条数。" default:"1000"`
	All   bool `help:"List all, however many there are. 全部列出。"`
}

// pager reads a long list for a command.
type pager[K ~string, V any] struct {
	paging[K]
	// read returns up to limit values whose keys follow after, in the order of their keys.
	read func(after K, limit int) ([]V, error)
	key  func(V) K
}

// each passes the list to show, page by page. If --limit cuts the list off, it returns the key of
// the last value shown, or else "". No page has more than rowsAtOnce values.
func (p pager[K, V]) each(show func([]V) error) (cut K, err error) {
	left := p.Limit
	if p.All {
		left = math.MaxInt
	}
	for after := p.After; ; {
		want := min(left, rowsAtOnce)
		some, err := p.read(after, want+1)
		if err != nil {
			return "", err
		}
		page := some[:min(want, len(some))]
		if err := show(page); err != nil || len(some) <= want {
			return "", err
		}
		after, left = p.key(page[want-1]), left-want
		if left == 0 {
			return after, nil
		}
	}
}

// printTo prints the list, and on standard error that it was cut off.
func (p pager[K, V]) printTo(s shell, f format, t table[V]) error {
	if p.Limit < 1 {
		return errLimit
	}
	list := t.listing(s.out, f)
	cut, err := p.each(list.print)
	if err != nil {
		return err
	}
	if err := list.end(); err != nil || cut == "" {
		return err
	}
	_, err = fmt.Fprintf(s.errOut, "%[1]d are listed, and there are more: --after %[2]s goes on from there, --all lists all\n已列出 %[1]d 条，后面还有：用 --after %[2]s 继续，或用 --all 全部列出\n", p.Limit, cut)
	return err
}
