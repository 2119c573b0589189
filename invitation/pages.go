package invitation

import (
	_ "embed"
	"errors"
	"html/template"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"wxplatform/internal/requestlog"
	"wxplatform/internal/seal"
	"wxplatform/wechat"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// sheet is one page: what stands on it, in Chinese and in English.
type sheet struct {
	Status        int
	Title, Say    string // Chinese
	Note          string // below the button; may be empty
	TitleEN       string
	SayEN, NoteEN string
	Tenant        string       // who is asking
	Account       wechat.AppID // the only account that may authorize; "" is any
	Button        string       // where the button leads; "" is no button
	ButtonText    string
	ButtonTextEN  string
	Again         bool // a button that opens this very address again
	ReloadSeconds int
	RequestID     string
}

// What stands on the invitation's page, and on those that say how an invitation or a code came out.
var (
	sheetInvited = sheet{Status: 200, Title: "微信公众号授权", Say: "请求您授权其代为管理您的微信公众号，权限以您在微信页面上勾选的为准。",
		TitleEN: "Authorize your Official Account", SayEN: "asks you to let it act for your WeChat Official Account, within the permissions that you tick on WeChat's page.",
		ButtonText: "前往微信授权", ButtonTextEN: "Continue to WeChat"}
	notePC       = "点击后由公众号管理员用手机微信扫码确认。" + noteAlways
	noteMobile   = "请在手机微信中打开本页，由公众号管理员点击并确认。" + noteAlways
	noteAlways   = "微信页面上显示的是服务商所用第三方平台的名称。如微信提示链接失效，请刷新本页后再试。您可以随时在微信公众平台取消授权。"
	notePCEN     = "The account's administrator scans a code with WeChat and confirms. " + noteAlwaysEN
	noteMobileEN = "Open this page inside WeChat on the phone of the account's administrator, who confirms. " + noteAlwaysEN
	noteAlwaysEN = "WeChat's page shows the name of the third-party platform that is used for this. If WeChat says that the link has ended, reload this page. You can withdraw at any time on WeChat's own platform."

	sheetUnknown = sheet{Status: 404, Title: "链接无效", Say: "这个授权链接不存在，请检查链接是否完整，或向发给您链接的服务商索取新的链接。",
		TitleEN: "This link is not valid", SayEN: "There is no such invitation. Please check that the link is complete, or ask whoever sent it for a new one."}
	sheetUsed = sheet{Status: 410, Title: "已完成授权", Say: "这个链接已经完成授权，无需再次操作。如需授权其他公众号，请向服务商索取新的链接。",
		TitleEN: "Already authorized", SayEN: "This link has done its work and nothing is left to do. Please ask for a new one to authorize another account."}
	sheetEnded = sheet{Status: 410, Title: "链接已失效", Say: "这个授权链接已被使用、取消或已过期。如需授权，请向服务商索取新的链接。",
		TitleEN: "This link has ended", SayEN: "This invitation was used, cancelled or has expired. Please ask for a new one if you still want to authorize."}
	sheetWait = sheet{Status: 200, Title: "正在确认授权", Say: "正在等待微信确认，本页会自动刷新，请稍候。", ReloadSeconds: 2,
		Note:    "如果一分钟后仍未完成，可以关闭本页，到服务商处查看授权结果。",
		TitleEN: "Waiting for WeChat", SayEN: "WeChat is confirming your authorization. This page reloads by itself.",
		NoteEN: "If it takes longer than a minute, you may close this page and look for the result where you started."}
	sheetUnproven = sheet{Status: 200, Title: "未能确认授权", Say: "微信没有发来新的确认。如果您之前已经授权过并且没有改变权限，请用同一个浏览器重新打开授权链接，再确认一次。",
		TitleEN: "Not confirmed", SayEN: "WeChat sent no new confirmation. If you had authorized before and changed nothing, open the link again and confirm once more in this same browser.",
		ButtonText: "重新打开授权链接", ButtonTextEN: "Open the link again"}
	sheetRefused = sheet{Status: 400, Title: "授权未完成", Say: "微信没有确认这次授权，可能已经过期或已经用过，请重新开始。",
		TitleEN: "The authorization was not completed", SayEN: "WeChat did not confirm it: it has expired or was used before. Please start again.",
		ButtonText: "重新开始", ButtonTextEN: "Start again"}
	sheetTrouble = sheet{Status: 503, Title: "暂时无法完成", Say: "系统或微信暂时没有响应，请稍后重试。", Again: true,
		Note:    "如果您已经在微信确认，这次确认仍然有效，无需重新授权。",
		TitleEN: "Not possible right now", SayEN: "We or WeChat did not answer in time. Please try again in a moment.",
		NoteEN: "If you have confirmed on WeChat already, that remains in force."}
)

// invited is the page of i, which is pending.
func (i Invitation) invited(v visit) sheet {
	s := sheetInvited
	s.Tenant, s.Account, s.Button = v.tenant, i.AppID, v.consent
	s.Note, s.NoteEN = notePC, notePCEN
	if i.Kind == Mobile {
		s.Note, s.NoteEN = noteMobile, noteMobileEN
	}
	return s
}

// ended is the page of i, which is not pending.
func (i Invitation) ended() sheet {
	if i.Status == Authorized {
		return sheetUsed
	}
	return sheetEnded
}

func (h Handler) page(c echo.Context) error {
	i, err := h.Service.open(c.Request().Context(), idOf(c))
	if err != nil {
		return h.trouble(c, err)
	}
	if i.Status != Pending {
		return show(c, i.ended())
	}
	v, err := h.Service.welcome(c.Request().Context(), idOf(c), i)
	if err != nil {
		return h.trouble(c, err)
	}
	c.SetCookie(h.cookie(cookieName, idOf(c), v.cookie.Reveal(), int(exchangeSlack.Seconds())))
	return show(c, i.invited(v))
}

func (h Handler) done(c echo.Context) error {
	ctx := c.Request().Context()
	i, err := h.Service.open(ctx, idOf(c))
	if err != nil {
		return h.trouble(c, err)
	}
	code := seal.NewSecret(c.QueryParam("auth_code"))
	if code.IsZero() || len(c.QueryParams()["auth_code"]) != 1 {
		return show(c, h.startAgain(c))
	}
	proven, err := h.Service.proven(ctx, h.proof(c), i)
	if err != nil {
		return h.trouble(c, err)
	}
	if !proven {
		return h.await(c, i, code)
	}
	result, err := h.Service.redeem(ctx, code, source{invitation: i.hash, patience: waitWhole})
	if errors.Is(err, ErrAnswerLost) || errors.Is(err, ErrBusy) {
		return h.await(c, i, code)
	}
	if err != nil {
		return h.trouble(c, err)
	}
	return h.finish(c, i, result)
}

// await answers a browser that cannot prove that it opened the invitation: only WeChat's event says whose the code is, and the browser is told when it has come.
func (h Handler) await(c echo.Context, i Invitation, code seal.Secret) error {
	result, known, err := h.Service.resultOf(c.Request().Context(), code, i.hash)
	switch {
	case err != nil:
		return h.trouble(c, err)
	case !known:
		return h.wait(c)
	case result.AppID == "":
		return show(c, h.startAgain(c))
	}
	return h.finish(c, i, result)
}

// Where a merchant authorizes again and changes nothing, WeChat sends no event (wechat-protocol §1.4): so the waiting ends.
const waitsMost = 30

// wait shows the page that reloads itself, and counts in a cookie how often it did.
func (h Handler) wait(c echo.Context) error {
	waited := 0
	if found, err := c.Cookie(waitName); err == nil {
		waited, _ = strconv.Atoi(found.Value)
	}
	if waited >= waitsMost {
		s := sheetUnproven
		s.Button = h.Service.URL(idOf(c))
		return show(c, s)
	}
	c.SetCookie(h.cookie(waitName, idOf(c), strconv.Itoa(waited+1), waitsMost*sheetWait.ReloadSeconds*2))
	return show(c, sheetWait)
}

// A code that came by another invitation says nothing about this one.
func (h Handler) finish(c echo.Context, i Invitation, r Result) error {
	target, err := i.target(idOf(c), r)
	if err != nil {
		return err
	}
	requestlog.Add(c.Request().Context(), "result", string(r.Status))
	safe(c)
	return c.Redirect(http.StatusSeeOther, target)
}

func (h Handler) startAgain(c echo.Context) sheet {
	s := sheetRefused
	s.Button = h.Service.URL(idOf(c))
	return s
}

// trouble shows what went wrong to the merchant, and leaves the rest to the log line.
func (h Handler) trouble(c echo.Context, err error) error {
	requestlog.Add(c.Request().Context(), "error", err.Error())
	switch {
	case errors.Is(err, ErrUnknown):
		return show(c, sheetUnknown)
	case errors.Is(err, ErrCode):
		return show(c, h.startAgain(c))
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

const (
	cookieName = "wxplatform_invitation"
	waitName   = "wxplatform_wait"
)

func (h Handler) cookie(name string, id seal.Secret, value string, seconds int) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, Path: "/authorize/" + id.Reveal(), MaxAge: seconds,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: strings.HasPrefix(h.Service.publicURL, "https://"),
	}
}

func (h Handler) proof(c echo.Context) seal.Secret {
	found, err := c.Cookie(cookieName)
	if err != nil {
		return seal.Secret{}
	}
	return seal.NewSecret(found.Value)
}
