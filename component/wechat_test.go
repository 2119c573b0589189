package component

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"wxplatform/internal/dbtest"
	"wxplatform/wechat"
)

// A proxy may answer 200 in WeChat's place.
func TestOnlyErrcode0IsAGreeting(t *testing.T) {
	for body, want := range map[string]bool{
		`{"errcode":0,"errmsg":"ok"}`: true, `{"errcode":"0"}`: true,
		"": false, "<html>": false, "null": false, "{}": false, `{"errmsg":"ok"}`: false, `{"errcode":null}`: false, `{"errcode":0`: false,
	} {
		host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
		at, err := replica(t, dbtest.SQLite(t), dbtest.Ring(t), host.URL).Greet(t.Context())
		host.Close()
		if (err == nil) != want || wechat.Refused(err) != 0 || at.IsZero() {
			t.Errorf("%s: got %v at %v, want success %v", body, err, at, want)
		}
	}
}
