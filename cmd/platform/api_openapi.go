package main

import (
	"cmp"
	"slices"

	"wxplatform/openapi"
	"wxplatform/relay"
)

type apiOpenAPICmd struct{}

// Run prints docs/openapi.json: all routes and APIs, whatever the settings.
func (apiOpenAPICmd) Run(s shell) error {
	document, err := makeDocument()
	if err != nil {
		return err
	}
	_, err = s.out.Write(document)
	return err
}

func makeDocument() ([]byte, error) {
	catalogue, err := relay.Load()
	if err != nil {
		return nil, err
	}
	return openapi.Document(catalogue, answeredProblems())
}

// unanswered are the problems that no caller gets: nobody reads the first, and the second is only
// ever told to SDKs, as an errcode.
var unanswered = []string{"caller-left", "invalid-client-secret"}

// answeredProblems are the problems that a caller can get, each once for each status.
func answeredProblems() (all []openapi.Problem) {
	for _, p := range problemTypes() {
		known := openapi.Problem{Slug: p.slug, Status: p.status, Title: p.title, Retryable: p.retryable}
		if !slices.Contains(unanswered, p.slug) && !slices.Contains(all, known) {
			all = append(all, known)
		}
	}
	slices.SortFunc(all, func(a, b openapi.Problem) int {
		return cmp.Or(cmp.Compare(a.Slug, b.Slug), cmp.Compare(a.Status, b.Status))
	})
	return all
}
