// Package address finds out which IP address a request comes from, also behind reverse proxies.
package address

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Proxies are the addresses of reverse proxies whose X-Forwarded-For is believed. Without any, no
// request's header is believed.
type Proxies []netip.Prefix

// ParseProxies reads addresses and CIDR prefixes, like 10.0.0.7 and fd00::/8.
func ParseProxies(list []string) (Proxies, error) {
	var all Proxies
	for i, text := range list {
		prefix, err := parsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("entry %d is neither an IP address nor a CIDR prefix", i+1)
		}
		all = append(all, prefix)
	}
	return all, nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		return netip.ParsePrefix(text)
	}
	one, err := netip.ParseAddr(text)
	if err != nil || one.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("not an address: %q", text)
	}
	one = one.Unmap()
	return netip.PrefixFrom(one, one.BitLen()), nil
}

func (p Proxies) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(prefix netip.Prefix) bool { return prefix.Contains(a) })
}

// Caller returns the IP address that r comes from, as text, or "" if its connection has none.
// It is the address of the connection's other end, unless that is one of p: then it is the last
// address in X-Forwarded-For that is not one of p, or the first if all are. If an entry before that
// one is not an address, it is the other end's address again.
func (p Proxies) Caller(r *http.Request) string {
	peer := host(r.RemoteAddr)
	if len(p) == 0 {
		return peer
	}
	if a, ok := parse(peer); !ok || !p.trusts(a) {
		return peer
	}
	if caller, ok := p.forwarded(r.Header["X-Forwarded-For"]); ok {
		return caller.String()
	}
	return peer
}

// forwarded walks through the lines of X-Forwarded-For from the end: each proxy appends the address
// that it got the request from, and whatever stands before that is what it was told.
func (p Proxies) forwarded(lines []string) (caller netip.Addr, ok bool) {
	for _, line := range slices.Backward(lines) {
		for more := true; more; {
			comma := strings.LastIndexByte(line, ',')
			entry := line[comma+1:]
			if caller, ok = parse(strings.TrimSpace(entry)); !ok || !p.trusts(caller) {
				return caller, ok
			}
			if more = comma >= 0; more {
				line = line[:comma]
			}
		}
	}
	return caller, ok
}

// parse reads an address. Some proxies append the port.
func parse(text string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		a, err = netip.ParseAddr(host(text))
	}
	return a.Unmap().WithZone(""), err == nil
}

// host returns the address of an address with a port, without brackets; or "".
func host(hostPort string) string {
	colon := strings.LastIndexByte(hostPort, ':')
	if colon < 0 {
		return ""
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostPort[:colon], "["), "]")
}
