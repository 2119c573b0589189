package invitation

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"wxplatform/audit"
	"wxplatform/internal/requestlog"
	"wxplatform/internal/seal"
	"wxplatform/internal/strict"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// Handler serves the routes of this package: those of tenants, and the two pages that merchants
// open.
type Handler struct {
	Service *Service
	Gate    tenant.Gate
}

// Routes adds the routes to e.
func (h Handler) Routes(e *echo.Echo) {
	e.POST("/v1/invitations", h.create)
	e.GET("/v1/invitations", h.list)
	e.GET("/v1/invitations/:invitation", h.show)
	e.DELETE("/v1/invitations/:invitation", h.cancel)
	e.GET("/authorize/:invitation", h.showInvitation)
	e.GET("/authorize/:invitation/done", h.done)
}

// created is the answer to a new invitation, the only one that has the link.
type created struct {
	ID      string    `json:"id"`
	URL     string    `json:"url"`
	Expires time.Time `json:"expires_at"`
}

func (h Handler) create(c echo.Context) error {
	caller, err := h.Gate.Tenant(c.Request(), tenant.AuthorizersWrite)
	if err != nil {
		return err
	}
	var body Request
	if _, err := strict.Body(c.Request(), &body); err != nil {
		return err
	}
	if _, err := strict.Query(c.Request()); err != nil {
		return err
	}
	id, made, err := h.Service.Create(c.Request().Context(), ordered(c, caller), caller.Tenant, body)
	if err != nil {
		return err
	}
	noStore(c)
	return c.JSON(http.StatusCreated, created{id.Reveal(), h.Service.URL(id), made.Expires.UTC()})
}

// shown is what a tenant is shown of its invitation.
type shown struct {
	Status  Status       `json:"status"`
	AppID   wechat.AppID `json:"appid,omitempty"` // the account that was authorized
	State   string       `json:"state,omitempty"`
	Created time.Time    `json:"created_at"`
	Expires time.Time    `json:"expires_at"`
}

func (i Invitation) shown() shown {
	v := shown{Status: i.Status, State: i.State, Created: i.Created.UTC(), Expires: i.Expires.UTC()}
	if i.Status == Authorized {
		v.AppID = i.Bound // nothing is told about an account of another tenant
	}
	return v
}

// view is how an invitation is shown to its tenant, which knows the id already.
type view struct {
	ID string `json:"id"`
	shown
}

func (i Invitation) view(id seal.Secret) view { return view{id.Reveal(), i.shown()} }

// listed is how an invitation is shown in a list. The platform does not store ids, so the hash of
// the id takes its place: the tenant can compute it from the id, and nobody can use it as one.
type listed struct {
	Hash string `json:"id_sha256"`
	shown
}

func (h Handler) show(c echo.Context) error {
	caller, err := h.Gate.Tenant(c.Request(), tenant.AuthorizersRead)
	if err != nil {
		return err
	}
	if _, err := strict.Query(c.Request()); err != nil {
		return err
	}
	i, err := h.Service.Get(c.Request().Context(), caller.Tenant, idOf(c))
	if err != nil {
		return err
	}
	noStore(c)
	return c.JSON(http.StatusOK, i.view(idOf(c)))
}

type pageView struct {
	Invitations []listed `json:"invitations"`
	Next        string   `json:"next,omitempty"` // the after of the next page
}

func (h Handler) list(c echo.Context) error {
	caller, err := h.Gate.Tenant(c.Request(), tenant.AuthorizersRead)
	if err != nil {
		return err
	}
	page, query, err := strict.ListQuery(c.Request(), "status")
	if err != nil {
		return err
	}
	view, err := h.page(c.Request().Context(), caller.Tenant, Status(query.Get("status")), page)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, view)
}

// page reads one more than the page has, to know whether there is a next page.
func (h Handler) page(ctx context.Context, owner tenant.ID, status Status, page strict.Page) (pageView, error) {
	after, err := parsePlace(page.After)
	if err != nil {
		return pageView{}, err
	}
	all, err := h.Service.list(ctx, owner, status, after, page.Limit+1)
	if err != nil {
		return pageView{}, err
	}
	all, next := strict.Cut(page, all, func(i Invitation) string { return i.place().String() })
	view := pageView{[]listed{}, next}
	for _, i := range all {
		view.Invitations = append(view.Invitations, listed{i.hash, i.shown()})
	}
	return view, nil
}

func (h Handler) cancel(c echo.Context) error {
	caller, err := h.Gate.Tenant(c.Request(), tenant.AuthorizersWrite)
	if err != nil {
		return err
	}
	if _, err := strict.Query(c.Request()); err != nil {
		return err
	}
	i, err := h.Service.Cancel(c.Request().Context(), ordered(c, caller), caller.Tenant, idOf(c))
	if err != nil {
		return err
	}
	noStore(c)
	return c.JSON(http.StatusOK, i.view(idOf(c)))
}

// ordered logs that the caller is about to change something, and returns who that is.
func ordered(c echo.Context, caller tenant.Caller) audit.Actor {
	by := caller.Actor()
	requestlog.Add(c.Request().Context(), "actor", string(by))
	return by
}

func idOf(c echo.Context) seal.Secret { return seal.NewSecret(c.Param("invitation")) }

func noStore(c echo.Context) { c.Response().Header().Set(echo.HeaderCacheControl, "no-store") }
