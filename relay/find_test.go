package relay

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestFindIsExact(t *testing.T) {
	c := loaded(t)
	if a, ok := c.Find("POST", "/customservice/kfsession/close"); !ok || a.English != "closeSession" || a.Scope() != "kfsession:write" {
		t.Errorf("got %+v, %v, want closeSession", a, ok)
	}
	for _, miss := range [][2]string{
		{"GET", "/customservice/kfsession/close"},
		{"post", "/customservice/kfsession/close"},
		{"POST", "/customservice/kfsession/Close"},
		{"POST", "/customservice/kfsession/close/"},
		{"POST", "//customservice/kfsession/close"},
		{"POST", ""},
	} {
		if a, ok := c.Find(miss[0], miss[1]); ok {
			t.Errorf("%q: got %s, want none", miss, a.English)
		}
	}
}

func TestMethodsListsEachOfAPath(t *testing.T) {
	c := loaded(t)
	for path, want := range map[string][]string{
		"/customservice/kfaccount/del":   {"GET", "POST"},
		"/customservice/kfsession/close": {"POST"},
		"/cgi-bin/nothing":               nil,
	} {
		if got := c.Methods(path); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func TestNamedTakesAPathWithOrWithoutItsMethod(t *testing.T) {
	c := loaded(t)
	for text, want := range map[string]int{"/customservice/kfaccount/del": 2, "GET /customservice/kfaccount/del": 1, " POST /cgi-bin/menu/create ": 1} {
		if got, err := c.Named(text); err != nil || len(got) != want {
			t.Errorf("%q: got %d APIs, %v, want %d", text, len(got), err, want)
		}
	}
}

func TestNamedSaysWhatIsNearest(t *testing.T) {
	c := loaded(t)
	for text, nearest := range map[string]string{
		"/cgi-bin/menu/creat":                "POST /cgi-bin/menu/create",
		"/customservice/KFSession/closed":    "POST /customservice/kfsession/close",
		"PUT /cgi-bin/menu/create":           "POST /cgi-bin/menu/create",
		"GET /customservice/kfsession/close": "POST /customservice/kfsession/close",
	} {
		if got, err := c.Named(text); err == nil || !strings.Contains(err.Error(), nearest) {
			t.Errorf("%q: got %v, %v, want an error that names %s", text, got, err, nearest)
		}
	}
}

func TestASwitchedOffAPIIsNotFound(t *testing.T) {
	whole := loaded(t)
	off, err := whole.Named("GET /customservice/kfaccount/del")
	if err != nil {
		t.Fatal(err)
	}
	c := whole.Switched(off, nil)
	if _, found := c.Find("GET", "/customservice/kfaccount/del"); found {
		t.Error("got the API, want none")
	}
	if got := c.Methods("/customservice/kfaccount/del"); !slices.Equal(got, []string{"POST"}) {
		t.Errorf("got the methods %q, want POST", got)
	}
	if len(c.All()) != len(whole.All()) || !slices.ContainsFunc(c.All(), func(a API) bool { return a.Off }) {
		t.Error("got no row that is off, want it listed so")
	}
	if slices.ContainsFunc(whole.All(), func(a API) bool { return a.Off }) {
		t.Error("the catalogue that it was made from changed")
	}
}

func TestResolveSaysThatAnAPIIsSwitchedOff(t *testing.T) {
	whole := loaded(t)
	one, err := whole.Named("GET /customservice/kfaccount/del")
	if err != nil {
		t.Fatal(err)
	}
	all, err := whole.Named("/cgi-bin/menu/create")
	if err != nil {
		t.Fatal(err)
	}
	c := whole.Switched(append(one, all...), nil)
	var method *MethodError
	for call, want := range map[string]error{
		"GET /customservice/kfaccount/del":  ErrSwitchedOff,
		"POST /customservice/kfaccount/del": nil,
		"POST /cgi-bin/menu/create":         ErrSwitchedOff,
		"GET /cgi-bin/menu/create":          ErrSwitchedOff, // the path has no other method
		"POST /cgi-bin/Menu/create":         ErrUnknownAPI,
		"POST /cgi-bin/menu/nonsense":       nil, // for wechat:any
	} {
		verb, path, _ := strings.Cut(call, " ")
		if _, err := c.Resolve(verb, path); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", call, err, want)
		}
	}
	if _, err := c.Resolve("PUT", "/customservice/kfaccount/del"); !errors.As(err, &method) || !slices.Equal(method.Allowed, []string{"POST"}) {
		t.Errorf("got %v, want only POST allowed", err)
	}
}

// wechat:any is no way around the operator's switch.
func TestASwitchedOffPathIsNotBelow(t *testing.T) {
	c := loaded(t)
	off, err := c.Named("/cgi-bin/menu/create")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/cgi-bin/menu/create", "/cgi-bin/Menu/create"} {
		if c.Switched(off, nil).Below(path) {
			t.Errorf("got %s below a root, want it off", path)
		}
	}
}

func TestAnUncheckedAPILeavesItsSetsToWeChat(t *testing.T) {
	whole := loaded(t)
	named, err := whole.Named("/cgi-bin/menu/create")
	if err != nil {
		t.Fatal(err)
	}
	got, _ := whole.Switched(nil, named).Find("POST", "/cgi-bin/menu/create")
	if got.Sets != Guessed || !got.Unchecked || len(got.AnyOf) == 0 {
		t.Errorf("got %s, unchecked %v, sets %v, want guessed, true and the same sets", got.Sets, got.Unchecked, got.AnyOf)
	}
}

func TestOnlyACheckThatRefusesIsSwitchedOff(t *testing.T) {
	whole := loaded(t)
	named, err := whole.Named("/cgi-bin/ticket/getticket")
	if err != nil {
		t.Fatal(err)
	}
	got, _ := whole.Switched(nil, named).Find("GET", "/cgi-bin/ticket/getticket")
	if got.Sets != Unsupported || got.Unchecked {
		t.Errorf("got %s, unchecked %v, want unsupported, false", got.Sets, got.Unchecked)
	}
}
