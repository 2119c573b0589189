package tenant

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const longestKid = 128

// knownClaims are the claims that a JWT may have. A later version may add one that restricts the
// JWT, so a JWT with any other claim is refused.
var knownClaims = []string{"iss", "aud", "sub", "client_id", "tenant", "appid", "iat", "exp", "nbf", "jti", "scope"}

// inspect checks, before the signature, what the library does not: segments, alphabet, repeated
// names, the header and the names of the claims. It returns the kid.
func inspect(token string) (KeyID, error) {
	segments := strings.Split(token, ".")
	if len(segments) != 3 {
		return "", errors.New("not three segments")
	}
	// Go's base64 ignores line breaks, so they would give one JWT several spellings.
	if strings.ContainsAny(token, "\r\n") {
		return "", errors.New("line break inside")
	}
	header, err := object(segments[0])
	if err != nil {
		return "", fmt.Errorf("header: %w", err)
	}
	members, err := object(segments[1])
	if err != nil {
		return "", fmt.Errorf("claims: %w", err)
	}
	if err := only(members, knownClaims); err != nil {
		return "", err
	}
	// An appid that cannot be read must not make a JWT for one account one for every account.
	if appid, bound := members["appid"]; bound && text(appid) == "" {
		return "", errors.New("appid is not an account")
	}
	return readHeader(header)
}

// readHeader returns the kid. It ignores jku, x5u, jwk and x5c, because keys come only from SQL. No
// extension is supported, so a header with crit is refused.
func readHeader(header map[string]json.RawMessage) (KeyID, error) {
	if _, ok := header["crit"]; ok {
		return "", errors.New("crit in the header")
	}
	if typ := text(header["typ"]); typ != jwtType && typ != "application/"+jwtType {
		return "", errors.New("typ is not " + jwtType)
	}
	kid := text(header["kid"])
	if kid == "" || len(kid) > longestKid || strings.ContainsFunc(kid, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("kid is missing, too long or not printable")
	}
	return KeyID(kid), nil
}

// text is the value of a JSON string, or "" if raw is something else.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

func only(members map[string]json.RawMessage, names []string) error {
	for name := range members {
		if !slices.Contains(names, name) {
			return errors.New("a claim that is not known")
		}
	}
	return nil
}

// object reads a segment that holds one JSON object. It refuses a name that comes twice, because
// one reader would take the first value and another the last.
func object(segment string) (map[string]json.RawMessage, error) {
	decoded, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		return nil, errors.New("not base64url")
	}
	decoder := json.NewDecoder(bytes.NewReader(decoded))
	if opening, err := decoder.Token(); err != nil || opening != json.Delim('{') {
		return nil, errNoObject
	}
	members := map[string]json.RawMessage{}
	for decoder.More() {
		if err := member(decoder, members); err != nil {
			return nil, err
		}
	}
	if _, err := decoder.Token(); err != nil {
		return nil, errNoObject
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errNoObject
	}
	return members, nil
}

var errNoObject = errors.New("not one JSON object")

func member(decoder *json.Decoder, members map[string]json.RawMessage) error {
	token, err := decoder.Token()
	name, ok := token.(string)
	if err != nil || !ok {
		return errNoObject
	}
	if _, twice := members[name]; twice {
		return errors.New("a name comes twice")
	}
	var value json.RawMessage
	if decoder.Decode(&value) != nil {
		return errNoObject
	}
	members[name] = value
	return nil
}
