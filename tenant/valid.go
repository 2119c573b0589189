package tenant

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	longestName     = 100
	longestRedirect = 2048
	mostRedirects   = 20
)

// validName checks the name of a tenant or client. It is shown to merchants and printed in tables,
// so it must be one line of visible characters.
func validName(name string) error {
	switch {
	case name == "" || utf8.RuneCountInString(name) > longestName:
		return fmt.Errorf("%w: name must have 1 to %d characters", ErrInvalid, longestName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%w: name must be printable", ErrInvalid)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("%w: name must not begin or end with a space", ErrInvalid)
	}
	return nil
}

func validRedirects(redirects []string) error {
	if len(redirects) > mostRedirects {
		return fmt.Errorf("%w: redirects must be %d at most", ErrInvalid, mostRedirects)
	}
	for i, redirect := range redirects {
		if fault := redirectFault(redirect); fault != "" {
			return fmt.Errorf("%w: redirect %d %s", ErrInvalid, i+1, fault)
		}
	}
	return nil
}

// redirectFault says what is wrong with a redirect URL, or "". It is compared exactly later, so
// what could be read in two ways is refused here.
func redirectFault(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil || len(text) > longestRedirect || strings.ContainsFunc(text, ambiguous):
		return "is not a URL of printable ASCII characters"
	case strings.Contains(text, "#"):
		return "must not have a fragment"
	case u.User != nil:
		return "must not have a user name"
	case u.Hostname() == "":
		return "must name a host"
	case u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()):
		return ""
	default:
		return "must be https, or http on loopback"
	}
}

// ambiguous characters are read differently by different browsers.
func ambiguous(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }

func loopback(host string) bool { return host == "localhost" || net.ParseIP(host).IsLoopback() }
