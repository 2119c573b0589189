package main

import (
	"fmt"
	"hash/crc32"
	"net/url"
	"strings"
	"testing"
)

// PostgreSQL refuses such a text with an error that looks like a failure of its own. A replica that
// took a caller's bad input for an outage would serve from memory and read everything again
// afterwards.
func TestATextThatSQLCannotHoldIsNoOutage(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		invite := `{"redirect_url":"` + redirect + `","kind":"pc",%s}`
		for _, c := range []struct {
			method, path, body string
			status             int
			slug               string
		}{
			{"GET", "/v1/authorizers/wx%FF", "", 400, "invalid-request"},
			{"GET", "/v1/authorizers/wx%00", "", 400, "invalid-request"},
			{"GET", "/v1/authorizers/wx%E5%BA%97", "", 400, "invalid-request"},
			{"POST", "/v1/authorizers/wx%FF" + closePath, `{"kf_account":"a@b","openid":"o"}`, 400, "invalid-request"},
			{"GET", "/v1/authorizers?after=%00", "", 400, "invalid-request"},
			{"GET", "/v1/authorizers?after=wx%FF", "", 400, "invalid-request"},
			{"GET", "/v1/authorizers?after=zzz", "", 400, "invalid-request"},
			{"POST", "/v1/invitations", fmt.Sprintf(invite, `"appid":"wx\u0000"`), 404, "unknown-authorizer"},
			{"POST", "/v1/invitations", fmt.Sprintf(invite, `"state":"a\u0000b"`), 400, "invalid-request"},
		} {
			w.wants(w.ask(c.method, c.path, c.body), c.status, c.slug)
			w.unshaken(c.path + " " + c.body)
		}
		for _, id := range []string{"c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "c\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "cABCDEFGHIJK"} {
			answer := w.asks(id, forgedSecret(id))
			if answer.status != 401 || answer.field("error") != "invalid_client" {
				w.t.Errorf("%q: got %d %s, want invalid_client", id, answer.status, answer.body)
			}
			w.unshaken(fmt.Sprintf("client %q", id))
		}
		w.open(kfAccount)
		w.ok(w.shut(kfAccount))
	})
}

// unshaken fails if the platform considers SQL unavailable.
func (w *world) unshaken(after string) {
	w.t.Helper()
	if w.platform.mirror.SQLUnavailable() {
		w.t.Errorf("%s: got SQL taken for away", after)
	}
}

// asks requests a JWT for a client that does not exist.
func (w *world) asks(id, secret string) reply {
	w.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
	return w.raw("POST", "/oauth/token", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, form.Encode())
}

// forgedSecret returns a well-formed secret: its checksum is public.
func forgedSecret(client string) string {
	body := "wxs_" + client + "_" + strings.Repeat("A", 32)
	return fmt.Sprintf("%s_%08x", body, crc32.ChecksumIEEE([]byte(body)))
}
