package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// api runs `platform api …` with a setting, or with none if its name is empty.
func api(setting, value string, args ...string) (code int, out, errOut string) {
	var shown, failed bytes.Buffer
	lookup := func(name string) (string, bool) {
		if name == setting {
			return value, true
		}
		return "", false
	}
	code = run(shell{anyContext, &shown, &failed, lookup, noEnvironment}, append([]string{"api"}, args...))
	return code, shown.String(), failed.String()
}

func TestAPIShowTellsWhatIsNeeded(t *testing.T) {
	code, out, errOut := api("", "", "show", "/customservice/kfsession/close")
	for _, want := range []string{"POST /customservice/kfsession/close", "closeSession 关闭会话", "kfsession:write", "6 (multi customer service, 微信多客服), 100, 101", "refused before WeChat is called"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("got %d, %s%s, want 0 and %q", code, out, errOut, want)
		}
	}
}

func TestAPIShowSuggestsTheNearestPath(t *testing.T) {
	code, _, errOut := api("", "", "show", "/cgi-bin/menu/creat")
	if code != 1 || !strings.Contains(errOut, "the nearest is POST /cgi-bin/menu/create") {
		t.Errorf("got %d, %s, want 1 and the nearest path", code, errOut)
	}
}

func TestAPIShowSaysWhatIsNeverRelayed(t *testing.T) {
	for _, path := range []string{"/cgi-bin/token", "GET /cgi-bin/token"} {
		if code, _, errOut := api("", "", "show", path); code != 1 || !strings.Contains(errOut, "/cgi-bin/token is never relayed") {
			t.Errorf("%s: got %d, %s, want 1 and never relayed", path, code, errOut)
		}
	}
}

func TestAPIListShowsOneFamilyAsJSON(t *testing.T) {
	code, out, errOut := api("", "", "list", "--family", "menu", "--json")
	var all []apiView
	if err := json.Unmarshal([]byte(out), &all); code != 0 || err != nil || len(all) == 0 {
		t.Fatalf("got %d, %v, %d APIs, %s, want some", code, err, len(all), errOut)
	}
	if i := slices.IndexFunc(all, func(v apiView) bool { return v.Family != "menu" }); i >= 0 {
		t.Errorf("got %s of the family %s, want menu only", all[i].Path, all[i].Family)
	}
}

func TestAPIListNamesTheFamilies(t *testing.T) {
	if code, _, errOut := api("", "", "list", "--family", "menus"); code != 1 || !strings.Contains(errOut, "media, menu, messages") {
		t.Errorf("got %d, %s, want 1 and the families", code, errOut)
	}
}

func TestALoginCallIsSwitchedOffAlone(t *testing.T) {
	for value, want := range map[string]string{"": "it is on", "/sns/auth": "it is on", "GET /sns/userinfo,/cgi-bin/menu/create": "it is off"} {
		if code, _, errOut := api("PLATFORM_API_OFF", value, "show", "/sns/userinfo"); code != 1 || !strings.Contains(errOut, want) {
			t.Errorf("%q: got %d, %s, want 1 and %q", value, code, errOut, want)
		}
	}
	for _, setting := range []string{"POST /sns/userinfo", "/sns/component/jscode2session"} {
		if code, _, errOut := api("PLATFORM_API_OFF", setting, "list"); code != 1 || !strings.Contains(errOut, "has no") {
			t.Errorf("%s: got %d, %s, want it refused", setting, code, errOut)
		}
	}
}

func TestAPIsAreSwitchedBySettings(t *testing.T) {
	for setting, want := range map[string]string{"PLATFORM_API_OFF": "off: not relayed", "PLATFORM_API_UNCHECKED": "unchecked: WeChat decides"} {
		for _, value := range []string{"/cgi-bin/menu/create", "GET /cgi-bin/menu/get, POST /cgi-bin/menu/create,"} {
			if code, out, errOut := api(setting, value, "show", "/cgi-bin/menu/create"); code != 0 || !strings.Contains(out, want) {
				t.Errorf("%s=%s: got %d, %s%s, want 0 and %q", setting, value, code, out, errOut, want)
			}
		}
		if code, _, errOut := api(setting, "GET /cgi-bin/menu/create", "list"); code != 1 || !strings.Contains(errOut, setting) || !strings.Contains(errOut, "POST /cgi-bin/menu/create") {
			t.Errorf("%s: got %d, %s, want 1, the setting and the nearest API", setting, code, errOut)
		}
	}
}

func TestThePagesOfAPIsAreMadeFromTheCatalogue(t *testing.T) {
	for page, args := range map[string][]string{"docs/apis.md": {"list", "--markdown"}, "docs/zh/apis.md": {"list", "--markdown", "--chinese"}} {
		code, out, errOut := api("PLATFORM_API_OFF", "/cgi-bin/menu/create", args...)
		if code != 0 || out != document(t, page) {
			t.Errorf("got %d, %s; %s differs: go run ./cmd/platform api %s > %s", code, errOut, page, strings.Join(args, " "), page)
		}
	}
	if code, _, errOut := api("", "", "list", "--chinese"); code != 1 || !strings.Contains(errOut, "--markdown") {
		t.Errorf("got %d, %s, want --markdown asked for", code, errOut)
	}
}

// A word without a translation would leave a hole.
func TestTheChinesePageOfAPIsHasEveryWord(t *testing.T) {
	english, chinese := document(t, "docs/apis.md"), document(t, "docs/zh/apis.md")
	if a, b := strings.Count(english, "\n| `"), strings.Count(chinese, "\n| `"); a != b || a < 700 {
		t.Errorf("got %d rows in English and %d in Chinese", a, b)
	}
	for line := range strings.Lines(chinese) {
		if strings.HasPrefix(line, "| `") && strings.Contains(line, "**") || line == "。\n" {
			t.Errorf("got an empty word in %s", line)
		}
	}
}
