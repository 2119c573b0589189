package tenant

import (
	"context"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"wxplatform/audit"
	"wxplatform/internal/strict"
)

// TrailHandler serves each tenant the entries of the audit trail that are about what it owns.
type TrailHandler struct {
	Trail *audit.Trail
	Gate  Gate
}

// Routes adds the route to e.
func (h TrailHandler) Routes(e *echo.Echo) { e.GET("/v1/audit", h.list) }

func (h TrailHandler) list(c echo.Context) error {
	caller, err := h.Gate.Tenant(c.Request(), AuditRead)
	if err != nil {
		return err
	}
	page, _, err := strict.ListQuery(c.Request())
	if err != nil {
		return err
	}
	after, err := readAfter(page.After)
	if err != nil {
		return err
	}
	view, err := h.page(c.Request().Context(), caller.Tenant, after, page)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, view)
}

// readAfter reads the ID of an entry. 0 is before the first one.
func readAfter(text string) (audit.ID, error) {
	if text == "" {
		return 0, nil
	}
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 0 {
		return 0, &strict.Fault{Field: "after", Why: "is not the id of an entry"}
	}
	return audit.ID(id), nil
}

type entriesView struct {
	Entries []audit.View `json:"entries"`
	Next    string       `json:"next,omitempty"` // the after of the next page
}

// One more than the page is read, to know whether there is a next page.
func (h TrailHandler) page(ctx context.Context, owner ID, after audit.ID, page strict.Page) (entriesView, error) {
	all, err := h.Trail.List(ctx, audit.Owner(owner), after, page.Limit+1)
	if err != nil {
		return entriesView{}, err
	}
	view := entriesView{Entries: []audit.View{}}
	all, view.Next = strict.Cut(page, all, func(e audit.Entry) string { return strconv.FormatInt(int64(e.ID), 10) })
	for _, e := range all {
		view.Entries = append(view.Entries, e.TenantView())
	}
	return view, nil
}
