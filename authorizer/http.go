package authorizer

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"wxplatform/internal/requestlog"
	"wxplatform/internal/strict"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// Handler serves the routes of this package, and admits the requests to every route below
// /v1/authorizers/{appid}.
type Handler struct {
	Authorizers *Registry
	Gate        tenant.Gate
}

// Routes adds the routes to e.
func (h *Handler) Routes(e *echo.Echo) {
	e.GET("/v1/authorizers", h.list)
	e.GET("/v1/authorizers/:appid", h.show)
}

// Admit is Registry.Admit for the caller of a request and the account that its path names. If the
// route has no {appid}, the account is the one that the caller's JWT is bound to; Admit fails with
// ErrUnbound if there is none.
func (h *Handler) Admit(c echo.Context, need Need) (Admitted, error) {
	caller, err := h.Gate.Caller(c.Request())
	if err != nil {
		return Admitted{}, err
	}
	id := account(c, caller)
	if id == "" {
		return Admitted{}, ErrUnbound
	}
	a, err := h.Authorizers.Admit(c.Request().Context(), caller, id, need)
	if err == nil {
		// Before it is admitted, the appid may be any text that a caller sent.
		requestlog.Add(c.Request().Context(), "appid", string(a.AppID))
	}
	return a, err
}

func account(c echo.Context, caller tenant.Caller) wechat.AppID {
	if slices.Contains(c.ParamNames(), "appid") {
		return wechat.AppID(c.Param("appid"))
	}
	return wechat.AppID(caller.AppID)
}

func (h *Handler) list(c echo.Context) error {
	caller, err := h.Gate.Tenant(c.Request(), tenant.AuthorizersRead)
	if err != nil {
		return err
	}
	page, _, err := strict.ListQuery(c.Request())
	if err != nil {
		return err
	}
	if page.After != "" && !wechat.AppID(page.After).Plausible() {
		return &strict.Fault{Field: "after", Why: "is not a valid appid"}
	}
	view, err := h.page(c.Request().Context(), caller.Tenant, page)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, view)
}

type pageView struct {
	Authorizers []View `json:"authorizers"`
	Next        string `json:"next,omitempty"` // the after of the next page
}

// One more than the page is read, to know whether there is a next page.
func (h *Handler) page(ctx context.Context, owner tenant.ID, page strict.Page) (pageView, error) {
	all, err := h.Authorizers.List(ctx, owner, wechat.AppID(page.After), page.Limit+1)
	if err != nil {
		return pageView{}, err
	}
	view := pageView{}
	all, view.Next = strict.Cut(page, all, func(a Authorizer) string { return string(a.AppID) })
	view.Authorizers, err = h.Authorizers.Views(ctx, all)
	return view, err
}

func (h *Handler) show(c echo.Context) error {
	caller, err := h.Gate.Caller(c.Request())
	if err != nil {
		return err
	}
	if err := caller.May(tenant.AuthorizersRead); err != nil {
		return err
	}
	id := wechat.AppID(c.Param("appid"))
	if !caller.MayUse(string(id)) {
		return ErrUnknown
	}
	if _, err := strict.Query(c.Request()); err != nil {
		return err
	}
	a, err := h.Authorizers.current(c.Request().Context(), caller.Tenant, id)
	if err != nil {
		return err
	}
	views, err := h.Authorizers.Views(c.Request().Context(), []Authorizer{a})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, views[0])
}

// View is an authorizer as its tenant and the operator see it. It contains no token.
type View struct {
	AppID          wechat.AppID          `json:"appid"`
	Tenant         tenant.ID             `json:"tenant"`
	NickName       string                `json:"nick_name"`
	Alias          string                `json:"alias"`
	UserName       wechat.UserName       `json:"user_name"`
	PrincipalName  string                `json:"principal_name"`
	Kind           Kind                  `json:"kind"`
	Verified       bool                  `json:"verified"`
	PermissionSets wechat.PermissionSets `json:"permission_sets"`
	State          State                 `json:"state"`
	Reason         string                `json:"reason,omitempty"`
	NextStep       string                `json:"next_step,omitempty"` // what the tenant does about it
	Since          time.Time             `json:"since"`
	NextAttempt    *time.Time            `json:"next_attempt"` // when the platform next tries to get a token on its own
	Token          *TokenView            `json:"token"`        // null while SQL is unavailable
	AuthorizedAt   *time.Time            `json:"authorized_at"`
	ProfileAt      *time.Time            `json:"profile_at"`
}

// view returns the view of a, without the health of its token.
func (a Authorizer) view() View {
	v := View{
		AppID: a.AppID, Tenant: a.Tenant, NickName: a.NickName, Alias: a.Alias, UserName: a.UserName, PrincipalName: a.PrincipalName,
		Kind: a.Kind, Verified: a.Verified(), PermissionSets: a.PermissionSets, State: a.State, Reason: a.Reason, Since: a.Since.UTC(),
		AuthorizedAt: orNil(a.AuthorizedAt), ProfileAt: orNil(a.ProfileAt),
	}
	if a.State.blocks() {
		v.NextStep = NextStep
	}
	return v
}

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
