package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"wxplatform/docs"
)

const remake = "go run ./cmd/platform api openapi > docs/openapi.json"

func TestTheOpenAPIDocumentIsCurrent(t *testing.T) {
	made, err := makeDocument()
	if err != nil {
		t.Fatal(err)
	}
	if string(docs.OpenAPI) != string(made) {
		t.Errorf("docs/openapi.json is not what the program makes; run: %s", remake)
	}
}

// described are the operations of the document, as "GET /v1/authorizers/{appid}": those of the
// public listener, and those of the operations listener, which have servers of their own.
func described(t *testing.T) (public, private []string) {
	t.Helper()
	type item = map[string]json.RawMessage
	var read struct {
		Paths      map[string]item
		Components struct{ PathItems map[string]item }
	}
	if err := json.Unmarshal(docs.OpenAPI, &read); err != nil {
		t.Fatal(err)
	}
	for path, of := range read.Paths {
		var ref string
		if of["$ref"] != nil && json.Unmarshal(of["$ref"], &ref) == nil {
			of = read.Components.PathItems[strings.TrimPrefix(ref, "#/components/pathItems/")]
		}
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			switch operation := method + " " + path; {
			case of[strings.ToLower(method)] == nil:
			case of["servers"] != nil:
				private = append(private, operation)
			default:
				public = append(public, operation)
			}
		}
	}
	return public, private
}

// templated is a route's path as OpenAPI writes it.
func templated(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if name, parameter := strings.CutPrefix(part, ":"); parameter {
			parts[i] = "{" + name + "}"
		} else if part == "*" {
			parts[i] = "{path}"
		}
	}
	return strings.Join(parts, "/")
}

// registeredRoutes are the routes of the public listener. Of one that takes any method, so that it
// can refuse the wrong ones itself, GET is described, and POST too if it stands for many APIs.
func registeredRoutes(p *platform) (all []string) {
	anyMethod, routes := map[string]bool{}, p.public().Routes()
	for _, r := range routes {
		anyMethod[r.Path] = anyMethod[r.Path] || r.Method == http.MethodTrace
	}
	for _, r := range routes {
		many := r.Method == http.MethodPost && strings.HasSuffix(r.Path, "*")
		if !anyMethod[r.Path] || r.Method == http.MethodGet || many {
			all = append(all, r.Method+" "+templated(r.Path))
		}
	}
	return all
}

func TestEveryRouteIsDescribed(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	public, private := described(t)
	registered := registeredRoutes(w.platform)
	for _, a := range w.platform.catalogue.All() {
		registered = append(registered, a.Method+" "+a.Path, a.Method+" /v1/authorizers/{appid}"+a.Path)
	}
	var operations []string
	for pattern := range w.platform.privateRoutes() {
		operations = append(operations, pattern)
	}
	compareRoutes(t, registered, public)
	compareRoutes(t, append(operations, "GET /debug/pprof/", "GET /debug/pprof/{profile}"), private)
}

func compareRoutes(t *testing.T, registered, described []string) {
	t.Helper()
	for _, route := range registered {
		if !slices.Contains(described, route) {
			t.Errorf("docs/openapi.json lacks %s: describe it in openapi/routes.json, then run: %s", route, remake)
		}
	}
	for _, route := range described {
		if !slices.Contains(registered, route) {
			t.Errorf("docs/openapi.json has %s, which is no route: remove it from openapi/routes.json, then run: %s", route, remake)
		}
	}
}

func TestTheDocumentIsServedWithAnETag(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	answer := w.raw("GET", "/openapi.json", nil, "")
	if answer.status != http.StatusOK || string(answer.body) != strings.TrimSpace(string(docs.OpenAPI)) || answer.header.Get("Content-Type") != "application/json" {
		t.Errorf("got %d %s %.80s, want docs/openapi.json", answer.status, answer.header.Get("Content-Type"), answer.body)
	}
	again := w.raw("GET", "/openapi.json", map[string]string{"If-None-Match": answer.header.Get("ETag")}, "")
	if again.status != http.StatusNotModified || len(again.body) > 0 {
		t.Errorf("got %d with %d bytes, want 304 for the ETag %q", again.status, len(again.body), answer.header.Get("ETag"))
	}
}

func TestTheTypeOfAProblemLeadsToItsPage(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	answer := w.raw("GET", "/v1/authorizers", nil, "")
	w.wants(answer, http.StatusUnauthorized, "invalid-token")
	for language, says := range map[string]string{"en": "The request has no JWT", "zh": "请求没有携带 JWT"} {
		page := w.raw("GET", answer.field("type"), map[string]string{"Accept-Language": language}, "")
		if page.status != http.StatusOK || !strings.Contains(string(page.body), says) {
			t.Errorf("%s: got %d %.300s, want %q", language, page.status, page.body, says)
		}
	}
	w.wants(w.raw("GET", "/problems/no-such-problem", nil, ""), http.StatusNotFound, "not-found")
}

func TestWhatIsPublicIsAnsweredWithoutAJWT(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for path, says := range map[string]string{
		"/.well-known/jwks.json": `"kty":"OKP"`, "/.well-known/oauth-authorization-server": `"token_endpoint":`,
		"/openapi.json": `"openapi": "3.1.0"`, "/problems": "/problems/no-session", "/docs": "closeSession",
	} {
		if answer := w.raw("GET", path, nil, ""); answer.status != http.StatusOK || !strings.Contains(string(answer.body), says) {
			t.Errorf("%s: got %d %.200s, want %s in it", path, answer.status, answer.body, says)
		}
	}
	w.wants(w.raw("GET", "/wechat/"+string(service)+"/messages?echostr=x", nil, ""), http.StatusForbidden, "not-authentic")
}
