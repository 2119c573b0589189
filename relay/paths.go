package relay

import (
	"slices"
	"strings"
)

// denied are the paths that are never relayed, each with everything below it: WeChat's APIs that
// take the component's token, and those that take or return an appsecret, the component's ticket or
// a refresh token.
var denied = []string{
	"/cgi-bin/token",
	"/cgi-bin/stable_token",
	"/cgi-bin/clear_quota/v2",
	"/cgi-bin/component",
	"/componenttcb",
	"/sns",
	"/wxa/gettemplatedraftlist", // the library of code templates belongs to the component
	"/wxa/addtotemplate",
	"/wxa/gettemplatelist",
	"/wxa/deletetemplate",
	"/wxa/getdefaultamsinfo", // the component's shares in the income from advertisements
	"/wxa/setdefaultamsinfo",
}

// allowed are the paths below denied ones that are relayed: they take the authorizer's token.
var allowed = []string{
	"/cgi-bin/component/getprivacysetting",
	"/cgi-bin/component/setprivacysetting",
	"/cgi-bin/component/uploadprivacyextfile",
	"/cgi-bin/component/get_authorizer_option",
	"/cgi-bin/component/set_authorizer_option",
}

// operatorOnly are the paths below which an API that the catalogue does not list is refused even
// with the scope wechat:any, because it may affect other callers.
var operatorOnly = []string{"/cgi-bin/open", "/cgi-bin/openapi", "/cgi-bin/clear_quota"}

// roots are the first segments of the paths of WeChat's APIs that accept an authorizer's token. The
// catalogue has APIs below each of them, except below the last six.
var roots = []string{
	"/bizwifi", "/card", "/cgi-bin", "/channels", "/cityservice", "/customservice", "/cv", "/datacube",
	"/device", "/intp", "/marketing", "/nontax", "/redpacketcover", "/retail", "/semantic", "/shakearound",
	"/tcb", "/user-order", "/wedata", "/wxa", "/wxaapi", "/wxadrama", "/xpay",
	"/merchant", "/product", "/publisher", "/scan", "/shop", "/union",
}

// Roots returns the first segments of all paths that may be relayed, such as "/cgi-bin".
func (c *Catalogue) Roots() []string { return slices.Clone(roots) }

// Denied reports whether path is never relayed, whatever the client's scopes. It takes letters in
// either case as equal, because WeChat may.
func (c *Catalogue) Denied(path string) bool {
	return !slices.Contains(allowed, path) && belowAny(denied, path)
}

// Below reports whether a client with the scope wechat:any may call path although the catalogue
// does not list it. Such a path is below one of the roots, is not denied or the operator's, is
// written plainly, and differs by more than the case of letters from every path that the catalogue
// has, also from those that are switched off.
func (c *Catalogue) Below(path string) bool {
	_, listed := c.folded[strings.ToLower(path)]
	if listed || !plain(path) || c.Denied(path) || belowAny(operatorOnly, path) {
		return false
	}
	first, _, deeper := strings.Cut(path[1:], "/")
	return deeper && slices.Contains(roots, "/"+first)
}

// belowAny reports whether path is one of the prefixes or below one.
func belowAny(prefixes []string, path string) bool {
	path = strings.ToLower(path)
	return slices.ContainsFunc(prefixes, func(prefix string) bool {
		rest, found := strings.CutPrefix(path, prefix)
		return found && (rest == "" || rest[0] == '/')
	})
}

// plain reports whether path is made of segments of letters, digits, '_', '-' and '.', so that
// nobody reads it differently.
func plain(path string) bool {
	rest, rooted := strings.CutPrefix(path, "/")
	for segment := range strings.SplitSeq(rest, "/") {
		if strings.Trim(segment, ".") == "" || strings.ContainsFunc(segment, unplain) {
			return false
		}
	}
	return rooted
}

func unplain(r rune) bool {
	letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	return !letter && (r < '0' || r > '9') && r != '_' && r != '-' && r != '.'
}
