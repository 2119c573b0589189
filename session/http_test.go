package session

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"wxplatform/relay"
	"wxplatform/wechat"
)

// An SDK's call goes to WeChat with its own query, Content-Type and body, but without the JWT.
func TestWhatAnSDKSendsAboutASessionReachesWeChatAsItWas(t *testing.T) {
	catalogue, err := relay.Load()
	if err != nil {
		t.Fatal(err)
	}
	api, _ := catalogue.Find("POST", "/customservice/kfsession/close")
	h := Handler{DropIn: relay.DropInDoor(catalogue, nil, nil)}
	const body = `{"text": "再见 <&>","openid":"o1","kf_account":"a@b"}` + "\n"
	for given, want := range map[string]string{"application/json; charset=utf-8": "application/json; charset=utf-8", "": wechat.NoContentType} {
		r := httptest.NewRequest("POST", api.Path+"?debug=%31&access_token=jwt&x", strings.NewReader(body))
		if given != "" {
			r.Header.Set("Content-Type", given)
		}
		p, err := h.readAsSent(echo.New().NewContext(r, httptest.NewRecorder()), api)
		if err != nil || p.KFAccount != "a@b" || p.OpenID != "o1" {
			t.Errorf("got %+v, %v, want the pair", p, err)
		}
		if got := closeSession(p); string(got.Body) != body || got.ContentType != want || got.Query != "debug=%31&x" || got.Path != api.Path || !got.Explicit {
			t.Errorf("got %s %q, %q and %q, want what was sent", got.Path, got.Query, got.ContentType, got.Body)
		}
	}
}
