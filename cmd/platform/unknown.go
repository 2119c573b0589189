package main

import (
	"fmt"
	"slices"
	"strings"

	"wxplatform/internal/nearest"
)

// noEnvironment is the environment of a program that reads none.
func noEnvironment() []string { return nil }

// kubernetesPrefixes begin the variables that Kubernetes sets for a service that is named platform.
var kubernetesPrefixes = []string{"PLATFORM_SERVICE_", "PLATFORM_PORT"}

// unknownSettings returns the variables that look like settings but are not, each with the setting
// that was probably meant. environ is as os.Environ returns it.
func unknownSettings(environ []string) (unknown []string) {
	var known []string
	for _, s := range settings {
		known = append(known, s.name, s.name+"_FILE")
	}
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		kubernetes := slices.ContainsFunc(kubernetesPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		if strings.HasPrefix(name, "PLATFORM_") && !kubernetes && !slices.Contains(known, name) {
			unknown = append(unknown, fmt.Sprintf("%s (did you mean %s?)", name, nearest.Name(name, known)))
		}
	}
	return unknown
}
