package main

import (
	"fmt"
	"slices"
	"strings"
)

// noEnvironment is the environment of a program that reads none.
func noEnvironment() []string { return nil }

// ofKubernetes are the beginnings of the variables that Kubernetes makes for a service that is
// named platform.
var ofKubernetes = []string{"PLATFORM_SERVICE_", "PLATFORM_PORT"}

// unknownSettings says which variables of the environment look like settings and are none, each
// with the name that may be meant. environ is as os.Environ returns it.
func unknownSettings(environ []string) (unknown []string) {
	var known []string
	for _, s := range settings {
		known = append(known, s.name, s.name+"_FILE")
	}
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		kubernetes := slices.ContainsFunc(ofKubernetes, func(start string) bool { return strings.HasPrefix(name, start) })
		if strings.HasPrefix(name, "PLATFORM_") && !kubernetes && !slices.Contains(known, name) {
			unknown = append(unknown, fmt.Sprintf("%s (did you mean %s?)", name, nearest(name, known)))
		}
	}
	return unknown
}

// nearest returns which of known takes the fewest edits from name.
func nearest(name string, known []string) string {
	return slices.MinFunc(known, func(a, b string) int { return edits(name, a) - edits(name, b) })
}

// edits is how many bytes must be inserted, removed or replaced to make b of a.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
