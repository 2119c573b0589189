package relay

import (
	"errors"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// told is what a token call says of its three parameters.
type told struct{ grant, appid, secret string }

func toldBy(parameters url.Values) told {
	return told{OnlyValue(parameters, "grant_type"), OnlyValue(parameters, "appid"), OnlyValue(parameters, "secret")}
}

func TestATokenCallIsReadWhereverItsParametersAre(t *testing.T) {
	const form = "grant_type=client_credential&appid=a&secret=s"
	for name, c := range map[string]struct{ method, query, body, kind string }{
		"GET":                          {"GET", form, "", ""},
		"GET, with an unknown one":     {"GET", "appid=a&grant_type=client_credential&neededText=&secret=s", "", ""},
		"GET, its body is not read":    {"GET", form, `{"appid":"b"}`, "application/json"},
		"GET, one twice":               {"GET", form + "&appid=a", "", ""},
		"GET, an unknown one twice":    {"GET", form + "&x=1&x=2", "", ""},
		"POST, query":                  {"POST", form, "", ""},
		"POST, form":                   {"POST", "", form, "application/x-www-form-urlencoded"},
		"POST, form without its type":  {"POST", "", form, ""},
		"POST, form called JSON":       {"POST", "", form + "\n", "application/json"},
		"POST, JSON":                   {"POST", "", `{"appid":"a","force_refresh":false,"grant_type":"client_credential","secret":"s"}` + "\n", "application/json;charset=utf-8"},
		"POST, JSON without its type":  {"POST", "", ` {"secret":"s","neededText":"","appid":"a","grant_type":"client_credential"}`, ""},
		"POST, JSON called form":       {"POST", "", `{"secret":"s","appid":"a","x":{"appid":"b"},"grant_type":"client_credential"}`, "application/x-www-form-urlencoded"},
		"POST, some here, some there":  {"POST", "appid=a", `{"secret":"s","grant_type":"client_credential"}`, ""},
		"POST, the same here as there": {"POST", form, `{"secret":"s"}`, ""},
	} {
		r := httptest.NewRequest(c.method, "/cgi-bin/token?"+c.query, strings.NewReader(c.body))
		if c.kind != "" {
			r.Header.Set("Content-Type", c.kind)
		}
		parameters, err := Parameters(r)
		if got, want := toldBy(parameters), (told{"client_credential", "a", "s"}); got != want || err != nil {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, want)
		}
	}
}

func TestAParameterWithTwoValuesHasNone(t *testing.T) {
	for name, c := range map[string]struct{ query, body string }{
		"query":           {"appid=a&appid=b", ""},
		"first empty":     {"appid=&appid=b", ""},
		"form":            {"", "appid=a&appid=b"},
		"JSON":            {"", `{"appid":"a","appid":"b"}`},
		"JSON, escaped":   {"", `{"appid":"a","\u0061ppid":"b"}`},
		"JSON, a number":  {"", `{"appid":"a","appid":1}`},
		"query and form":  {"appid=a", "appid=b"},
		"query and JSON":  {"appid=a", `{"appid":"b"}`},
		"JSON, no string": {"", `{"appid":["a"]}`},
		"in capitals":     {"AppID=a", `{"APPID":"a"}`},
	} {
		parameters, err := Parameters(httptest.NewRequest("POST", "/cgi-bin/token?"+c.query, strings.NewReader(c.body)))
		if got := OnlyValue(parameters, "appid"); got != "" || err != nil {
			t.Errorf("%s: got %q, %v, want none", name, got, err)
		}
	}
}

func TestATokenCallThatCannotBeReadIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ query, body string }{
		"escape in the query": {"appid=%zz", ""},
		"escape in the form":  {"", "appid=%zz"},
		"semicolon":           {"", "appid=a;secret=b"},
		"JSON cut off":        {"", `{"appid":"a"`},
		"JSON cut in a value": {"", `{"appid":"a`},
		"JSON without values": {"", `{"appid"}`},
		"two objects":         {"", `{"appid":"a"}{}`},
		"text behind":         {"", `{"appid":"a"} x`},
		"over 64 KiB":         {"", strings.Repeat("x", 64<<10+1)},
	} {
		_, err := Parameters(httptest.NewRequest("POST", "/cgi-bin/token?"+c.query, strings.NewReader(c.body)))
		if !errors.Is(err, errParameters) {
			t.Errorf("%s: got %v, want errParameters", name, err)
		}
	}
}

func FuzzTokenParameters(f *testing.F) {
	f.Add("appid=a", `{"secret":"s"}`)
	f.Add("", "grant_type=client_credential")
	f.Fuzz(func(t *testing.T, query, body string) {
		r := httptest.NewRequest("POST", "/cgi-bin/token", strings.NewReader(body))
		r.URL.RawQuery = query
		if parameters, err := Parameters(r); (parameters == nil) != (err != nil) {
			t.Errorf("got %v with %v", parameters, err)
		}
	})
}
