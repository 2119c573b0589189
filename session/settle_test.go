package session

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"wxplatform/authorizer"
	"wxplatform/internal/strict"
	"wxplatform/wechat"
)

// closing is the error of a close that meets a WeChat which answers with the given text; "" is a
// WeChat that breaks the connection.
func closing(t *testing.T, text string) error {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if text == "" {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(server.Close)
	client := wechat.NewClient(server.URL, wechat.Observer{})
	t.Cleanup(client.CloseIdle)
	_, err := client.Do(t.Context(), closeSession(Pair{sent: wechat.Call{Body: []byte(`{}`)}}))
	return err
}

// unreachable is the error of a close that was not sent.
func unreachable(t *testing.T) error {
	t.Helper()
	client := wechat.NewClient("http://127.0.0.1:1", wechat.Observer{})
	t.Cleanup(client.CloseIdle)
	_, err := client.Do(t.Context(), closeSession(Pair{sent: wechat.Call{Body: []byte(`{}`)}}))
	if !wechat.NotSent(err) {
		t.Fatalf("got %v, want a call that was not sent", err)
	}
	return err
}

func TestWhatASecondCloseSettles(t *testing.T) {
	for name, c := range map[string]struct {
		second error
		want   Outcome
		failed bool
	}{
		"it is closed":                     {closing(t, `{"errcode":0,"errmsg":"ok"}`), Closed, false},
		"there is no session any more":     {closing(t, `{"errcode":65413,"errmsg":"x"}`), Inferred, false},
		"the answer is lost again":         {closing(t, ""), 0, false},
		"WeChat is busy":                   {closing(t, `{"errcode":-1,"errmsg":"system error"}`), 0, false},
		"the answer says nothing":          {closing(t, `{}`), 0, false},
		"another kf account is serving":    {closing(t, `{"errcode":65414,"errmsg":"x"}`), 0, true},
		"the quota is used up":             {closing(t, `{"errcode":45009,"errmsg":"x"}`), 0, true},
		"it was not sent":                  {unreachable(t), 0, true},
		"it failed before it got that far": {errors.New("no token"), 0, true},
	} {
		got, err := settled(c.second)
		if got != c.want || (err != nil) != c.failed || c.failed && !errors.Is(err, c.second) {
			t.Errorf("%s: got %d, %v, want %d, failed %v", name, got, err, c.want, c.failed)
		}
	}
}

func TestARepeatedCallThatWasNotSentLeavesTheFirstOutcome(t *testing.T) {
	lost, refused, notSent := closing(t, ""), closing(t, `{"errcode":65414,"errmsg":"x"}`), unreachable(t)
	noToken := fmt.Errorf("%w: %w", authorizer.ErrNoToken, closing(t, `{"errcode":61023,"errmsg":"x"}`))
	for name, c := range map[string]struct{ second, want error }{
		"it succeeded":       {nil, nil},
		"it was refused":     {refused, refused},
		"it was not sent":    {notSent, lost},
		"there was no token": {noToken, lost},
	} {
		if got := again(lost, func() error { return c.second }); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestWhichParametersAreAccepted(t *testing.T) {
	for _, c := range []struct {
		field, value string
		ok           bool
	}{
		{"openid", "o1", true},
		{"openid", "any text that WeChat may judge", true},
		{"openid", "", false},
		{"kf_account", "kf2001@shop", true},
		{"kf_account", "kf2001@gh_1a2b3c4d5e6f", true},
		{"kf_account", "kf2001", false},
		{"kf_account", "@shop", false},
		{"kf_account", "kf2001@", false},
		{"kf_account", "kf2001@shop@other", false},
		{"kf_account", "", false},
	} {
		err := checked(c.field, c.value)
		fault := (*strict.Fault)(nil)
		if (err == nil) != c.ok || err != nil && (!errors.As(err, &fault) || fault.Field != c.field) {
			t.Errorf("%s %q: got %v, want it accepted %v", c.field, c.value, err, c.ok)
		}
	}
}
