package openapi

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"wxplatform/docs"
)

// get asks for a page as a browser with these languages does.
func get(t *testing.T, path, languages string) *httptest.ResponseRecorder {
	t.Helper()
	e := echo.New()
	Handler{}.Routes(e)
	request := httptest.NewRequest(http.MethodGet, path, nil)
	request.Header.Set("Accept-Language", languages)
	w := httptest.NewRecorder()
	e.ServeHTTP(w, request)
	return w
}

func TestAProblemsPageIsInTheReadersLanguage(t *testing.T) {
	for path, languages := range map[string]string{
		"/problems/no-session?lang=zh": "en", "/problems/no-session": "zh-CN,zh;q=0.9,en;q=0.8",
		"/problems?lang=zh": "en", "/problems": "fr, en;q=0.5, ZH-Hant;q=0.7",
	} {
		if w := get(t, path, languages); w.Code != 200 || !strings.Contains(w.Body.String(), "顾客没有会话") && !strings.Contains(w.Body.String(), `lang="zh-CN"`) {
			t.Errorf("%s for %q: got %d %.300s, want it in Chinese", path, languages, w.Code, w.Body)
		}
	}
	for path, languages := range map[string]string{
		"/problems/no-session?lang=en": "zh", "/problems/no-session": "", "/problems": "en-GB,zh;q=0.1", "/problems?lang=fr": "de",
	} {
		if w := get(t, path, languages); w.Code != 200 || !strings.Contains(w.Body.String(), `lang="en"`) || !strings.Contains(w.Body.String(), "The customer has no session") {
			t.Errorf("%s for %q: got %d %.300s, want it in English", path, languages, w.Code, w.Body)
		}
	}
}

func TestALongBodyIsPackedForWhoTakesThat(t *testing.T) {
	e := echo.New()
	Handler{}.Routes(e)
	for accepts, packed := range map[string]bool{"gzip, deflate, br": true, "br;q=1.0, gzip;q=0.8": true, "gzip;q=0": false, "gzip; q=0.0": false, "br": false, "": false} {
		request := httptest.NewRequest(http.MethodGet, "/openapi.json", nil)
		request.Header.Set("Accept-Encoding", accepts)
		w := httptest.NewRecorder()
		e.ServeHTTP(w, request)
		body := w.Body.Bytes()
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != packed {
			t.Errorf("%q: got gzip %v, want %v", accepts, got, packed)
			continue
		}
		if packed {
			r, err := gzip.NewReader(w.Body)
			if err == nil {
				body, err = io.ReadAll(r)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if string(body) != string(docs.OpenAPI) || w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q: got %d bytes, Vary %q, want the document", accepts, len(body), w.Header().Get("Vary"))
		}
	}
}

func TestAnUnknownProblemHasNoPage(t *testing.T) {
	for _, path := range []string{"/problems/no-such-problem", "/problems/"} {
		if w := get(t, path, ""); w.Code != http.StatusNotFound {
			t.Errorf("%s: got %d, want 404", path, w.Code)
		}
	}
}

// unrendered is Markdown that the pages do not know.
var unrendered = regexp.MustCompile("[`*|]|\\]\\(|(?m)^(-|#|\\d+\\.) ")

func TestSectionsUseNoMarkdownThatIsNotRendered(t *testing.T) {
	for _, page := range []string{docs.Errors, docs.ErrorsZH} {
		for slug, s := range sections(page) {
			if len(s.Body) == 0 || s.Facts == "" {
				t.Errorf("%s: got no text", slug)
			}
			for _, paragraph := range s.Body {
				if left := unrendered.FindString(string(paragraph)); left != "" {
					t.Errorf("%s: got %q left in %s", slug, left, paragraph)
				}
			}
		}
	}
}

func TestTextIsEscaped(t *testing.T) {
	got := string(render("a < b `<c>` **<d>** *<e>* [<f>](operate/keys.md#x) [<g>](../apis.md)"))
	want := "a &lt; b <code>&lt;c&gt;</code> <strong>&lt;d&gt;</strong> <em>&lt;e&gt;</em> &lt;f&gt; <a href=\"/docs\">&lt;g&gt;</a>"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// No page needs another host, and a browser runs nothing that is not ours.
func TestPagesLoadNothing(t *testing.T) {
	for _, path := range []string{"/problems", "/problems/no-session?lang=zh", "/docs"} {
		w := get(t, path, "")
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: got the policy %q", path, policy)
		}
		if found := regexp.MustCompile(`(src="|<link |<img |@import|url\()[^>]*`).FindString(w.Body.String()); found != "" {
			t.Errorf("%s: got %s, want no other host", path, found)
		}
		style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(w.Body.String())
		if style == nil || !strings.Contains(policy, hashOf(style[1])) {
			t.Errorf("%s: got the policy %q, which forbids the page's style", path, policy)
		}
	}
}

// Without its script, the page is a list of everything.
func TestThePageOfTheDocumentNamesEveryAPI(t *testing.T) {
	w := get(t, "/docs", "")
	page := w.Body.String()
	shown := map[string]bool{}
	for _, found := range regexp.MustCompile(`<details id="[^"]+">\n<summary><b class="([A-Z]+)">.*</b> <code>([^<]+)</code>`).FindAllStringSubmatch(page, -1) {
		shown[strings.ToLower(found[1])+" "+found[2]] = true
	}
	for path, item := range read(t)["paths"].(object) {
		for _, method := range methods {
			if item.(object)[method] != nil && !shown[method+" "+path] {
				t.Errorf("got no %s %s on the page", method, path)
			}
		}
	}
	for _, says := range []string{"创建自定义菜单", "createCustomMenu", "menu:write", `href="/problems/no-session"`, "POST /cgi-bin/menu/create?access_token=", "required 必填"} {
		if !strings.Contains(page, says) {
			t.Errorf("got no %q on the page", says)
		}
	}
	script := regexp.MustCompile(`(?s)<script>(.*)</script>`).FindStringSubmatch(page)
	if policy := w.Header().Get("Content-Security-Policy"); script == nil || !strings.Contains(policy, hashOf(script[1])) {
		t.Errorf("got the policy %q, which forbids the page's script", policy)
	}
}

func TestEveryLinkToAProblemLeadsToItsPage(t *testing.T) {
	links := regexp.MustCompile(`href="/problems/([^"]*)"`).FindAllStringSubmatch(get(t, "/docs", "").Body.String(), -1)
	if len(links) < 100 {
		t.Errorf("got %d links", len(links))
	}
	for _, link := range links {
		if _, known := problemPages()[place{link[1], english}]; !known {
			t.Errorf("got a link to the problem %s, which has no page", link[1])
		}
	}
}
