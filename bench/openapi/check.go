package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// checker is the document.
type checker struct {
	document *openapi3.T
	paths    map[string]*openapi3.PathItem
	seen     map[string]bool // operations that answered
}

func load(path string) (*checker, error) {
	document, err := openapi3.NewLoader().LoadFromFile(path)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	if err := validate(document); err != nil {
		return nil, fmt.Errorf("validate %s: %w", path, err)
	}
	return &checker{document, document.Paths.Map(), map[string]bool{}}, nil
}

// validate checks the document itself. kin-openapi does not know components.pathItems, though it
// follows references to them. It would check a shared example again for each API that refers to it,
// so the examples are checked in a document without the APIs.
func validate(document *openapi3.T) error {
	known := openapi3.AllowExtraSiblingFields("pathItems")
	if err := document.Validate(context.Background(), known, openapi3.DisableExamplesValidation()); err != nil {
		return err
	}
	own := *document
	own.Paths = openapi3.NewPaths()
	for path, item := range document.Paths.Map() {
		if item.Ref == "" && !isAPI(item) {
			own.Paths.Set(path, item)
		}
	}
	return own.Validate(context.Background(), known)
}

// unseen returns the operations of the platform's own that never answered.
func (c *checker) unseen() (all []string) {
	for path, item := range c.paths {
		for method := range item.Operations() {
			own := item.Ref == "" && !isAPI(item) && !strings.HasSuffix(path, "{path}")
			if operation := method + " " + path; own && !c.seen[operation] {
				all = append(all, operation)
			}
		}
	}
	return all
}

// isAPI reports whether a path is that of an API of the catalogue.
func isAPI(item *openapi3.PathItem) bool {
	for _, operation := range item.Operations() {
		if operation.Extensions["x-wechat"] != nil {
			return true
		}
	}
	return false
}

// check fails if an answer is not as the document says. It says so in the same words for every
// answer of an operation that is wrong in the same way.
func (c *checker) check(r record) error {
	path, item := c.find(r.Path)
	if item == nil {
		return about(r, r.Path, c.checkProblem(r, http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound, http.StatusServiceUnavailable))
	}
	operation := item.GetOperation(r.Method)
	if operation == nil {
		return about(r, path, c.checkWrongMethod(r))
	}
	c.seen[r.Method+" "+path] = true
	return about(r, path, c.checkAnswer(r, path, item, operation))
}

func about(r record, path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %d: %w", r.Method, path, r.Status, err)
}

// checkWrongMethod checks the answer to a method that a path does not have. At WeChat's own paths
// it is an errcode.
func (c *checker) checkWrongMethod(r record) error {
	if r.Status == http.StatusOK && !strings.HasPrefix(r.Path, "/v1/") {
		return c.checkBody(r, "Refusal")
	}
	return c.checkProblem(r, http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusServiceUnavailable)
}

// shorten leaves out of an error the schema and the value that it repeats.
func shorten(err error) error {
	var all []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if strings.Contains(line, "': ") || !strings.HasPrefix(line, " ") && strings.TrimSpace(line) != "" && line != "Schema:" && line != "Value:" {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return errors.New(strings.Join(all, " "))
}

func (c *checker) checkAnswer(r record, path string, item *openapi3.PathItem, operation *openapi3.Operation) error {
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: &http.Request{Method: r.Method},
			Route:   &routers.Route{Spec: c.document, Path: path, PathItem: item, Method: r.Method, Operation: operation},
		},
		Status: r.Status, Header: r.Header, Body: io.NopCloser(bytes.NewReader(r.Body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: r.Cut},
	}
	if err := openapi3filter.ValidateResponse(context.Background(), input); err != nil {
		return shorten(err)
	}
	return checkSlug(r, operation)
}

// checkSlug fails if the answer is a problem that the route does not list.
func checkSlug(r record, operation *openapi3.Operation) error {
	if r.Header.Get("Content-Type") != problemJSON {
		return nil
	}
	slug, err := slugOf(r)
	if err != nil {
		return err
	}
	response := operation.Responses.Status(r.Status)
	if response == nil {
		response = operation.Responses.Default()
	}
	examples := response.Value.Content.Get(problemJSON).Examples
	if examples[slug] == nil && examples[slug+"-"+strconv.Itoa(r.Status)] == nil && len(examples) > 0 {
		return fmt.Errorf("the problem %s is not one that the route lists", slug)
	}
	return nil
}

const problemJSON = "application/problem+json"

// slugOf returns a problem's slug. Its status must be that of the answer.
func slugOf(r record) (string, error) {
	var problem struct {
		Type   string
		Status int
	}
	if err := json.Unmarshal(r.Body, &problem); err != nil {
		return "", err
	}
	if problem.Status != r.Status {
		return "", fmt.Errorf("the problem says status %d", problem.Status)
	}
	return strings.TrimPrefix(problem.Type, "/problems/"), nil
}

// checkProblem checks an answer of no route: a problem with one of these statuses.
func (c *checker) checkProblem(r record, statuses ...int) error {
	if !slices.Contains(statuses, r.Status) || r.Header.Get("Content-Type") != problemJSON {
		return errors.New("the document has no such route")
	}
	if _, err := slugOf(r); err != nil {
		return err
	}
	return c.checkBody(r, "Problem")
}

// checkBody checks a body against a schema of the document.
func (c *checker) checkBody(r record, schema string) error {
	var body any
	if err := json.Unmarshal(r.Body, &body); err != nil {
		return err
	}
	return c.document.Components.Schemas[schema].Value.VisitJSON(body, openapi3.EnableJSONSchema2020())
}

// find returns the path of the document that an address means: the one with the most segments that
// are equal.
func (c *checker) find(address string) (path string, item *openapi3.PathItem) {
	if item := c.paths[address]; item != nil {
		return address, item
	}
	most := -1
	for template, candidate := range c.paths {
		if equal, fits := match(template, strings.TrimSuffix(address, "/")); fits && equal > most {
			path, item, most = template, candidate, equal
		}
	}
	return path, item
}

// match reports whether an address fits a path, and how many segments are equal. {path} may contain
// slashes.
func match(template, address string) (equal int, fits bool) {
	parts, given := strings.Split(template, "/"), strings.Split("/"+strings.TrimLeft(address, "/"), "/")
	for i, part := range parts {
		switch {
		case i >= len(given):
			return 0, false
		case part == "{path}":
			return equal, given[i] != ""
		case strings.HasPrefix(part, "{") && given[i] != "":
		case part != given[i]:
			return 0, false
		default:
			equal++
		}
	}
	return equal, len(parts) == len(given)
}
