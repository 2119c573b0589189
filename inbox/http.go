package inbox

import (
	"fmt"
	"io"
	"net/http"

	"github.com/labstack/echo/v4"

	"wxplatform/internal/strict"
	"wxplatform/wechat"
)

// pushLimit is the largest push that is read. WeChat's messages are some KiB long.
const pushLimit = 256 << 10

// Handler serves the routes of this package.
type Handler struct{ Inbox *Inbox }

// Routes adds WeChat's two callback URLs to e, and the GET with which WeChat's console checks each
// of them (docs/wechat.md, "URL validation").
func (h Handler) Routes(e *echo.Echo) {
	e.POST("/wechat/events", h.event)
	e.POST("/wechat/:appid/messages", h.message)
	e.GET("/wechat/events", h.echo)
	e.GET("/wechat/:appid/messages", h.echo)
}

func (h Handler) event(c echo.Context) error {
	push, err := readPush(c.Request())
	if err == nil {
		err = h.Inbox.Component(c.Request().Context(), push)
	}
	if err != nil {
		return h.refused(err)
	}
	return c.Blob(http.StatusOK, echo.MIMETextPlainCharsetUTF8, success)
}

func (h Handler) message(c echo.Context) error {
	push, err := readPush(c.Request())
	if err != nil {
		return h.refused(err)
	}
	answer, err := h.Inbox.Message(c.Request().Context(), wechat.AppID(c.Param("appid")), push)
	if err != nil {
		return h.refused(err)
	}
	return c.Blob(http.StatusOK, echo.MIMETextXMLCharsetUTF8, answer)
}

// refused counts a push that is refused with err, and returns err.
func (h Handler) refused(err error) error {
	h.Inbox.Counts.refuse(reasonOf(err))
	return err
}

func (h Handler) echo(c echo.Context) error {
	query := c.QueryParams()
	if err := h.Inbox.envelope.CheckEcho(query.Get("timestamp"), query.Get("nonce"), query.Get("signature")); err != nil {
		return fmt.Errorf("%w: %w", ErrNotAuthentic, err)
	}
	c.Response().Header().Set("X-Content-Type-Options", "nosniff")
	return c.String(http.StatusOK, query.Get("echostr"))
}

// readPush reads a push. One that cannot be read fails with ErrNotAuthentic, because WeChat's own
// can.
func readPush(r *http.Request) (wechat.Push, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, pushLimit+1))
	if err != nil {
		return wechat.Push{}, fmt.Errorf("%w: %w", ErrNotAuthentic, errCut)
	}
	if len(body) > pushLimit {
		return wechat.Push{}, strict.ErrTooLarge
	}
	encrypt, err := wechat.ReadEncrypt(body)
	if err != nil {
		return wechat.Push{}, fmt.Errorf("%w: %w", ErrNotAuthentic, err)
	}
	query := r.URL.Query()
	return wechat.Push{
		Timestamp: query.Get("timestamp"), Nonce: query.Get("nonce"),
		Signature: query.Get("msg_signature"), Encrypt: encrypt,
	}, nil
}
