package tenant

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	jwtType  = "at+jwt"
	lifetime = time.Hour
	// boundLifetime is that of a JWT that is bound to one account. SDKs that keep it in place of
	// WeChat's token take it for one that lives two hours, and WeChat's work for five minutes more.
	boundLifetime = 7500 * time.Second
	// longestLifetime is for how long a key that signs no more is needed.
	longestLifetime = max(lifetime, boundLifetime)
	// skew is how far the clocks of issuer and verifier may be apart. Each time in a JWT is checked
	// with it once.
	skew = 30 * time.Second
	// LongestComfortable is how long a JWT should be at most. Merchants store it in place of WeChat's
	// tokens, for which WeChat asks them to reserve 512 characters.
	LongestComfortable = 511
	appidLength        = 18 // of WeChat's appids
)

// claims are the claims of our JWTs. Scope is nil if the client asked for none, which means all
// that it has.
type claims struct {
	jwt.RegisteredClaims
	ClientID ClientID `json:"client_id"`
	Tenant   ID       `json:"tenant"`
	AppID    string   `json:"appid"` // "" if the JWT is not bound to one account
	Scope    *string  `json:"scope"`
}

// extent is what a JWT is good for. The zero value is all that its client may do.
type extent struct {
	scopes *Scopes // nil if the client asked for none, which means all that it has
	appid  string  // the only account; "" if it is not bound to one
}

func (e extent) lifetime() time.Duration {
	if e.appid != "" {
		return boundLifetime
	}
	return lifetime
}

// issue makes a JWT of a client.
func (r *Registry) issue(ctx context.Context, c Client, e extent) (string, error) {
	now := r.Now()
	id, private, err := r.Keys.signer(ctx, now)
	if err != nil {
		return "", err
	}
	return unsigned(r.issuer, c, e, id, now).SignedString(private)
}

// unsigned makes a JWT without its signature. The claims are a map, because jwt.RegisteredClaims
// would write the single audience as a list.
func unsigned(issuer string, c Client, e extent, kid KeyID, now time.Time) *jwt.Token {
	members := jwt.MapClaims{
		"iss":       issuer,
		"aud":       issuer,
		"sub":       c.ID,
		"client_id": c.ID,
		"tenant":    c.Tenant,
		"iat":       now.Unix(),
		"exp":       now.Add(e.lifetime()).Unix(),
		"jti":       newID("", jtiLength),
	}
	if e.scopes != nil {
		members["scope"] = e.scopes.String()
	}
	if e.appid != "" {
		members["appid"] = e.appid
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, members)
	token.Header["typ"], token.Header["kid"] = jwtType, kid
	return token
}

// JWTLength returns how many characters a JWT of the platform at publicURL has that is bound to one
// account, which merchants store in place of WeChat's tokens. It makes one and signs it; the ids in
// it are as long as every tenant's, client's, key's and account's. More than LongestComfortable is
// worth a warning.
func JWTLength(publicURL string) int {
	noKey := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	c := Client{ID: ClientID(newID("c", idLength)), Tenant: ID(newID("t", idLength))}
	bound := extent{appid: newID("wx", appidLength)}
	text, err := unsigned(issuer(publicURL), c, bound, KeyID(newID("", keyIDLength)), time.Now()).SignedString(noKey)
	if err != nil {
		return 0 // strings and numbers always marshal
	}
	return len(text)
}

func issuer(publicURL string) string { return strings.TrimRight(publicURL, "/") }

// proof is what a verified JWT proves, as long as its key, client and tenant are valid.
type proof struct {
	client  ClientID
	tenant  ID
	appid   string
	kid     KeyID
	expires time.Time
	scopes  Scopes
}

// verify checks a JWT in every way that does not depend on its client and tenant. It fails with
// ErrInvalidToken, ErrTokenExpired or db.ErrUnavailable.
func (r *Registry) verify(ctx context.Context, token string) (proof, error) {
	kid, err := inspect(token)
	if err != nil {
		return proof{}, fmt.Errorf("%w: %w", ErrInvalidToken, err)
	}
	k, err := r.Keys.verifying(ctx, kid)
	if err != nil {
		return proof{}, err
	}
	verified, err := r.read(token, k)
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return proof{}, ErrTokenExpired
	case errors.Is(err, jwt.ErrTokenInvalidIssuer), errors.Is(err, jwt.ErrTokenInvalidAudience): // after the signature
		return proof{}, fmt.Errorf("%w: %w", ErrOtherIssuer, err)
	case err != nil:
		return proof{}, fmt.Errorf("%w: %w", ErrInvalidToken, err)
	}
	return proof{
		client: verified.ClientID, tenant: verified.Tenant, appid: verified.AppID,
		kid: kid, expires: verified.ExpiresAt.Time, scopes: verified.scopes(),
	}, nil
}

// read checks the signature and then the claims. All our keys are Ed25519, so no other algorithm is
// accepted, whatever the header says.
func (r *Registry) read(token string, k *key) (*claims, error) {
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithStrictDecoding(),
		jwt.WithIssuer(r.issuer),
		jwt.WithAudience(r.issuer),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(skew),
		jwt.WithTimeFunc(r.Now),
	)
	verified := &claims{}
	_, err := parser.ParseWithClaims(token, verified, func(*jwt.Token) (any, error) { return k.verifying(), nil })
	return verified, err
}

// Validate checks what the library does not. The library calls it after its own checks.
func (c *claims) Validate() error {
	switch {
	case c.IssuedAt == nil || c.ExpiresAt == nil:
		return errors.New("iat or exp is missing")
	case c.ExpiresAt.Sub(c.IssuedAt.Time) > extent{appid: c.AppID}.lifetime():
		return errors.New("it lives too long")
	case len(c.Audience) != 1:
		return errors.New("it has several audiences")
	case c.Subject == "" || c.Subject != string(c.ClientID):
		return errors.New("sub is not client_id")
	case c.Tenant == "" || c.ID == "":
		return errors.New("tenant or jti is missing")
	}
	return nil
}

func (c *claims) scopes() Scopes {
	if c.Scope == nil {
		return Every
	}
	return parseKnown(*c.Scope)
}
