package sdkreader

import (
	"net/http"
	"strings"
	"testing"

	"wxplatform/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const weChats = "application/json; encoding=utf-8"

func TestWhatSDKsReadIsAccepted(t *testing.T) {
	jwt := strings.Repeat("x", 400)
	for what, c := range map[string]struct{ path, contentType, body string }{
		"a success":            {"/cgi-bin/menu/create", weChats, `{"errcode":0,"errmsg":"ok"}`},
		"a refusal":            {"/cgi-bin/menu/get", weChats, `{"errcode":-1000,"errmsg":"unknown","msg_id":1}`},
		"an answer that reads": {"/cgi-bin/menu/get", "application/json", `{"menu":{"button":[]}}`},
		"a token":              {"/cgi-bin/token", weChats, `{"access_token":"` + jwt + `","expires_in":7200}`},
		"a refused token":      {"//cgi-bin/stable_token", weChats, `{"errcode":40125,"errmsg":"invalid appsecret"}`},
		"a file":               {"/cgi-bin/media/get", "image/jpeg", "\xff\xd8\x00"},
	} {
		if err := Check(c.path, 200, http.Header{"Content-Type": {c.contentType}}, []byte(c.body)); err != nil {
			t.Errorf("%s: got %v, want it read", what, err)
		}
	}
}

func TestWhatSomeSDKCannotReadIsRefused(t *testing.T) {
	jwt := strings.Repeat("x", 400)
	for what, c := range map[string]struct {
		path, contentType, body string
		status                  int
	}{
		"another status":             {"/cgi-bin/menu/get", weChats, `{"errcode":40001,"errmsg":"x"}`, 401},
		"a redirect":                 {"/cgi-bin/menu/get", weChats, `{}`, 307},
		"an empty body":              {"/cgi-bin/menu/get", weChats, "", 200},
		"no Content-Type":            {"/cgi-bin/menu/get", "", `{}`, 200},
		"a problem":                  {"/cgi-bin/menu/get", "application/problem+json", `{"errcode":1,"errmsg":"x"}`, 200},
		"JSON as text":               {"/cgi-bin/menu/get", "text/plain", `{"errcode":1,"errmsg":"x"}`, 200},
		"a line break at the end":    {"/cgi-bin/menu/get", weChats, "{\"errcode\":0,\"errmsg\":\"ok\"}\n", 200},
		"a line break inside":        {"/cgi-bin/menu/get", weChats, "{\n\"errcode\":0}", 200},
		"cut JSON":                   {"/cgi-bin/menu/get", weChats, `{"errcode":0`, 200},
		"no object":                  {"/cgi-bin/menu/get", weChats, `[]`, 200},
		"an errcode in text":         {"/cgi-bin/menu/get", weChats, `{"errcode":"1","errmsg":"x"}`, 200},
		"a broken errcode":           {"/cgi-bin/menu/get", weChats, `{"errcode":1.5,"errmsg":"x"}`, 200},
		"no errmsg":                  {"/cgi-bin/menu/get", weChats, `{"errcode":1}`, 200},
		"no token":                   {"/cgi-bin/token", weChats, `{}`, 200},
		"a short token":              {"/cgi-bin/token", weChats, `{"access_token":"short","expires_in":7200}`, 200},
		"a long token":               {"/cgi-bin/token", weChats, `{"access_token":"` + jwt + jwt + `","expires_in":7200}`, 200},
		"a token to escape":          {"/cgi-bin/token", weChats, `{"access_token":"` + jwt + `+","expires_in":7200}`, 200},
		"a time in text":             {"/cgi-bin/token", weChats, `{"access_token":"` + jwt + `","expires_in":"7200"}`, 200},
		"a broken time":              {"/cgi-bin/token", weChats, `{"access_token":"` + jwt + `","expires_in":7200.5}`, 200},
		"a short time":               {"/cgi-bin/token", weChats, `{"access_token":"` + jwt + `","expires_in":1500}`, 200},
		"a token refused as expired": {"//cgi-bin/token", weChats, `{"errcode":42001,"errmsg":"x"}`, 200},
		"a token call that is busy":  {"/cgi-bin/stable_token", weChats, `{"errcode":-1,"errmsg":"x"}`, 200},
	} {
		if err := Check(c.path, c.status, http.Header{"Content-Type": {c.contentType}}, []byte(c.body)); err == nil {
			t.Errorf("%s: got it read, want it refused", what)
		}
	}
	if Check("/cgi-bin/media/get", 200, http.Header{"Content-Type": {"image/jpeg"}, "Content-Encoding": {"gzip"}}, []byte("x")) == nil {
		t.Error("a compressed file: got it read, want it refused")
	}
}

func TestSecretsThatSDKsCanUse(t *testing.T) {
	for secret, fine := range map[string]bool{"wxs_" + strings.Repeat("aB9-", 15): true, strings.Repeat("a", 31): false, strings.Repeat("a", 65): false, strings.Repeat("a", 40) + "/": false} {
		if err := Secret(secret); (err == nil) != fine {
			t.Errorf("%s: got %v, want usable: %v", secret, err, fine)
		}
	}
}
