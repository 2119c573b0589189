package authorizer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"wxplatform/token"
	"wxplatform/wechat"
)

// answered is the error of a call that WeChat, or something on the way to it, answers with the body
// given; without one the connection is refused.
func answered(t *testing.T, body string) error {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }))
	if body == "" {
		server.Close()
	} else {
		defer server.Close()
	}
	_, err := wechat.NewClient(server.URL, wechat.Observer{}).Do(context.Background(), wechat.Call{Method: http.MethodGet, Path: "/x"})
	return err
}

func code(t *testing.T, n int) error {
	t.Helper()
	return answered(t, fmt.Sprintf(`{"errcode":%d,"errmsg":"x rid: 666188b4-774b1b9f-5cbb8e23"}`, n))
}

func TestEffectOfARefusedRefresh(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		err  error
		want effect
	}{
		"61023":       {code(t, 61023), effect{state: Degraded, seek: true}},
		"61003":       {code(t, 61003), effect{state: Degraded, doubt: true}},
		"42007":       {code(t, 42007), effect{state: Reauthorize}},
		"45009":       {code(t, 45009), effect{state: Quota}},
		"45011":       {code(t, 45011), effect{state: Quota}},
		"48001":       {code(t, 48001), effect{state: Degraded}},
		"-1":          {code(t, -1), effect{state: Degraded}},
		"HTML":        {answered(t, "<html>"), effect{state: Degraded}},
		"unreachable": {answered(t, ""), effect{state: Degraded}},
		"61004 alone": {fmt.Errorf("%w: %w", ErrAlone, code(t, 61004)), effect{state: Degraded}},
		"40001 alone": {fmt.Errorf("%w: %w", ErrAlone, code(t, 40001)), effect{state: Degraded}},
		"for all":     {fmt.Errorf("%w: %w: %w", token.ErrInconclusive, errForAll, code(t, 61004)), effect{}},
		"undecided":   {fmt.Errorf("%w: %w", token.ErrInconclusive, code(t, 61004)), effect{}},
	} {
		got := effectOfRefresh(&token.Failure{Err: asAskError(c.err, now, 0)})
		if (got.state == "") != (got.reason == "") {
			t.Errorf("%s: got %+v, want a state with a reason", name, got)
		}
		got.reason = ""
		if got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestEffectOfARefusedCall(t *testing.T) {
	for n, want := range map[int]effect{61003: {doubt: true}, 42007: passwordChanged, 45009: {}, 45011: {}, 48001: {}, 61007: {}, 61004: {}, 40001: {}, 61023: {}, -1: {}} {
		if got := effectOfCall(code(t, n)); got != want {
			t.Errorf("%d: got %+v, want %+v", n, got, want)
		}
	}
}

func TestRefusalsThatPackageTokenMustKnow(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 0, 30, 0, time.UTC)
	for n, until := range map[int]string{45009: "16:02:30", 45011: "10:01:10"} {
		var later *token.NotBefore
		if err := asAskError(code(t, n), now, 0.5); !errors.As(err, &later) || later.Until.UTC().Format("15:04:05") != until {
			t.Errorf("%d: got %v until %v, want %s", n, err, later, until)
		}
	}
	if err := asAskError(code(t, 61023), now, 0); !errors.Is(err, token.ErrDead) {
		t.Errorf("61023: got %v, want ErrDead", err)
	}
	if asAskError(nil, now, 0) != nil {
		t.Error("got an error from none")
	}
}
