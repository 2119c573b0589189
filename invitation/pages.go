package invitation

import (
	_ "embed"
	"errors"
	"html/template"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"wxplatform/internal/requestlog"
	"wxplatform/internal/seal"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// sheet is one page: what stands on it, in Chinese and in English.
type sheet struct {
	Status        int
	Title, Say    string // Chinese
	TitleEN       string
	SayEN         string
	Tenant        string
	Button        string // where the button leads; "" is no button
	ButtonText    string
	ButtonTextEN  string
	ReloadSeconds int
	RequestID     string
}

// The sheets that say how an invitation or a code came out.
var (
	sheetUnknown = sheet{Status: 404, Title: "链接无效", Say: "这个授权链接不存在。请向发给您链接的服务商索取新的链接。",
		TitleEN: "This link is not valid", SayEN: "There is no such invitation. Please ask whoever sent you the link for a new one."}
	sheetEnded = sheet{Status: 410, Title: "链接已失效", Say: "这个授权链接已被使用、取消或已过期。如需授权，请向服务商索取新的链接。",
		TitleEN: "This link has ended", SayEN: "This invitation was used, cancelled or has expired. Please ask for a new one if you still want to authorize."}
	sheetWait = sheet{Status: 200, Title: "正在确认授权", Say: "正在等待微信确认，本页会自动刷新，请稍候。",
		TitleEN: "Waiting for WeChat", SayEN: "WeChat is confirming your authorization. This page reloads by itself.", ReloadSeconds: 2}
	sheetRefused = sheet{Status: 400, Title: "授权未完成", Say: "微信没有确认这次授权：授权码无效、已使用或已过期。请重新开始。",
		TitleEN: "The authorization was not completed", SayEN: "WeChat did not confirm it: the code is invalid, used or expired. Please start again."}
	sheetTrouble = sheet{Status: 503, Title: "暂时无法完成", Say: "系统或微信暂时没有响应。您的授权不会丢失，请稍后重试。",
		TitleEN: "Not possible right now", SayEN: "We or WeChat did not answer in time. Nothing is lost. Please try again in a moment."}
)

func (d Door) page(c echo.Context) error {
	i, err := d.Desk.open(c.Request().Context(), idOf(c))
	if err != nil {
		return d.trouble(c, err)
	}
	if i.Status != Pending {
		return show(c, sheetEnded)
	}
	v, err := d.Desk.welcome(c.Request().Context(), idOf(c), i)
	if err != nil {
		return d.trouble(c, err)
	}
	c.SetCookie(d.cookie(idOf(c), v.cookie))
	return show(c, sheet{
		Status: 200, Tenant: v.tenant, Button: v.consent,
		Title: "公众号授权", Say: "请求您授权其管理您的微信公众号。点击下方按钮前往微信，由公众号管理员确认。您可以随时在微信公众平台取消授权。",
		TitleEN: "Authorize your Official Account", SayEN: "asks you to let it act for your WeChat Official Account. The button leads to WeChat, where the account's administrator confirms. You can withdraw at any time on WeChat's own platform.",
		ButtonText: "前往微信授权", ButtonTextEN: "Continue to WeChat",
	})
}

func (d Door) done(c echo.Context) error {
	ctx := c.Request().Context()
	i, err := d.Desk.open(ctx, idOf(c))
	if err != nil {
		return d.trouble(c, err)
	}
	code := seal.NewSecret(c.QueryParam("auth_code"))
	if code.IsZero() || len(c.QueryParams()["auth_code"]) != 1 {
		return show(c, d.startAgain(c))
	}
	proven, err := d.Desk.proven(ctx, d.proof(c), i)
	if err != nil {
		return d.trouble(c, err)
	}
	if !proven {
		return d.await(c, i, code)
	}
	result, err := d.Desk.redeem(ctx, code, source{invitation: i.hash})
	if errors.Is(err, ErrAnswerLost) || errors.Is(err, ErrBusy) {
		return d.await(c, i, code)
	}
	if err != nil {
		return d.trouble(c, err)
	}
	return d.finish(c, i, result)
}

// await answers a browser that cannot prove that it opened the invitation: only WeChat's event says whose the code is, and the browser is told when it has come.
func (d Door) await(c echo.Context, i Invitation, code seal.Secret) error {
	result, known, err := d.Desk.resultOf(c.Request().Context(), code, i.hash)
	switch {
	case err != nil:
		return d.trouble(c, err)
	case !known:
		return show(c, sheetWait)
	case result.AppID == "":
		return show(c, d.startAgain(c))
	}
	return d.finish(c, i, result)
}

// A code that came by another invitation says nothing about this one.
func (d Door) finish(c echo.Context, i Invitation, r Result) error {
	target, err := i.target(idOf(c), r)
	if err != nil {
		return err
	}
	requestlog.Add(c.Request().Context(), "result", string(r.Status))
	safe(c)
	return c.Redirect(http.StatusSeeOther, target)
}

func (d Door) startAgain(c echo.Context) sheet {
	s := sheetRefused
	s.Button, s.ButtonText, s.ButtonTextEN = d.Desk.URL(idOf(c)), "重新开始", "Start again"
	return s
}

// trouble shows what went wrong to the merchant, and leaves the rest to the log line.
func (d Door) trouble(c echo.Context, err error) error {
	requestlog.Add(c.Request().Context(), "error", err.Error())
	switch {
	case errors.Is(err, ErrUnknown):
		return show(c, sheetUnknown)
	case errors.Is(err, ErrCode):
		return show(c, d.startAgain(c))
	}
	return show(c, sheetTrouble)
}

func show(c echo.Context, s sheet) error {
	s.RequestID = requestlog.ID(c.Request().Context())
	var page strings.Builder
	if err := pageTemplate.Execute(&page, s); err != nil {
		return err
	}
	safe(c)
	return c.HTML(s.Status, page.String())
}

// WeChat's consent page wants to see the host that leads to it, and nobody may see the path, which is the invitation.
func safe(c echo.Context) {
	header := c.Response().Header()
	header.Set("Referrer-Policy", "origin")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Frame-Options", "DENY")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Robots-Tag", "noindex")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
}

const cookieName = "wxplatform_invitation"

func (d Door) cookie(id, value seal.Secret) *http.Cookie {
	return &http.Cookie{
		Name: cookieName, Value: value.Reveal(), Path: "/authorize/" + id.Reveal(), MaxAge: int(exchangeSlack.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: strings.HasPrefix(d.Desk.publicURL, "https://"),
	}
}

func (d Door) proof(c echo.Context) seal.Secret {
	found, err := c.Cookie(cookieName)
	if err != nil {
		return seal.Secret{}
	}
	return seal.NewSecret(found.Value)
}
