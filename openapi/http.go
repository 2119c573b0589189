package openapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/labstack/echo/v4"

	"wxplatform/docs"
)

// Handler serves the document, a page that shows it, and a page for each problem.
type Handler struct{}

// Routes adds the routes to e.
func (Handler) Routes(e *echo.Echo) {
	e.GET("/openapi.json", func(c echo.Context) error { return documentAnswer().serve(c) })
	e.GET("/docs", showDocs)
	e.GET("/problems", problem)
	e.GET("/problems/:slug", problem)
}

// documentAnswer is the document, packed when it is first read.
var documentAnswer = sync.OnceValue(func() answer { return newAnswer("application/json", docs.OpenAPI) })

// showDocs answers with the page that shows the document.
func showDocs(c echo.Context) error {
	c.Response().Header().Set("Content-Security-Policy", docsPolicy)
	return docsPage().serve(c)
}

// problem answers with the page of a problem, or with the list of all.
func problem(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderVary, "Accept-Language")
	page, known := problemPages()[place{c.Param("slug"), languageOf(c.Request())}]
	if !known {
		return echo.ErrNotFound
	}
	c.Response().Header().Set("Content-Security-Policy", pagePolicy)
	return page.serve(c)
}

// The policies allow a page its own style, and the page of the document its own script.
var (
	pagePolicy = "default-src 'none'; style-src " + hashOf(styleCSS) + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	docsPolicy = pagePolicy + "; script-src " + hashOf(docsJS)
)

// hashOf names an inline style or script in a Content-Security-Policy.
func hashOf(inline string) string {
	sum := sha256.Sum256([]byte(inline))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// languageOf is the language that the query names, or else the one that the browser prefers.
func languageOf(r *http.Request) language {
	switch asked := language(r.URL.Query().Get("lang")); asked {
	case english, chinese:
		return asked
	}
	if weight(r, chinese) > weight(r, english) {
		return chinese
	}
	return english
}

// weight is how much a browser wants a language: from 0 to 1 (RFC 9110, section 12.5.4).
func weight(r *http.Request, of language) float64 {
	most := 0.0
	for offer := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		name, quality, weighted := strings.Cut(strings.TrimSpace(offer), ";q=")
		base, _, _ := strings.Cut(name, "-")
		q := 1.0
		if weighted {
			q, _ = strconv.ParseFloat(quality, 64)
		}
		if strings.EqualFold(base, string(of)) {
			most = max(most, q)
		}
	}
	return most
}

// cached has callers ask again after five minutes, with the ETag that they have.
const cached = "public, max-age=300"

// answer is a body that is the same for every caller.
type answer struct {
	kind, etag string
	body       []byte
	packed     []byte // body in gzip, or nil if it is short
}

// packedFrom is the length from which a body is also kept in gzip.
const packedFrom = 16 << 10

func newAnswer(kind string, body []byte) answer {
	sum := sha256.Sum256(body)
	a := answer{kind: kind, etag: `W/"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`, body: body}
	if len(body) >= packedFrom {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		_, _ = w.Write(body) // into memory, which does not fail
		_ = w.Close()
		a.packed = packed.Bytes()
	}
	return a
}

// serve answers with the body, or with 304 to a caller that has it.
func (a answer) serve(c echo.Context) error {
	asked, header := c.Request().Header, c.Response().Header()
	header.Set("ETag", a.etag)
	header.Add(echo.HeaderVary, echo.HeaderAcceptEncoding)
	header.Set(echo.HeaderCacheControl, cached)
	header.Set(echo.HeaderXContentTypeOptions, "nosniff")
	switch {
	case strings.Contains(asked.Get("If-None-Match"), strings.TrimPrefix(a.etag, "W/")):
		return c.NoContent(http.StatusNotModified)
	case a.packed != nil && takesGzip(asked.Get(echo.HeaderAcceptEncoding)):
		header.Set(echo.HeaderContentEncoding, "gzip")
		return c.Blob(http.StatusOK, a.kind, a.packed)
	}
	return c.Blob(http.StatusOK, a.kind, a.body)
}

// takesGzip reports whether an Accept-Encoding allows gzip.
func takesGzip(accepts string) bool {
	for offer := range strings.SplitSeq(accepts, ",") {
		name, quality, _ := strings.Cut(strings.ReplaceAll(offer, " ", ""), ";")
		if name == "gzip" {
			return quality == "" || strings.Trim(quality, "q=0.") != ""
		}
	}
	return false
}
