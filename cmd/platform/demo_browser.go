package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// browser sends HTTP requests and keeps cookies.
type browser struct{ client *http.Client }

func newBrowser() *browser {
	jar, _ := cookiejar.New(nil) // it fails only with a list of public suffixes
	return &browser{&http.Client{
		Jar: jar, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// reply is an HTTP response, read whole.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// field is a string or number in the JSON body, as text; "" if it has none.
func (h reply) field(name string) string {
	var members map[string]any
	if json.Unmarshal(h.body, &members) != nil || members[name] == nil {
		return ""
	}
	if n, ok := members[name].(float64); ok {
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprint(members[name])
}

func (s *browser) send(ctx context.Context, method, address string, header map[string]string, body string) (reply, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if kind := response.Header.Get("Content-Type"); kind == "application/json" || kind == "application/problem+json" {
		text = bytes.TrimSuffix(text, []byte("\n")) // Echo and problem end JSON with one
	}
	return reply{response.StatusCode, response.Header, text}, err
}

var button = regexp.MustCompile(`<a class="go" href="([^"]+)"`)

// consent does what a merchant does: it opens the invitation, follows the button to WeChat,
// consents there for one account, and follows WeChat back. It returns the URL of the final
// redirect, to the tenant's page.
func (s *browser) consent(ctx context.Context, invitation, appid string, sets ...string) (*url.URL, error) {
	page, err := s.send(ctx, http.MethodGet, invitation, nil, "")
	if err != nil {
		return nil, err
	}
	found := button.FindSubmatch(page.body)
	if page.status != http.StatusOK || found == nil {
		return nil, fmt.Errorf("the invitation page answered %d without a button", page.status)
	}
	start, err := url.Parse(invitation)
	if err != nil {
		return nil, err
	}
	link, origin := html.UnescapeString(string(found[1])), start.Scheme+"://"+start.Host+"/"
	if page, err = s.send(ctx, http.MethodGet, link, map[string]string{"Referer": origin}, ""); err != nil {
		return nil, err
	}
	if !bytes.Contains(page.body, []byte(appid)) {
		return nil, errors.New("WeChat's consent page does not offer the account")
	}
	form := url.Values{"appid": {appid}, "set": sets}
	given, err := s.send(ctx, http.MethodPost, link, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, form.Encode())
	if err != nil {
		return nil, err
	}
	back, err := s.send(ctx, http.MethodGet, given.header.Get("Location"), nil, "")
	if err != nil {
		return nil, err
	}
	if back.status != http.StatusSeeOther {
		return nil, fmt.Errorf("the return from WeChat answered %d", back.status)
	}
	return url.Parse(back.header.Get("Location"))
}
