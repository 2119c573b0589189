// Package nearest finds the name that was probably meant by a misspelt one.
package nearest

import (
	"slices"
	"strings"
)

// Name returns the one of names that takes the fewest edits from misspelt: the first one, if there
// are several. Letters are equal in either case. There must be a name.
func Name(misspelt string, names []string) string {
	misspelt = strings.ToLower(misspelt)
	return slices.MinFunc(names, func(a, b string) int {
		return edits(misspelt, strings.ToLower(a)) - edits(misspelt, strings.ToLower(b))
	})
}

// edits is how many bytes must be inserted, deleted or replaced to make b of a.
func edits(a, b string) int {
	row := make([]int, len(b)+1) // row[j] is the edits from the part of a that was read to b[:j]
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
