package tenant

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	jwtType  = "at+jwt"
	lifetime = time.Hour
	// skew is how far the clocks of issuer and verifier may be apart. It is applied to every time in a JWT, and nowhere twice.
	skew = 30 * time.Second
	// LongestComfortable is how long a JWT should be at most: merchants keep it where WeChat's tokens go, and WeChat tells them to make room for 512 characters.
	LongestComfortable = 511
)

// claims are what a JWT of ours says. Scope is nil where the client asked for none, which means all that it has.
type claims struct {
	jwt.RegisteredClaims
	ClientID ClientID `json:"client_id"`
	Tenant   ID       `json:"tenant"`
	AppID    string   `json:"appid"` // "" if the JWT is not bound to one account
	Scope    *string  `json:"scope"`
}

// issue makes a client's JWT, for the scopes that it asked for, or all that it has and will have where asked is nil.
func (r *Registry) issue(ctx context.Context, c Client, asked *Scopes) (string, error) {
	keys, err := r.knownKeys(ctx)
	if err != nil {
		return "", err
	}
	now := r.Now()
	k := keys.signer(now)
	if k == nil {
		return "", errors.New("there is no signing key")
	}
	private, err := k.open(r.ring)
	if err != nil {
		return "", err
	}
	return unsigned(r.issuer, c, asked, k.ID, now).SignedString(private)
}

// The claims are a map, because the library would spell the one audience as a list.
func unsigned(issuer string, c Client, asked *Scopes, kid KeyID, now time.Time) *jwt.Token {
	said := jwt.MapClaims{
		"iss":       issuer,
		"aud":       issuer,
		"sub":       c.ID,
		"client_id": c.ID,
		"tenant":    c.Tenant,
		"iat":       now.Unix(),
		"exp":       now.Add(lifetime).Unix(),
		"jti":       newID("", jtiLength),
	}
	if asked != nil {
		said["scope"] = asked.String()
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, said)
	token.Header["typ"], token.Header["kid"] = jwtType, kid
	return token
}

// JWTLength is how long the JWTs of a platform at publicURL are that ask for scopes; 0 for none, the shortest. More than LongestComfortable is worth a warning.
func JWTLength(publicURL string, scopes Scopes) int {
	asked := &scopes
	if scopes == 0 {
		asked = nil
	}
	longest := strings.Repeat("x", idLength)
	c := Client{ID: ClientID(longest), Tenant: ID(longest)}
	text, err := unsigned(issuer(publicURL), c, asked, KeyID(longest[:keyIDLength]), time.Now()).SigningString()
	if err != nil {
		return 0 // strings and numbers always marshal
	}
	return len(text) + len(".") + base64.RawURLEncoding.EncodedLen(64)
}

func issuer(publicURL string) string { return strings.TrimRight(publicURL, "/") }

// proof is what a verified JWT proves, for as long as its key, client and tenant are good.
type proof struct {
	client  ClientID
	tenant  ID
	appid   string
	kid     KeyID
	expires time.Time
	scopes  Scopes
}

// verify reads a JWT by all the rules, or fails with ErrInvalidToken, ErrTokenExpired or db.ErrUnavailable.
func (r *Registry) verify(ctx context.Context, token string) (proof, error) {
	kid, err := inspect(token)
	if err != nil {
		return proof{}, fmt.Errorf("%w: %w", ErrInvalidToken, err)
	}
	k, err := r.key(ctx, kid)
	if err != nil {
		return proof{}, err
	}
	said, err := r.read(token, k)
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return proof{}, ErrTokenExpired
	case err != nil:
		return proof{}, fmt.Errorf("%w: %w", ErrInvalidToken, err)
	}
	return proof{said.ClientID, said.Tenant, said.AppID, kid, said.ExpiresAt.Time, said.scopes()}, nil
}

// read checks the signature and then the claims. The algorithm is the key's, whatever the header says: all our keys are Ed25519.
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
	said := &claims{}
	_, err := parser.ParseWithClaims(token, said, func(*jwt.Token) (any, error) { return k.verifying(), nil })
	return said, err
}

// Validate is called by the library after its own checks: what it would let pass.
func (c *claims) Validate() error {
	switch {
	case c.IssuedAt == nil || c.ExpiresAt == nil:
		return errors.New("iat or exp is missing")
	case c.ExpiresAt.Sub(c.IssuedAt.Time) > lifetime:
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
	return known(*c.Scope)
}
