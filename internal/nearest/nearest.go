// Package nearest finds the name that a misspelt one was probably meant to be.
package nearest

import (
	"slices"
	"strings"
)

// Name returns the name that needs the fewest edits to make from misspelt, or the first of several.
// It ignores case. names must not be empty.
func Name(misspelt string, names []string) string {
	misspelt = strings.ToLower(misspelt)
	return slices.MinFunc(names, func(a, b string) int {
		return edits(misspelt, strings.ToLower(a)) - edits(misspelt, strings.ToLower(b))
	})
}

// edits returns how many bytes must be inserted, deleted or replaced to turn a into b.
func edits(a, b string) int {
	row := make([]int, len(b)+1) // row[j] is the edits that turn the part of a read so far into b[:j]
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
