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

// The claims that there may be. One that is unknown here may be a later version's and narrow the JWT down, so it is refused rather than passed over.
var knownClaims = []string{"iss", "aud", "sub", "client_id", "tenant", "appid", "iat", "exp", "nbf", "jti", "scope"}

// inspect checks what the library does not look at, before any signature is: size, segments, alphabet, repeated names, and the header. It returns the kid.
func inspect(token string) (KeyID, error) {
	segments := strings.Split(token, ".")
	if len(segments) != 3 {
		return "", errors.New("not three segments")
	}
	// Go's base64 passes over line breaks, which would be a second spelling of the same JWT.
	if strings.ContainsAny(token, "\r\n") {
		return "", errors.New("line break inside")
	}
	header, err := object(segments[0])
	if err != nil {
		return "", fmt.Errorf("header: %w", err)
	}
	said, err := object(segments[1])
	if err != nil {
		return "", fmt.Errorf("claims: %w", err)
	}
	if err := only(said, knownClaims); err != nil {
		return "", err
	}
	// An appid that says nothing would make a JWT for every account of one that was for a single one.
	if appid, bound := said["appid"]; bound && text(appid) == "" {
		return "", errors.New("appid is not an account")
	}
	return readHeader(header)
}

// jku, x5u, jwk and x5c are not looked at: keys come from SQL alone. An extension named by crit would have to be understood, and none is.
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

// text is a JSON string's value, "" where it is something else.
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

// object reads a segment that holds one JSON object, in which no name comes twice: of two, one reader believes the first and another the last.
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
