package tenant

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAGateReadsTheJWTFromItsOwnSourceAlone(t *testing.T) {
	w := newWorld(t)
	jwt := w.token()
	for name, c := range map[string]struct {
		gate   Gate
		header string
		query  string
		want   error
	}{
		"header":                      {Gate{}, "Bearer " + jwt, "", nil},
		"header, with another query":  {Gate{}, "Bearer " + jwt, "access_token=garbage", nil},
		"header, but in the query":    {Gate{}, "", "access_token=" + jwt, ErrNoToken},
		"query":                       {Gate{Query: "access_token"}, "", "access_token=" + jwt, nil},
		"query, at any place":         {Gate{Query: "access_token"}, "", "a=1&access_token=" + jwt + "&b=%40", nil},
		"query, with another header":  {Gate{Query: "access_token"}, "Bearer garbage", "access_token=" + jwt, nil},
		"query, but in the header":    {Gate{Query: "access_token"}, "Bearer " + jwt, "", ErrNoToken},
		"query, empty":                {Gate{Query: "access_token"}, "", "access_token=", ErrNoToken},
		"query, twice":                {Gate{Query: "access_token"}, "", "access_token=" + jwt + "&access_token=" + jwt, ErrInvalidToken},
		"query, with another's empty": {Gate{Query: "access_token"}, "", "access_token=&access_token=" + jwt, ErrInvalidToken},
		"query, by another name":      {Gate{Query: "access_token"}, "", "Access_token=" + jwt, ErrNoToken},
		"query, not readable":         {Gate{Query: "access_token"}, "", "access_token=" + jwt + "&a=%zz", ErrInvalidToken},
		"query, too long":             {Gate{Query: "access_token"}, "", "access_token=" + strings.Repeat("x", longestJWT+1), ErrInvalidToken},
	} {
		c.gate.Tenants = w.Registry
		r := httptest.NewRequest("GET", "/x?"+c.query, nil)
		if c.header != "" {
			r.Header.Set("Authorization", c.header)
		}
		caller, err := c.gate.Caller(r)
		if !errors.Is(err, c.want) || c.want == nil && (err != nil || caller.Client != w.client.ID) {
			t.Errorf("%s: got %+v, %v, want %v", name, caller, err, c.want)
		}
	}
}

func TestASecondAuthorizationHeaderIsRefused(t *testing.T) {
	w := newWorld(t)
	jwt := w.token()
	for name, second := range map[string]string{"the same": "Bearer " + jwt, "another": "Bearer garbage", "empty": "", "Basic": "Basic YTpi"} {
		for _, gate := range []Gate{{Tenants: w.Registry}, {Tenants: w.Registry, Query: "access_token"}} {
			r := httptest.NewRequest("GET", "/x?access_token="+jwt, nil)
			r.Header["Authorization"] = []string{"Bearer " + jwt, second}
			if _, err := gate.Caller(r); !errors.Is(err, ErrInvalidToken) {
				t.Errorf("%s, gate %+v: got %v, want ErrInvalidToken", name, gate.Query, err)
			}
		}
	}
}

func TestAJWTForOneAccountIsForNoOther(t *testing.T) {
	p := newPen(newWorld(t))
	const other = "wx00000000000000bb"
	bound, free := p.accepts(p.write(nil, map[string]any{"appid": shop})), p.accepts(p.token())
	if bound.AppID != shop || !bound.MayUse(shop) || bound.MayUse(other) || bound.MayUse("") {
		t.Errorf("got %+v, want it for %s alone", bound, shop)
	}
	if free.AppID != "" || !free.MayUse(shop) || !free.MayUse(other) {
		t.Errorf("got %+v, want it for any account", free)
	}
	for _, appid := range []any{"", 1, []string{shop}, map[string]string{}, true} {
		p.refuses(p.write(nil, map[string]any{"appid": appid}), ErrInvalidToken, "appid")
	}
	p.refuses(p.sign(with(p.header, nil), `{"appid":null,`+with(p.claims, nil)[1:]), ErrInvalidToken, "appid")
}

func TestAJWTForOneAccountIsNotEnoughForTheTenant(t *testing.T) {
	p := newPen(newWorld(t))
	gate := Gate{Tenants: p.Registry}
	for appid, want := range map[string]error{"": nil, "wx00000000000000aa": ErrInsufficientScope} {
		claims := map[string]any{}
		if appid != "" {
			claims["appid"] = appid
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+p.write(nil, claims))
		if _, err := gate.Tenant(r, KFSessionRead); !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Errorf("appid %q: got %v, want %v", appid, err, want)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+p.token())
	_, err := gate.Tenant(r, AuthorizersWrite)
	wantErr(t, err, ErrInsufficientScope)
	must(t, p.Suspend(t.Context(), tester, p.tenant.ID))
	_, err = gate.Tenant(r, KFSessionRead)
	wantErr(t, err, ErrSuspended)
}
