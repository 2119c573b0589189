package relay

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wxplatform/internal/requestlog"
	"wxplatform/wechat"
)

// Handler serves the APIs that need no package of their own, at both doors.
type Handler struct {
	Service   *Service
	Catalogue *Catalogue
	Native    Door
	DropIn    Door
	// Checks has the Request.Check of some APIs, by path.
	Checks map[string]func(wechat.Object) (lacks string)
}

// transferTime limits a request that uploads or downloads, instead of the server's time-outs.
const transferTime = 10 * time.Minute

// Routes adds the routes of both doors to e.
func (h Handler) Routes(e *echo.Echo) {
	e.Any(nativePrefix+":appid/*", func(c echo.Context) error { return h.relay(c, h.Native) })
	for _, root := range h.Catalogue.Roots() {
		e.Any(root+"/*", func(c echo.Context) error { return h.relay(c, h.DropIn) })
	}
}

func (h Handler) relay(c echo.Context, d Door) error {
	if methods := tokenCalls[c.Request().URL.Path]; methods != nil {
		allow(c, methods)
		return &MethodError{methods}
	}
	a, api, err := d.Admit(c)
	if err != nil {
		return err
	}
	if c.Request().ContentLength > keptLimit {
		extend(c)
	}
	request, err := d.Read(c, api)
	if err != nil {
		return err
	}
	request.Check = h.Checks[api.Path]
	if request.streams() {
		extend(c)
	}
	answer, end, err := h.Service.Call(c.Request().Context(), a, request)
	if err != nil {
		stopReading(c, request)
		return err
	}
	defer end()
	return HandOn(c, answer)
}

// stopReading ends an upload that failed. WeChat may have refused it early, while package wechat
// still waits for a slow caller's next bytes, and net/http would wait for those too.
func stopReading(c echo.Context, request Request) {
	if request.Upload != nil {
		_ = http.NewResponseController(c.Response()).SetReadDeadline(time.Now())
	}
}

// extend gives a request that transfers a file more time than the server gives others. A body that
// is kept arrives before that, in the server's time: it holds no slot, so nothing else would limit
// how many slow ones a tenant sends.
func extend(c echo.Context) {
	control := http.NewResponseController(c.Response())
	until := time.Now().Add(transferTime)
	_, _ = control.SetReadDeadline(until), control.SetWriteDeadline(until)
}

// handedOn are the fields of WeChat's answers that callers get, besides Wechatmp-*.
var handedOn = []string{"Content-Type", "Content-Disposition", "Content-Encoding"}

// These header fields are shared by all answers, so that none allocates them.
var (
	noSniffing = []string{"nosniff"}
	sandboxed  = []string{"default-src 'none'; sandbox"}
	noStore    = []string{"no-store"}
)

// HandOn answers with WeChat's answer, byte for byte. No browser may take it for a page of ours.
func HandOn(c echo.Context, answer wechat.Answer) error {
	header := c.Response().Header()
	header["Content-Type"] = nil // so that net/http does not guess one
	for _, f := range answer.Header {
		if slices.Contains(handedOn, f.Name) || strings.HasPrefix(f.Name, signaturePrefix) {
			header[f.Name] = append(header[f.Name], f.Value)
		}
	}
	header["X-Content-Type-Options"], header["Content-Security-Policy"], header["Cache-Control"] = noSniffing, sandboxed, noStore
	if answer.Stream != nil {
		return stream(c, answer)
	}
	header.Set("Content-Length", strconv.Itoa(len(answer.Body)))
	c.Response().WriteHeader(http.StatusOK)
	_, err := c.Response().Write(answer.Body)
	return err
}

// stream hands on an answer while it arrives. One that is cut is cut for the caller too, so that it
// never looks complete.
func stream(c echo.Context, answer wechat.Answer) error {
	defer func() { _ = answer.Stream.Close() }()
	if answer.StreamLength >= 0 {
		c.Response().Header().Set("Content-Length", strconv.FormatInt(answer.StreamLength, 10))
	}
	c.Response().WriteHeader(http.StatusOK)
	if _, err := io.Copy(c.Response(), answer.Stream); err != nil {
		requestlog.Add(c.Request().Context(), "error", "the transfer was cut")
		panic(http.ErrAbortHandler)
	}
	return nil
}
