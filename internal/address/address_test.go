package address

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func proxies(t testing.TB, list ...string) Proxies {
	t.Helper()
	p, err := ParseProxies(list)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func request(peer string, forwarded ...string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = peer
	for _, line := range forwarded {
		r.Header.Add("X-Forwarded-For", line)
	}
	return r
}

func TestTheCallersAddress(t *testing.T) {
	none, some := Proxies(nil), proxies(t, "10.0.0.0/8", "192.0.2.7", "fd00::/8")
	for name, c := range map[string]struct {
		trusted Proxies
		request *http.Request
		want    string
	}{
		"the connection's":                     {none, request("203.0.113.5:4711"), "203.0.113.5"},
		"the connection's, IPv6":               {none, request("[2001:db8::5]:4711"), "2001:db8::5"},
		"no address":                           {some, request("@"), ""},
		"nothing is believed by default":       {none, request("10.0.0.1:80", "203.0.113.5"), "10.0.0.1"},
		"a stranger is not believed":           {some, request("203.0.113.9:80", "203.0.113.5"), "203.0.113.9"},
		"a proxy is believed":                  {some, request("10.0.0.1:80", "203.0.113.5"), "203.0.113.5"},
		"a single proxy, not its neighbour":    {some, request("192.0.2.8:80", "203.0.113.5"), "192.0.2.8"},
		"a proxy with IPv6":                    {some, request("[fd00::1]:80", "2001:DB8::5"), "2001:db8::5"},
		"an IPv4 proxy, seen as IPv6":          {some, request("[::ffff:10.0.0.1]:80", "203.0.113.5"), "203.0.113.5"},
		"a proxy with a zone":                  {some, request("[fd00::1%eth0]:80", "203.0.113.5"), "203.0.113.5"},
		"a proxy that says nothing":            {some, request("10.0.0.1:80"), "10.0.0.1"},
		"the caller's own words are not":       {some, request("10.0.0.1:80", "198.51.100.1, 203.0.113.5"), "203.0.113.5"},
		"nor are they behind trusted ones":     {some, request("10.0.0.1:80", "198.51.100.1,203.0.113.5, 10.0.0.2,192.0.2.7"), "203.0.113.5"},
		"nor on a line of their own":           {some, request("10.0.0.1:80", "198.51.100.1", "203.0.113.5, 10.0.0.2"), "203.0.113.5"},
		"lines are one list":                   {some, request("10.0.0.1:80", "198.51.100.1, 203.0.113.5", "10.0.0.2", "10.0.0.3"), "203.0.113.5"},
		"all are trusted":                      {some, request("10.0.0.1:80", "10.0.0.9, 10.0.0.2"), "10.0.0.9"},
		"with a port":                          {some, request("10.0.0.1:80", "203.0.113.5:61234"), "203.0.113.5"},
		"with a port, IPv6":                    {some, request("10.0.0.1:80", "[2001:db8::5]:61234"), "2001:db8::5"},
		"IPv4 as IPv6":                         {some, request("10.0.0.1:80", "::ffff:203.0.113.5"), "203.0.113.5"},
		"garbage":                              {some, request("10.0.0.1:80", "unknown"), "10.0.0.1"},
		"garbage behind a trusted one":         {some, request("10.0.0.1:80", "203.0.113.5, x, 10.0.0.2"), "10.0.0.1"},
		"garbage that the caller sent":         {some, request("10.0.0.1:80", "<script>, 203.0.113.5"), "203.0.113.5"},
		"an empty line":                        {some, request("10.0.0.1:80", ""), "10.0.0.1"},
		"an empty entry":                       {some, request("10.0.0.1:80", "203.0.113.5,"), "10.0.0.1"},
		"a number that is not an IPv4 address": {some, request("10.0.0.1:80", "203.0.113.05"), "10.0.0.1"},
	} {
		if got := c.trusted.Caller(c.request); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestOtherHeadersAreNotBelieved(t *testing.T) {
	r := request("10.0.0.1:80")
	for _, name := range []string{"X-Real-Ip", "Forwarded", "True-Client-Ip", "Cf-Connecting-Ip"} {
		r.Header.Set(name, "203.0.113.5")
	}
	if got := proxies(t, "10.0.0.1").Caller(r); got != "10.0.0.1" {
		t.Errorf("got %q, want the proxy's address", got)
	}
}

func TestAListThatCannotBeReadIsRefused(t *testing.T) {
	for _, bad := range []string{"proxy.internal", "10.0.0.0/33", "10.0.0", "", "fe80::1%eth0", "*", "10.0.0.1:80"} {
		if got, err := ParseProxies([]string{"10.0.0.1", bad}); err == nil || !strings.Contains(err.Error(), "entry 2") {
			t.Errorf("%q: got %v, %v, want an error that names entry 2", bad, got, err)
		}
	}
}

// What comes out is logged and used as a key, so it is an address whatever comes in.
func FuzzCaller(f *testing.F) {
	for _, line := range []string{"", "203.0.113.5", "1.2.3.4, 10.0.0.2", ",,", "[::1]:80,10.0.0.1", "fe80::1%\n", strings.Repeat("10.0.0.1,", 1000)} {
		f.Add(line, "2001:db8::5")
	}
	p := proxies(f, "10.0.0.0/8")
	f.Fuzz(func(t *testing.T, first, second string) {
		got := p.Caller(&http.Request{RemoteAddr: "10.0.0.1:80", Header: http.Header{"X-Forwarded-For": {first, second}}})
		if a, ok := parse(got); !ok || a.String() != got {
			t.Errorf("%q, %q: got %q, want an address", first, second, got)
		}
	})
}

func TestWithoutProxiesNothingIsAllocated(t *testing.T) {
	for _, peer := range []string{"203.0.113.5:4711", "[2001:db8::5]:4711"} {
		r := request(peer)
		if n := testing.AllocsPerRun(100, func() { Proxies(nil).Caller(r) }); n > 0 {
			t.Errorf("%s: got %v allocations, want none", peer, n)
		}
	}
}
