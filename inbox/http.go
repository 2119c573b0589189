package inbox

import (
	"fmt"
	"io"
	"net/http"

	"github.com/labstack/echo/v4"

	"wxplatform/internal/strict"
	"wxplatform/wechat"
)

// pushLimit is the largest push that is read: sealing and base64 make WeChat's messages of some KiB a third larger.
const pushLimit = 256 << 10

// Door is the routes of this package.
type Door struct{ Inbox *Inbox }

// Routes adds them to e: WeChat's two callback URLs, and the GET by which its console probes each.
func (d Door) Routes(e *echo.Echo) {
	e.POST("/wechat/events", d.event)
	e.POST("/wechat/:appid/messages", d.message)
	e.GET("/wechat/events", d.echo)
	e.GET("/wechat/:appid/messages", d.echo)
}

func (d Door) event(c echo.Context) error {
	push, err := readPush(c.Request())
	if err == nil {
		err = d.Inbox.Component(c.Request().Context(), push)
	}
	if err != nil {
		return d.refused(err)
	}
	return c.Blob(http.StatusOK, echo.MIMETextPlainCharsetUTF8, success)
}

func (d Door) message(c echo.Context) error {
	push, err := readPush(c.Request())
	if err != nil {
		return d.refused(err)
	}
	answer, err := d.Inbox.Message(c.Request().Context(), wechat.AppID(c.Param("appid")), push)
	if err != nil {
		return d.refused(err)
	}
	return c.Blob(http.StatusOK, echo.MIMETextXMLCharsetUTF8, answer)
}

// refused counts a push that is refused with err, which it hands back.
func (d Door) refused(err error) error {
	d.Inbox.Counts.refuse(reasonOf(err))
	return err
}

func (d Door) echo(c echo.Context) error {
	query := c.QueryParams()
	if err := d.Inbox.envelope.CheckEcho(query.Get("timestamp"), query.Get("nonce"), query.Get("signature")); err != nil {
		return fmt.Errorf("%w: %w", ErrNotAuthentic, err)
	}
	c.Response().Header().Set("X-Content-Type-Options", "nosniff")
	return c.String(http.StatusOK, query.Get("echostr"))
}

// Whatever cannot be read is not authentic: WeChat's own pushes can.
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
	return wechat.Push{Timestamp: query.Get("timestamp"), Nonce: query.Get("nonce"), Signature: query.Get("msg_signature"), Encrypt: encrypt}, nil
}
