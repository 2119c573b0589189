package main

import (
	"strings"
	"testing"

	"wxplatform/wechat/wechatsim"
)

// opened returns what a new browser gets from a link or a path.
func (w *world) opened(link string) reply {
	w.t.Helper()
	page, err := newBrowser().send(anyContext, "GET", w.publicURL+strings.TrimPrefix(link, w.env["PLATFORM_PUBLIC_URL"]), nil, "")
	if err != nil {
		w.t.Fatal(err)
	}
	return page
}

func TestAnInvitationExpires(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		id, link := w.invitation(`,"expires_in":60`)
		browser, back := w.untilReturnWith(wechatsim.Hold, link, service)
		w.exec(`UPDATE invitations SET expires_at = 1`)
		if got := w.status(id); got != "expired" {
			w.t.Errorf("got %s, want expired", got)
		}
		w.wants(w.ask("DELETE", "/v1/invitations/"+id, ""), 409, "invitation-ended")
		if page := w.opened(link); page.status != 410 || page.header.Get("Set-Cookie") != "" {
			w.t.Errorf("got %d %v, want the page to say that it has ended, and no cookie", page.status, page.header)
		}
		w.waitsForTheEvent(browser, back)
		w.eventually("the browser to be told", func() bool { return w.told(browser, back).Has("result") })
		if told := w.told(browser, back); told.Get("result") != "expired" || told.Has("appid") {
			w.t.Errorf("got %v, want the browser told expired and no account", told)
		}
		w.wants(w.shut(kfAccount), 404, "unknown-authorizer")
		if n := w.sim.Calls("/cgi-bin/component/api_query_auth"); n != 1 {
			w.t.Errorf("got %d exchanges, want what WeChat gave kept all the same", n)
		}
	})
}

// pageHeaders are the headers that every page under /authorize has.
var pageHeaders = map[string]string{
	"Referrer-Policy": "origin", "Cache-Control": "no-store", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
	"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}

func TestEveryPageIsSafeAndInBothLanguages(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, map[string]string{"PLATFORM_PUBLIC_URL": "https://wx.example.com"})
	_, pending := w.invitation("")
	cancelled, ended := w.invitation("")
	w.ask("DELETE", "/v1/invitations/"+cancelled, "")
	for _, c := range []struct {
		name, link string
		status     int
		zh, en     string
	}{
		{"pending", pending, 200, "微信公众号授权", "Authorize your Official Account"},
		{"ended", ended, 410, "链接已失效", "This link has expired"},
		{"unknown", "/authorize/AAAAAAAAAAAAAAAAAAAAAAAAAA", 404, "链接无效", "This link is not valid"},
		{"waiting", pending + "/done?auth_code=queryauthcode@@@x", 200, "正在确认授权", "Waiting for WeChat"},
		{"without a code", pending + "/done", 400, "授权未完成", "The authorization was not completed"},
		{"two codes", pending + "/done?auth_code=a&auth_code=b", 400, "授权未完成", "The authorization was not completed"},
	} {
		page := w.opened(c.link)
		if body := string(page.body); page.status != c.status || !strings.Contains(body, `<html lang="zh-CN">`) || !strings.Contains(body, c.zh) || !strings.Contains(body, c.en) {
			t.Errorf("%s: got %d %s, want %d %s %s", c.name, page.status, page.body, c.status, c.zh, c.en)
		}
		for name, want := range pageHeaders {
			if got := page.header.Get(name); got != want {
				t.Errorf("%s: got %s %q, want %q", c.name, name, got, want)
			}
		}
		for _, cookie := range page.header.Values("Set-Cookie") {
			if !strings.Contains(cookie, "; Secure") || !strings.Contains(cookie, "; HttpOnly") || !strings.Contains(cookie, "; SameSite=Lax") || !strings.Contains(cookie, "; Path=/authorize/") {
				t.Errorf("%s: got %q, want Secure where the public URL is https", c.name, cookie)
			}
		}
	}
}
