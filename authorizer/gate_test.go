package authorizer

import (
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/labstack/echo/v4"

	"wxplatform/internal/dbtest"
	"wxplatform/tenant"
)

func TestAJWTForOneAccountIsNotAdmittedToAnother(t *testing.T) {
	r := registry(t, dbtest.Open(t, dbtest.SQLiteURL(t)))
	if err := r.Move(ctx, tester, id, "one"); err != nil {
		t.Fatal(err)
	}
	for appid, want := range map[string]error{"": nil, string(id): nil, "wx00000000000000ff": ErrUnknown} {
		caller := tenant.Caller{Tenant: "one", Scopes: tenant.Every, AppID: appid}
		if _, err := r.Admit(ctx, caller, id, Need{Scope: tenant.KFSessionRead}); !errors.Is(err, want) || want == nil && errors.Is(err, ErrUnknown) {
			t.Errorf("a JWT for %q: got %v, want %v", appid, err, want)
		}
	}
}

func TestTheAccountComesFromThePathOrTheJWT(t *testing.T) {
	for _, c := range []struct {
		names, values []string
		bound         string
		want          string
	}{
		{[]string{"appid"}, []string{"wx1"}, "", "wx1"},
		{[]string{"appid"}, []string{"wx1"}, "wx2", "wx1"},
		{[]string{"appid"}, []string{""}, "wx2", ""},
		{nil, nil, "wx2", "wx2"},
		{nil, nil, "", ""},
	} {
		e := echo.New().NewContext(httptest.NewRequest("GET", "/", nil), nil)
		e.SetParamNames(c.names...)
		e.SetParamValues(c.values...)
		if got := account(e, tenant.Caller{AppID: c.bound}); string(got) != c.want {
			t.Errorf("path %v, JWT %q: got %q, want %q", c.values, c.bound, got, c.want)
		}
	}
}
