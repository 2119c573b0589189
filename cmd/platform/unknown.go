package main

import (
	"fmt"
	"slices"
	"strings"

	"wxplatform/internal/nearest"
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
			unknown = append(unknown, fmt.Sprintf("%s (did you mean %s?)", name, nearest.Name(name, known)))
		}
	}
	return unknown
}
