package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wxplatform/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const document = "../../docs/openapi.json"

const (
	closePath = "/v1/authorizers/wx1/customservice/kfsession/close"
	menuPath  = "/cgi-bin/menu/create"
	sdkJSON   = "application/json; encoding=utf-8"
)

func answer(method, path string, status int, kind, body string) record {
	return record{Method: method, Path: path, Status: status, Header: http.Header{"Content-Type": {kind}}, Body: []byte(body)}
}

func problem(slug, status, more string) string {
	return `{"type":"/problems/` + slug + `","title":"t","status":` + status + `,"retryable":false,"request_id":"r"` + more + `}`
}

// right are answers that the document describes.
var right = map[string]record{
	"a closed session":             answer("POST", closePath, 200, "application/json", `{"errcode":0,"errmsg":"ok"}`),
	"a problem of the route":       answer("POST", closePath, 409, problemJSON, problem("no-session", "409", `,"errcode":65413`)),
	"an API of the catalogue":      answer("POST", "/v1/authorizers/wx1"+menuPath, 200, "application/json", `{"errcode":0}`),
	"a file":                       answer("GET", "/v1/authorizers/wx1/cgi-bin/media/get", 200, "image/jpeg", "\xff\xd8"),
	"a refusal at the other door":  answer("POST", menuPath, 200, sdkJSON, `{"errcode":40001,"errmsg":"x"}`),
	"a slash too many":             answer("POST", "/"+menuPath+"/", 200, sdkJSON, `{"errcode":0,"errmsg":"ok"}`),
	"the wrong method, for an SDK": answer("DELETE", menuPath, 200, sdkJSON, `{"errcode":43002,"errmsg":"x"}`),
	"an API that is not listed":    answer("POST", "/cgi-bin/new/api", 200, sdkJSON, `{"errcode":0,"errmsg":"ok"}`),
	"no route":                     answer("GET", "/foo", 404, problemJSON, problem("not-found", "404", "")),
	"a status with two slugs":      answer("POST", "/v1/authorizers/wx1"+menuPath, 502, problemJSON, problem("wechat-refused", "502", "")),
}

// wrong are answers that the document does not describe.
var wrong = map[string]record{
	"another status":             answer("POST", closePath, 202, "application/json", `{"errcode":0,"errmsg":"ok"}`),
	"another Content-Type":       answer("POST", closePath, 200, "text/plain", `{"errcode":0,"errmsg":"ok"}`),
	"a member too many":          answer("POST", closePath, 200, "application/json", `{"errcode":0,"errmsg":"ok","x":1}`),
	"a problem of other routes":  answer("POST", closePath, 404, problemJSON, problem("unknown-invitation", "404", "")),
	"a problem that is none":     answer("POST", closePath, 404, problemJSON, problem("no-such-problem", "404", "")),
	"a problem of other status":  answer("POST", closePath, 404, problemJSON, problem("unknown-authorizer", "410", "")),
	"a problem without an id":    answer("POST", closePath, 409, problemJSON, strings.Replace(problem("no-session", "409", ""), "request_id", "id", 1)),
	"a refusal that looks right": answer("POST", "/v1/authorizers/wx1"+menuPath, 200, "application/json", `{"errcode":40001}`),
	"a status for an SDK":        answer("POST", menuPath, 404, sdkJSON, `{"errcode":40066,"errmsg":"x"}`),
	"a problem for an SDK":       answer("POST", menuPath, 503, problemJSON, problem("overloaded", "503", "")),
	"a code that is text":        answer("POST", menuPath, 200, sdkJSON, `{"errcode":"0","errmsg":"ok"}`),
	"a page of no route":         answer("GET", "/foo", 404, "text/html", "<html>"),
	"a wrong method that works":  answer("PUT", "/v1/authorizers", 200, "application/json", `{"authorizers":[]}`),
}

func TestOnlyWhatTheDocumentDescribesIsRight(t *testing.T) {
	c, err := load(document)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range right {
		if err := c.check(r); err != nil {
			t.Errorf("%s: got %v, want it to be right", name, err)
		}
	}
	for name, r := range wrong {
		if c.check(r) == nil {
			t.Errorf("%s: got nothing, want it to be wrong", name)
		}
	}
}

func TestARunWithoutAnswersFails(t *testing.T) {
	var out strings.Builder
	if err := run(&out, document, t.TempDir()); err == nil {
		t.Error("got no error, want one for an empty folder")
	}
}

func TestAnOperationThatNobodyCalledIsNamed(t *testing.T) {
	folder := t.TempDir()
	line := `{"Method":"GET","Path":"/healthz","Status":200,"Header":{"Content-Type":["text/plain"]},"Body":"b2sK"}` + "\n"
	if err := os.WriteFile(filepath.Join(folder, "a.jsonl"), []byte(line), 0o644); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := run(&out, document, folder); err == nil || !strings.Contains(out.String(), "no test got an answer to GET /readyz") || strings.Contains(out.String(), "/healthz") {
		t.Errorf("got %v and %.300s, want /readyz named and /healthz not", err, out.String())
	}
}
