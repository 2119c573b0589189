package openapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"wxplatform/docs"
)

// Handler serves the document.
type Handler struct{}

// Routes adds the routes to e.
func (Handler) Routes(e *echo.Echo) {
	e.GET("/openapi.json", newAnswer("application/json", docs.OpenAPI).serve)
}

// cached has callers ask again after five minutes, with the ETag that they have.
const cached = "public, max-age=300"

// answer is a body that is the same for every caller.
type answer struct {
	kind, etag string
	body       []byte
}

func newAnswer(kind string, body []byte) answer {
	sum := sha256.Sum256(body)
	return answer{kind, `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`, body}
}

// serve answers with the body, or with 304 to a caller that has it.
func (a answer) serve(c echo.Context) error {
	header := c.Response().Header()
	header.Set(echo.HeaderContentType, a.kind)
	header.Set("ETag", a.etag)
	header.Set(echo.HeaderCacheControl, cached)
	header.Set(echo.HeaderXContentTypeOptions, "nosniff")
	http.ServeContent(c.Response(), c.Request(), "", time.Time{}, bytes.NewReader(a.body))
	return nil
}
