package relay

import (
	"errors"
	"testing"
)

func TestDeniedPaths(t *testing.T) {
	c := loaded(t)
	for path, want := range map[string]bool{
		"/cgi-bin/token":                               true,
		"/cgi-bin/TOKEN":                               true,
		"/cgi-bin/token/":                              true,
		"/cgi-bin/stable_token":                        true,
		"/cgi-bin/clear_quota/v2":                      true,
		"/cgi-bin/component/api_query_auth":            true,
		"/cgi-bin/component/api_authorizer_token":      true,
		"/cgi-bin/Component/api_component_token":       true,
		"/cgi-bin/component":                           true,
		"/cgi-bin/component/api_get_authorizer_option": true, // the old form, with the component's token
		"/componenttcb/describeenvs":                   true,
		"/sns/jscode2session":                          true,
		"/sns/oauth2/access_token":                     true,
		"/wxa/gettemplatelist":                         true,
		"/wxa/deletetemplate":                          true,
		"/cgi-bin/component/setprivacysetting":         false,
		"/cgi-bin/component/get_authorizer_option":     false,
		"/cgi-bin/component/getprivacysetting/x":       true,
		"/cgi-bin/clear_quota":                         false,
		"/cgi-bin/tokens":                              false,
		"/customservice/kfsession/close":               false,
	} {
		if got := c.Denied(path); got != want {
			t.Errorf("%s: got denied %v, want %v", path, got, want)
		}
	}
}

func TestWhatWechatAnyReaches(t *testing.T) {
	c := loaded(t)
	for path, want := range map[string]bool{
		"/cgi-bin/guide/newthing":                  true,
		"/shop/spu/add":                            true,
		"/wxa/v2.1/new-thing_x":                    true,
		"/cgi-bin/component/get_authorizer_option": false, // listed
		"/cgi-bin/component/api_query_auth":        false,
		"/cgi-bin/menu/create":                     false, // it is listed, so its own scope is needed
		"/CustomService/kfsession/close":           false,
		"/cgi-bin/Menu/create":                     false,
		"/cgi-bin/open/newthing":                   false,
		"/cgi-bin/openapi/new/thing":               false,
		"/sns/userinfo":                            false,
		"/v1/authorizers":                          false,
		"/nowhere/else":                            false,
		"/cgi-bin":                                 false,
		"/cgi-bin/":                                false,
		"cgi-bin/x":                                false,
		"/cgi-bin//x":                              false,
		"//cgi-bin/x":                              false,
		"/cgi-bin/../sns/userinfo":                 false,
		"/cgi-bin/./x":                             false,
		"/cgi-bin/...":                             false,
		"/cgi-bin/%74oken":                         false,
		"/cgi-bin/x;y":                             false,
		"/cgi-bin/x?y":                             false,
		"/cgi-bin/x\\y":                            false,
		"/cgi-bin/x\x00":                           false,
		"/cgi-bin/菜单":                              false,
		"":                                         false,
		"/":                                        false,
	} {
		if got := c.Below(path); got != want {
			t.Errorf("%q: got %v, want %v", path, got, want)
		}
	}
}

func TestEveryRootHasAnAPIUnlessItIsNamedForLater(t *testing.T) {
	c := loaded(t)
	with := map[string]bool{}
	for _, a := range c.All() {
		for _, root := range c.Roots() {
			with[root] = with[root] || belowAny([]string{root}, a.Path)
		}
	}
	for i, root := range c.Roots() {
		if later := i >= len(roots)-6; with[root] == later {
			t.Errorf("%s: got APIs %v, want %v", root, with[root], !later)
		}
	}
}

// What is denied stays denied if it gets into the catalogue by mistake.
func TestADeniedRowIsNotRelayed(t *testing.T) {
	c := newCatalogue([]API{{Method: "GET", Path: "/sns/userinfo", Family: "users"}}, nil)
	if _, err := c.Resolve("GET", "/sns/userinfo"); !errors.Is(err, ErrNotRelayed) {
		t.Errorf("got %v, want ErrNotRelayed", err)
	}
}
