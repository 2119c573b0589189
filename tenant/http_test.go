package tenant

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"wxplatform/internal/db"
	"wxplatform/internal/requestlog"
)

const formType = "application/x-www-form-urlencoded"

// site is the world's routes under the request log, as serve has them.
type site struct {
	*world
	echo *echo.Echo
	log  *bytes.Buffer
}

func newSite(w *world) *site {
	s := &site{world: w, echo: echo.New(), log: &bytes.Buffer{}}
	l := got(requestlog.New(s.log, prometheus.NewRegistry(), nil))(w.t)
	s.echo.Use(l.Middleware)
	w.Routes(s.echo)
	return s
}

// post sends a form; change alters the request before it is sent.
func (s *site) post(body string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(body))
	r.Header.Set("Content-Type", formType)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	s.echo.ServeHTTP(w, r)
	return w
}

func (s *site) get(path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.echo.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func (s *site) form(more ...string) string {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {string(s.client.ID)}, "client_secret": {s.secret.Reveal()}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return form.Encode()
}

func (s *site) basic(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

func answered(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var object map[string]any
	must(t, json.Unmarshal(w.Body.Bytes(), &object))
	return object
}

func wantRefusal(t *testing.T, w *httptest.ResponseRecorder, status int, code string) {
	t.Helper()
	said := answered(t, w)
	if w.Code != status || said["error"] != code || said["error_description"] == "" {
		t.Errorf("got %d %s, want %d %s", w.Code, w.Body, status, code)
	}
	wantMembers(t, said, "error", "error_description")
	if w.Header().Get("Cache-Control") != "no-store" || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		t.Errorf("got headers %v, want JSON that is not stored", w.Header())
	}
	if hinted := strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Basic "); hinted != (status == http.StatusUnauthorized) {
		t.Errorf("got WWW-Authenticate %q with status %d", w.Header().Get("WWW-Authenticate"), status)
	}
}

func TestAClientGetsItsJWTByFormOrBasic(t *testing.T) {
	s := newSite(newWorld(t))
	bare := "grant_type=client_credentials"
	for name, w := range map[string]*httptest.ResponseRecorder{
		"form":                 s.post(s.form(), nil),
		"basic":                s.post(bare, s.basic(string(s.client.ID), s.secret.Reveal())),
		"basic, form-encoded":  s.post(bare, s.basic(percent(string(s.client.ID)), percent(s.secret.Reveal()))),
		"basic with client_id": s.post(bare+"&client_id="+string(s.client.ID), s.basic(string(s.client.ID), s.secret.Reveal())),
		"with a charset":       s.post(s.form(), func(r *http.Request) { r.Header.Set("Content-Type", formType+"; charset=UTF-8") }),
		"with other fields":    s.post(s.form("neededText", "", "scope", ""), nil),
	} {
		said := answered(t, w)
		wantMembers(t, said, "access_token", "token_type", "expires_in", "scope")
		if w.Code != http.StatusOK || said["token_type"] != "Bearer" || said["expires_in"] != 3600.0 || said["scope"] != "kfsession:write kfsession:read" {
			t.Errorf("%s: got %d %v", name, w.Code, said)
		}
		if w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got Cache-Control %q, want no-store", name, w.Header().Get("Cache-Control"))
		}
		s.accepts(said["access_token"].(string))
	}
}

func percent(text string) string {
	var out strings.Builder
	for _, c := range []byte(text) {
		out.WriteString("%" + string("0123456789ABCDEF"[c>>4]) + string("0123456789ABCDEF"[c&15]))
	}
	return out.String()
}

func TestTheScopesAskedForAreTheScopesGiven(t *testing.T) {
	s := newSite(newWorld(t))
	said := answered(t, s.post(s.form("scope", "kfsession:read"), nil))
	if said["scope"] != "kfsession:read" {
		t.Errorf("got scope %v, want kfsession:read", said["scope"])
	}
	for _, scope := range []string{"authorizers:read", "kfsession:read authorizers:read", "nosuch", " "} {
		wantRefusal(t, s.post(s.form("scope", scope), nil), http.StatusBadRequest, "invalid_scope")
	}
}

func TestEveryWrongClientIsRefusedInTheSameWay(t *testing.T) {
	s := newSite(newWorld(t))
	ghost := ClientID(newID("c", idLength))
	revoked, revokedSecret, err := s.CreateClient(t.Context(), tester, s.tenant.ID, "old", NewScopes(KFSessionRead))
	must(t, err)
	must(t, s.RevokeClient(t.Context(), tester, s.tenant.ID, revoked.ID))
	wrong := s.post(s.form("client_secret", newSecret(s.client.ID).Reveal()), nil)
	unknown := s.post(s.form("client_id", string(ghost), "client_secret", newSecret(ghost).Reveal()), nil)
	gone := s.post(s.form("client_id", string(revoked.ID), "client_secret", revokedSecret.Reveal()), nil)
	wantRefusal(t, wrong, http.StatusUnauthorized, "invalid_client")
	if wrong.Body.String() != unknown.Body.String() || unknown.Code != wrong.Code || gone.Body.String() != wrong.Body.String() {
		t.Errorf("got %s, %s and %s, want the same", wrong.Body, unknown.Body, gone.Body)
	}
}

func TestAMistypedSecretIsSaidToBeOne(t *testing.T) {
	s := newSite(newWorld(t))
	mistyped := s.post(s.form("client_secret", s.secret.Reveal()[:50]), nil)
	wantRefusal(t, mistyped, http.StatusUnauthorized, "invalid_client")
	if !strings.Contains(mistyped.Body.String(), "mistyped") {
		t.Errorf("got %s, want it to say so", mistyped.Body)
	}
}

func TestCredentialsThatCannotBeReadAreRefused(t *testing.T) {
	s := newSite(newWorld(t))
	bare := "grant_type=client_credentials"
	authorization := func(value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", value) }
	}
	for name, w := range map[string]*httptest.ResponseRecorder{
		"none":             s.post(bare, nil),
		"no secret":        s.post(bare+"&client_id="+string(s.client.ID), nil),
		"no id":            s.post(bare+"&client_secret="+s.secret.Reveal(), nil),
		"bearer":           s.post(bare, authorization("Bearer x")),
		"basic, no base64": s.post(bare, authorization("Basic !")),
		"basic, no colon":  s.post(bare, authorization("Basic "+base64.StdEncoding.EncodeToString([]byte("x")))),
		"basic, bad %":     s.post(bare, s.basic("%zz", s.secret.Reveal())),
		"basic, bad % too": s.post(bare, s.basic(string(s.client.ID), "%zz")),
	} {
		t.Run(name, func(t *testing.T) {
			wantRefusal(t, w, http.StatusUnauthorized, "invalid_client")
			if strings.HasPrefix(name, "basic") && !strings.Contains(w.Body.String(), "not Basic") {
				t.Errorf("got %s, want the header blamed", w.Body)
			}
		})
	}
}

func TestARequestThatIsNotAsItShouldBeIsRefused(t *testing.T) {
	s := newSite(newWorld(t))
	id, secret := string(s.client.ID), s.secret.Reveal()
	for name, w := range map[string]*httptest.ResponseRecorder{
		"no grant_type":           s.post("client_id="+id+"&client_secret="+secret, nil),
		"a parameter twice":       s.post(s.form()+"&grant_type=client_credentials", nil),
		"an unknown one twice":    s.post(s.form()+"&x=1&x=2", nil),
		"query":                   s.post(s.form(), func(r *http.Request) { r.URL.RawQuery = "client_id=" + id }),
		"JSON":                    s.post(`{"grant_type":"client_credentials"}`, func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }),
		"no content type":         s.post(s.form(), func(r *http.Request) { r.Header.Del("Content-Type") }),
		"no form":                 s.post("a=%zz", nil),
		"semicolons":              s.post("a=1;b=2", nil),
		"header and form":         s.post(s.form(), s.basic(id, secret)),
		"two headers":             s.post("grant_type=client_credentials", func(r *http.Request) { r.Header["Authorization"] = []string{"Basic eDp5", "Basic eDp5"} }),
		"another id in the form":  s.post("grant_type=client_credentials&client_id=cother", s.basic(id, secret)),
		"larger than 64 KB":       s.post(s.form("x", strings.Repeat("x", 64<<10)), nil),
		"a body that is cut off ": s.post("", func(r *http.Request) { r.Body = http.MaxBytesReader(nil, r.Body, 0); r.Body = brokenBody{} }),
	} {
		t.Run(name, func(t *testing.T) { wantRefusal(t, w, http.StatusBadRequest, "invalid_request") })
	}
	wantRefusal(t, s.post(s.form("grant_type", "password"), nil), http.StatusBadRequest, "unsupported_grant_type")
	if fits := s.post(s.form("x", strings.Repeat("x", 60<<10)), nil); fits.Code != http.StatusOK {
		t.Errorf("got %d for a body under 64 KB, want 200", fits.Code)
	}
}

type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, http.ErrHandlerTimeout }
func (brokenBody) Close() error             { return nil }

func TestASuspendedTenantsClientIsUnauthorized(t *testing.T) {
	s := newSite(newWorld(t))
	must(t, s.Suspend(t.Context(), tester, s.tenant.ID))
	wantRefusal(t, s.post(s.form(), nil), http.StatusBadRequest, "unauthorized_client")
	wantRefusal(t, s.post(s.form("client_secret", newSecret(s.client.ID).Reveal()), nil), http.StatusUnauthorized, "invalid_client")
}

func TestAnOutageIsNoInvalidClient(t *testing.T) {
	s := newSite(newWorld(t))
	s.Registry = s.replica(t)
	s.echo = echo.New()
	s.Routes(s.echo)
	must(t, s.db.Close())
	wantRefusal(t, s.post(s.form(), nil), http.StatusServiceUnavailable, "temporarily_unavailable")
	_, err := s.Token(t.Context(), s.client.ID, s.secret, "")
	wantErr(t, err, db.ErrUnavailable)
}

func TestTheLogNamesTenantAndClientAndNoSecret(t *testing.T) {
	s := newSite(newWorld(t))
	said := answered(t, s.post(s.form(), nil))
	s.post(s.form("client_secret", s.secret.Reveal()+"x"), nil)
	s.post(s.form(), func(r *http.Request) { r.URL.RawQuery = s.secret.Reveal() })
	s.post("a=%zz"+s.secret.Reveal(), nil)
	s.post("grant_type="+s.secret.Reveal(), nil)
	for _, secret := range []string{s.secret.Reveal(), said["access_token"].(string)} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("got %s, want no secret in it", s.log)
		}
	}
	for _, want := range []string{`"client":"` + string(s.client.ID), `"tenant":"` + string(s.tenant.ID), `"error":"invalid_request: `, "mistyped"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("got %s, want %s in it", s.log, want)
		}
	}
}

func (w *world) published(t *testing.T) int {
	t.Helper()
	return len(answered(t, newSite(w).get("/.well-known/jwks.json"))["keys"].([]any))
}

func TestThePublishedKeysVerifyJWTsAndHoldNothingPrivate(t *testing.T) {
	s := newSite(newWorld(t))
	got(s.Keys.Rotate(t.Context(), tester))(t)
	answer := s.get("/.well-known/jwks.json")
	if answer.Header().Get("Cache-Control") != "public, max-age=300" {
		t.Errorf("got Cache-Control %q", answer.Header().Get("Cache-Control"))
	}
	public := map[string]ed25519.PublicKey{}
	for _, k := range answered(t, answer)["keys"].([]any) {
		k := k.(map[string]any)
		wantMembers(t, k, "kty", "crv", "x", "kid", "use", "alg")
		public[k["kid"].(string)] = got(base64.RawURLEncoding.DecodeString(k["x"].(string)))(t)
	}
	if len(public) != 2 {
		t.Errorf("got %d keys, want the one that is to sign too", len(public))
	}
	_, err := jwt.Parse(s.token(), func(token *jwt.Token) (any, error) { return public[token.Header["kid"].(string)], nil })
	must(t, err)
}

func TestARevokedKeyIsNotPublished(t *testing.T) {
	s := newSite(newWorld(t))
	old := kidOf(t, s.token())
	must(t, s.Keys.Revoke(t.Context(), tester, old))
	if body := s.get("/.well-known/jwks.json").Body.String(); strings.Contains(body, string(old)) {
		t.Errorf("got %s, want no %s in it", body, old)
	}
}

func TestTheDescriptionNamesTheRoutesThatThereAre(t *testing.T) {
	s := newSite(newWorld(t))
	said := answered(t, s.get("/.well-known/oauth-authorization-server"))
	for name, want := range map[string]string{"issuer": publicURL, "token_endpoint": publicURL + "/oauth/token", "jwks_uri": publicURL + "/.well-known/jwks.json"} {
		if said[name] != want {
			t.Errorf("%s: got %v, want %s", name, said[name], want)
		}
	}
	wantMembers(t, said, "issuer", "token_endpoint", "jwks_uri", "grant_types_supported", "token_endpoint_auth_methods_supported", "scopes_supported", "response_types_supported")
}
