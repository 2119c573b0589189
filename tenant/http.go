package tenant

import (
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"

	"github.com/labstack/echo/v4"

	"wxplatform/internal/db"
	"wxplatform/internal/requestlog"
	"wxplatform/internal/seal"
)

const (
	formKind    = "application/x-www-form-urlencoded"
	longestForm = 64 << 10
	keysMaxAge  = "public, max-age=300" // half of publishAhead, so that a cached copy has every key before it signs
)

// Routes adds the token endpoint, the published keys and the description of both.
func (r *Registry) Routes(e *echo.Echo) {
	e.POST("/oauth/token", r.token)
	e.GET("/.well-known/jwks.json", r.publishKeys)
	e.GET("/.well-known/oauth-authorization-server", r.describe)
}

// refusal is an error in the form of RFC 6749 §5.2. Nothing of the request is in the description.
type refusal struct {
	status      int
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

func (r *refusal) Error() string { return r.Code + ": " + r.Description }

func malformed(description string) error {
	return &refusal{http.StatusBadRequest, "invalid_request", description}
}

func invalidClient(description string) *refusal {
	return &refusal{http.StatusUnauthorized, "invalid_client", description}
}

type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"`
	Scope       string `json:"scope"`
}

func (r *Registry) token(c echo.Context) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	c.Response().Header().Set("Pragma", "no-cache")
	id, grant, err := r.grant(c.Request())
	if err != nil {
		return answerRefusal(c, err)
	}
	ctx := c.Request().Context()
	requestlog.Add(ctx, "client", string(id))
	requestlog.Add(ctx, "tenant", string(grant.Tenant))
	return c.JSON(http.StatusOK, tokenAnswer{
		AccessToken: grant.Token.Reveal(), TokenType: "Bearer",
		ExpiresIn: int(lifetime.Seconds()), Scope: grant.Scopes.String(),
	})
}

func (r *Registry) grant(request *http.Request) (ClientID, Grant, error) {
	form, err := readForm(request)
	if err != nil {
		return "", Grant{}, err
	}
	id, secret, err := credentials(request, form)
	if err != nil {
		return "", Grant{}, err
	}
	switch form.Get("grant_type") {
	case "client_credentials":
		grant, err := r.Token(request.Context(), id, secret, form.Get("scope"))
		return id, grant, err
	case "":
		return "", Grant{}, malformed("grant_type is missing")
	default:
		return "", Grant{}, &refusal{http.StatusBadRequest, "unsupported_grant_type", "only client_credentials is supported"}
	}
}

// readForm reads parameters from the body only, because URLs are logged. It refuses a parameter
// that comes twice, because one reader would take the first value and another the last.
func readForm(request *http.Request) (url.Values, error) {
	if request.URL.RawQuery != "" {
		return nil, malformed("parameters belong in the body")
	}
	if kind, _, err := mime.ParseMediaType(request.Header.Get("Content-Type")); err != nil || kind != formKind {
		return nil, malformed("the body must be application/x-www-form-urlencoded")
	}
	body, err := io.ReadAll(io.LimitReader(request.Body, longestForm+1))
	if err != nil || len(body) > longestForm {
		return nil, malformed("the body is incomplete or larger than 64 KB")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, malformed("the body cannot be read")
	}
	for _, values := range form {
		if len(values) > 1 {
			return nil, malformed("a parameter is given twice")
		}
	}
	return form, nil
}

// credentials reads the client's id and secret from the header or from the form, but not from both.
// The form may repeat the id of the header.
func credentials(request *http.Request, form url.Values) (ClientID, seal.Secret, error) {
	id, secret := form.Get("client_id"), form.Get("client_secret")
	headers := request.Header.Values("Authorization")
	switch {
	case len(headers) == 0 && (id == "" || secret == ""):
		return "", seal.Secret{}, invalidClient("client id or secret is missing")
	case len(headers) == 0:
		return ClientID(id), seal.NewSecret(secret), nil
	case len(headers) > 1 || secret != "":
		return "", seal.Secret{}, malformed("the client authenticates in more than one way")
	}
	user, password, ok := basic(request)
	switch {
	case !ok:
		return "", seal.Secret{}, invalidClient("the Authorization header is not Basic with client id and secret")
	case id != "" && id != user:
		return "", seal.Secret{}, malformed("client_id is not the one in the Authorization header")
	}
	return ClientID(user), seal.NewSecret(password), nil
}

// basic reads the Authorization header. Both values are form-urlencoded (RFC 6749 §2.3.1).
func basic(request *http.Request) (user, password string, ok bool) {
	user, password, ok = request.BasicAuth()
	user, bad := url.QueryUnescape(user)
	password, worse := url.QueryUnescape(password)
	return user, password, ok && bad == nil && worse == nil
}

// answerRefusal answers in the form of RFC 6749 §5.2. An error of ours that has no code there goes
// to Echo's error handler.
func answerRefusal(c echo.Context, err error) error {
	refused := refusalOf(err)
	if refused == nil {
		return err
	}
	requestlog.Add(c.Request().Context(), "error", err.Error())
	var rate *RateError
	if errors.As(err, &rate) {
		c.Response().Header().Set("Retry-After", strconv.Itoa(rate.Seconds()))
	}
	if refused.status == http.StatusUnauthorized {
		c.Response().Header().Set("WWW-Authenticate", `Basic realm="wxplatform", charset="UTF-8"`)
	}
	return c.JSON(refused.status, refused)
}

// refusalOf returns the refusal for an error, or nil. A suspended tenant's client is told
// unauthorized_client and not invalid_client, because its secret is right. RFC 6749 §5.2 has no
// code for an outage, so that of §4.1.2.1 is used.
func refusalOf(err error) *refusal {
	var r *refusal
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, errMistyped):
		return invalidClient("the client secret is incomplete, mistyped or another client's")
	case errors.Is(err, ErrWrongSecret):
		return invalidClient("there is no such client with this secret")
	case errors.Is(err, ErrSuspended):
		return &refusal{http.StatusBadRequest, "unauthorized_client", "the tenant is suspended"}
	case errors.Is(err, ErrRate):
		return &refusal{http.StatusTooManyRequests, "temporarily_unavailable", "the tenant sends more requests a second than it may"}
	case errors.Is(err, ErrInvalidScope):
		return &refusal{http.StatusBadRequest, "invalid_scope", "a scope is unknown, or not one of this client"}
	case errors.Is(err, db.ErrUnavailable):
		return &refusal{http.StatusServiceUnavailable, "temporarily_unavailable", "try again"}
	}
	return nil
}

// jwk is a public key in the form of RFC 8037.
type jwk struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	ID        KeyID  `json:"kid"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
}

func (k *key) jwk() jwk {
	return jwk{
		Type: "OKP", Curve: "Ed25519", X: base64.RawURLEncoding.EncodeToString(k.Public),
		ID: k.ID, Use: "sig", Algorithm: "EdDSA",
	}
}

func (r *Registry) publishKeys(c echo.Context) error {
	keys, err := r.Keys.known(c.Request().Context())
	if err != nil {
		return err
	}
	set := struct {
		Keys []jwk `json:"keys"`
	}{[]jwk{}}
	now := r.Now()
	for _, k := range keys.ordered {
		if k.published(now) {
			set.Keys = append(set.Keys, k.jwk())
		}
	}
	c.Response().Header().Set("Cache-Control", keysMaxAge)
	return c.JSON(http.StatusOK, set)
}

// describe answers with the metadata of RFC 8414. It requires response_types_supported, which is
// empty because no user logs in here.
func (r *Registry) describe(c echo.Context) error {
	c.Response().Header().Set("Cache-Control", keysMaxAge)
	return c.JSON(http.StatusOK, map[string]any{
		"issuer":                                r.issuer,
		"token_endpoint":                        r.issuer + "/oauth/token",
		"jwks_uri":                              r.issuer + "/.well-known/jwks.json",
		"grant_types_supported":                 []string{"client_credentials"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
		"scopes_supported":                      allScopes,
		"response_types_supported":              []string{},
	})
}
