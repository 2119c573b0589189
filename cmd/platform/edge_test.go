package main

import (
	"net/http"
	"strings"
	"testing"

	"wxplatform/internal/dbtest"
)

func TestTwoAuthorizationHeadersAreRefused(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	for _, second := range []string{"Authorization: Bearer " + w.jwt, "authorization: Bearer garbage", "AUTHORIZATION:"} {
		w.open(kfAccount)
		answers := w.spoken(w.closing(second + "\r\n"))
		if len(answers) != 1 || answers[0].StatusCode != 401 || !strings.Contains(answers[0].Header.Get("WWW-Authenticate"), "invalid_token") {
			t.Errorf("%q: got %v, want one 401", second, statuses(answers))
		}
	}
}

func TestProfilesAreServedOnlyIfTheyAreTurnedOn(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]int{"": 404, "off": 404, "on": 200} {
		w := newWorldWith(t, map[string]string{"PLATFORM_DATABASE_URL": dbtest.SQLiteURL(t), "PLATFORM_PPROF": setting})
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/symbol", "/debug/pprof/heap"} {
			answer, err := http.Get("http://" + w.on.private.Addr().String() + path)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if answer.StatusCode != want {
				t.Errorf("%q: %s: got %d, want %d", setting, path, answer.StatusCode, want)
			}
		}
	}
}

func TestAForwardedAddressIsLoggedOnlyIfItsProxyIsTrusted(t *testing.T) {
	t.Parallel()
	for trusted, want := range map[string]string{"": "127.0.0.1", "192.0.2.0/24": "127.0.0.1", "127.0.0.0/8, ::1": "203.0.113.5"} {
		w := newWorldWith(t, map[string]string{"PLATFORM_DATABASE_URL": dbtest.SQLiteURL(t), "PLATFORM_TRUSTED_PROXIES": trusted})
		for _, forwarded := range []string{"X-Forwarded-For: 203.0.113.5\r\n", "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 203.0.113.5\r\n"} { // the second is net/http's
			w.log.reset()
			if answers := w.spoken("GET /v1/authorizers HTTP/1.1\r\nHost: x\r\n" + forwarded + "\r\n"); len(answers) != 1 {
				t.Fatalf("got %v, want one answer", statuses(answers))
			}
			w.eventually("the line", func() bool { return strings.Contains(w.log.String(), `"route":"/v1/authorizers"`) })
			if !strings.Contains(w.log.String(), `"address":"`+want+`"`) {
				t.Errorf("trusting %q: got %s, want %s", trusted, w.log, want)
			}
		}
	}
}
