package invitation

import (
	_ "embed"
	"errors"
	"html/template"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wxplatform/internal/requestlog"
	"wxplatform/internal/seal"
	"wxplatform/quota"
	"wxplatform/wechat"
)

//go:embed page.html
var pageHTML string

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// showInvitation answers a browser that opens an invitation's link.
func (h Handler) showInvitation(c echo.Context) error {
	i, err := h.Service.lookUp(c.Request().Context(), idOf(c))
	if err != nil {
		return h.showError(c, err)
	}
	if i.Status != Pending {
		return show(c, i.ended())
	}
	v, err := h.Service.newVisit(c.Request().Context(), idOf(c), i)
	if err != nil {
		return h.showError(c, err)
	}
	proof := cookieOf(c)
	if !proves(proof, idOf(c)) {
		proof = newProof(idOf(c))
	}
	c.SetCookie(h.cookie(cookieName, idOf(c), proof.Reveal(), int(exchangeSlack.Seconds())))
	return show(c, i.invited(v))
}

// done answers a browser that comes back from WeChat's consent page with an auth code. The code may
// come with any invitation's address, so it is exchanged for this invitation only if the cookie
// proves that this browser opened its page.
func (h Handler) done(c echo.Context) error {
	ctx := c.Request().Context()
	i, err := h.Service.lookUp(ctx, idOf(c))
	if err != nil {
		return h.showError(c, err)
	}
	code := seal.NewSecret(c.QueryParam("auth_code"))
	if !plausible(code) || len(c.QueryParams()["auth_code"]) != 1 {
		return show(c, h.startAgain(c))
	}
	proof := cookieOf(c)
	if !proves(proof, idOf(c)) {
		return h.awaitEvent(c, i, code)
	}
	result, err := h.Service.redeem(ctx, code, source{invitation: i.hash, cookie: proof.Hash(), patience: browserWaits})
	if isAny(err, ErrAnswerLost, ErrBusy, ErrEnded, ErrElsewhere) {
		return h.awaitEvent(c, i, code)
	}
	if err != nil {
		return h.showError(c, err)
	}
	return h.redirect(c, i, result)
}

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

// awaitEvent answers a browser whose code only WeChat's event can assign to an invitation: it shows
// the result if the event has come, and otherwise a page that waits.
func (h Handler) awaitEvent(c echo.Context, i Invitation, code seal.Secret) error {
	result, known, err := h.Service.table.savedResult(c.Request().Context(), code, i.hash)
	switch {
	case err != nil:
		return h.showError(c, err)
	case !known:
		return h.wait(c)
	case result.AppID == "":
		return show(c, h.startAgain(c))
	}
	return h.redirect(c, i, result)
}

// maxWaits is how often the waiting page reloads. If a merchant authorizes again and changes
// nothing, WeChat sends no event (docs/wechat.md, "Authorization events"), so the waiting must end.
const maxWaits = 30

// wait shows the page that reloads itself, and counts in a cookie how often it did.
func (h Handler) wait(c echo.Context) error {
	waited := 0
	if found, err := c.Cookie(waitName); err == nil {
		waited, _ = strconv.Atoi(found.Value)
	}
	if waited >= maxWaits {
		p := pageUnproven
		p.Button = h.Service.URL(idOf(c))
		return show(c, p)
	}
	c.SetCookie(h.cookie(waitName, idOf(c), strconv.Itoa(waited+1), maxWaits*pageWait.ReloadSeconds*2))
	return show(c, pageWait)
}

// redirect sends the browser to the tenant with the result of its code.
func (h Handler) redirect(c echo.Context, i Invitation, r Result) error {
	target, err := i.target(idOf(c), r)
	if err != nil {
		return err
	}
	requestlog.Add(c.Request().Context(), "result", string(r.Status))
	setPageHeaders(c)
	return c.Redirect(http.StatusSeeOther, target)
}

func (h Handler) startAgain(c echo.Context) page {
	p := pageRefused
	p.Button = h.Service.URL(idOf(c))
	return p
}

// showError shows the merchant what to do about an error. The log line has the error itself.
func (h Handler) showError(c echo.Context, err error) error {
	requestlog.Add(c.Request().Context(), "error", err.Error())
	tooMany, pause := (*LimitError)(nil), (*quota.PauseError)(nil)
	switch {
	case errors.Is(err, ErrUnknown):
		return show(c, pageUnknown)
	case errors.Is(err, ErrCode):
		return show(c, h.startAgain(c))
	case errors.Is(err, ErrTries):
		return showLater(c, pageTries, exchangeSlack)
	case errors.As(err, &tooMany):
		return showLater(c, pageTooMany, tooMany.Wait)
	case errors.As(err, &pause):
		return showLater(c, pageQuota, time.Until(pause.Until))
	case wechat.Refused(err).IsQuota():
		requestlog.AddTrue(c.Request().Context(), "alarm")
		return showLater(c, pageQuota, time.Until(wechat.Refused(err).Resets(time.Now())))
	}
	return show(c, pageUnavailable)
}

// showLater shows a page that says to come again, and after how long.
func showLater(c echo.Context, p page, wait time.Duration) error {
	c.Response().Header().Set(echo.HeaderRetryAfter, strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
	return show(c, p)
}

func show(c echo.Context, p page) error {
	p.RequestID = requestlog.ID(c.Request().Context())
	var html strings.Builder
	if err := pageTemplate.Execute(&html, p); err != nil {
		return err
	}
	setPageHeaders(c)
	return c.HTML(p.Status, html.String())
}

// setPageHeaders sets the headers of pages and redirects. WeChat's consent page must see which host
// led to it, but nobody may see the path, because it is the invitation.
func setPageHeaders(c echo.Context) {
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
		HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(h.Service.publicURL, "https://"),
	}
}

// cookieOf is the cookie that proves that this browser opened the page, or the zero Secret.
func cookieOf(c echo.Context) seal.Secret {
	found, err := c.Cookie(cookieName)
	if err != nil {
		return seal.Secret{}
	}
	return seal.NewSecret(found.Value)
}
