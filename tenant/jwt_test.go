package tenant

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"pgregory.net/rapid"
)

// pen writes JWTs with the world's own signing key. They are valid unless a test changes something.
type pen struct {
	*world
	kid     KeyID
	private ed25519.PrivateKey
	header  map[string]any
	claims  map[string]any
}

func newPen(w *world) *pen {
	w.t.Helper()
	k := got(w.Keys.known(w.t.Context()))(w.t).signer(w.clock.Now())
	now := w.clock.Now().Unix()
	return &pen{
		world:   w,
		kid:     k.ID,
		private: got(k.open(w.ring))(w.t),
		header:  map[string]any{"alg": "EdDSA", "typ": "at+jwt", "kid": k.ID},
		claims: map[string]any{
			"iss": publicURL, "aud": publicURL, "sub": w.client.ID, "client_id": w.client.ID, "tenant": w.tenant.ID,
			"iat": now, "exp": now + 3600, "jti": "j",
		},
	}
}

// write makes a JWT with some members changed; a value of nil removes a member.
func (p *pen) write(header, claims map[string]any) string {
	return p.sign(with(p.header, header), with(p.claims, claims))
}

func with(base, changes map[string]any) string {
	all := maps.Clone(base)
	for name, value := range changes {
		if value == nil {
			delete(all, name)
		} else {
			all[name] = value
		}
	}
	text, _ := json.Marshal(all)
	return string(text)
}

func (p *pen) sign(header, claims string) string {
	body := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	return body + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(p.private, []byte(body)))
}

func TestTheJWTSaysExactlyWhatIsDesigned(t *testing.T) {
	w := newWorld(t)
	header, said := decode(t, w.token())
	wantMembers(t, header, "alg", "kid", "typ")
	wantMembers(t, said, "aud", "client_id", "exp", "iat", "iss", "jti", "sub", "tenant")
	now := float64(w.clock.Now().Unix())
	for name, want := range map[string]any{
		"iss": publicURL, "aud": publicURL, "sub": string(w.client.ID), "client_id": string(w.client.ID), "tenant": string(w.tenant.ID), "iat": now, "exp": now + 3600,
	} {
		if said[name] != want {
			t.Errorf("%s: got %v, want %v", name, said[name], want)
		}
	}
	if header["alg"] != "EdDSA" || header["typ"] != "at+jwt" || len(header["kid"].(string)) != 8 {
		t.Errorf("got header %v, want EdDSA, at+jwt and a kid of 8", header)
	}
	if len(w.client.ID) > 12 || len(w.tenant.ID) > 12 {
		t.Errorf("got ids %s and %s, want at most 12 characters", w.client.ID, w.tenant.ID)
	}
}

func TestNoTwoJWTsHaveTheSameID(t *testing.T) {
	w := newWorld(t)
	_, one := decode(t, w.token())
	_, other := decode(t, w.token())
	if one["jti"] == other["jti"] {
		t.Errorf("got jti %v twice", one["jti"])
	}
}

func TestScopeStandsInTheJWTOnlyWhereItWasAskedFor(t *testing.T) {
	w := newWorld(t)
	grant := got(w.Token(t.Context(), w.client.ID, w.secret, "kfsession:read"))(t)
	if _, said := decode(t, grant.Token.Reveal()); said["scope"] != "kfsession:read" {
		t.Errorf("got scope %v, want kfsession:read", said["scope"])
	}
}

func TestJWTLengthIsTheLengthOfABoundJWT(t *testing.T) {
	w := newWorld(t)
	if got, want := JWTLength(publicURL+"/"), len(w.bound()); got != want {
		t.Errorf("got %d, want %d", got, want)
	}
	for characters := len("https://x.cn"); characters < 120; characters++ {
		w.issuer = "https://" + strings.Repeat("x", characters-len("https://"))
		if got, want := JWTLength(w.issuer), len(w.bound()); got != want {
			t.Errorf("a URL of %d characters: got %d, want %d", characters, got, want)
		}
		if free := len(w.token()); free >= JWTLength(w.issuer) {
			t.Errorf("got %d characters for a JWT that is bound to no account, want fewer than %d", free, JWTLength(w.issuer))
		}
	}
}

func TestAnOrdinaryPublicURLLeavesABoundJWTUnder512Characters(t *testing.T) {
	for _, url := range []string{"https://wxplatform.shop.cn", "https://wechat-gateway.example.com.cn"} {
		if got := JWTLength(url); got > LongestComfortable {
			t.Errorf("%s: got %d characters, want at most %d", url, got, LongestComfortable)
		}
	}
	if got := JWTLength("https://" + strings.Repeat("x", 100)); got <= LongestComfortable {
		t.Errorf("got %d characters, want a long URL to be told", got)
	}
}

func TestWhatThePenWritesIsAccepted(t *testing.T) {
	p := newPen(newWorld(t))
	caller := p.accepts(p.write(nil, nil))
	if want := (Caller{p.tenant.ID, "Tea House", p.client.ID, "", NewScopes(KFSessionWrite, KFSessionRead), false, Limit{}}); caller != want {
		t.Errorf("got %+v, want %+v", caller, want)
	}
	p.accepts(p.write(map[string]any{"typ": "application/at+jwt"}, nil))
	p.accepts(p.write(nil, map[string]any{"aud": []string{publicURL}}))
	p.accepts(p.write(nil, map[string]any{"nbf": p.clock.Now().Unix()}))
}

func TestAHeaderThatIsNotOursIsRefused(t *testing.T) {
	p := newPen(newWorld(t))
	for _, c := range []struct {
		name, reason string
		header       map[string]any
	}{
		{"another algorithm of a good key", "signing method HS256 is invalid", map[string]any{"alg": "HS256"}},
		{"algorithm none", "signing method none is invalid", map[string]any{"alg": "none"}},
		{"no algorithm", "unspecified", map[string]any{"alg": nil}},
		{"no kid", "kid is missing", map[string]any{"kid": nil}},
		{"empty kid", "kid is missing", map[string]any{"kid": ""}},
		{"kid no string", "kid is missing", map[string]any{"kid": 7}},
		{"kid too long", "kid is missing, too long", map[string]any{"kid": strings.Repeat("k", 129)}},
		{"kid not printable", "not printable", map[string]any{"kid": "k\x01"}},
		{"kid not ASCII", "not printable", map[string]any{"kid": "ké"}},
		{"unknown kid", "no key of this platform signed it", map[string]any{"kid": strings.Repeat("k", 128)}},
		{"crit", "crit", map[string]any{"crit": []string{"exp"}}},
		{"empty crit", "crit", map[string]any{"crit": []string{}}},
		{"typ JWT", "typ", map[string]any{"typ": "JWT"}},
		{"no typ", "typ", map[string]any{"typ": nil}},
		{"typ no string", "typ", map[string]any{"typ": []string{"at+jwt"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.t = t
			p.refuses(p.write(c.header, nil), ErrInvalidToken, c.reason)
		})
	}
}

func TestKeysInTheHeaderAreNotLookedAt(t *testing.T) {
	p := newPen(newWorld(t))
	public, private, _ := ed25519.GenerateKey(nil)
	foreign := map[string]any{
		"jwk": map[string]any{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(public), "kid": p.kid},
		"jku": "https://evil.example/jwks.json", "x5u": "https://evil.example/x5", "x5c": []string{"MII"},
	}
	p.accepts(p.write(foreign, nil))
	p.private = private
	p.refuses(p.write(foreign, nil), ErrInvalidToken, "signature is invalid")
}

// The classical confusions: the public key as an HMAC secret, no signature at all, and a key of
// another kind.
func TestASignatureOfAnotherAlgorithmIsRefused(t *testing.T) {
	p := newPen(newWorld(t))
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	for _, c := range []struct {
		method jwt.SigningMethod
		key    any
	}{
		{jwt.SigningMethodHS256, []byte(p.private.Public().(ed25519.PublicKey))},
		{jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType},
		{jwt.SigningMethodES256, curve},
	} {
		token := jwt.NewWithClaims(c.method, jwt.MapClaims(p.claims))
		token.Header["typ"], token.Header["kid"] = "at+jwt", p.kid
		p.refuses(got(token.SignedString(c.key))(t), ErrInvalidToken, "signing method "+c.method.Alg()+" is invalid")
	}
}

func TestClaimsThatAreNotOursAreRefused(t *testing.T) {
	p := newPen(newWorld(t))
	now := p.clock.Now().Unix()
	for _, c := range []struct {
		name, reason string
		claims       map[string]any
	}{
		{"no iss", "iss claim is required", map[string]any{"iss": nil}},
		{"another iss", "invalid issuer", map[string]any{"iss": "https://other.example.com"}},
		{"iss with a slash more", "invalid issuer", map[string]any{"iss": publicURL + "/"}},
		{"no aud", "aud claim is required", map[string]any{"aud": nil}},
		{"another aud", "invalid audience", map[string]any{"aud": "https://other.example.com"}},
		{"our aud and another", "several audiences", map[string]any{"aud": []string{publicURL, "https://other.example.com"}}},
		{"no sub", "sub is not client_id", map[string]any{"sub": nil}},
		{"no client_id", "sub is not client_id", map[string]any{"client_id": nil}},
		{"neither sub nor client_id", "sub is not client_id", map[string]any{"sub": nil, "client_id": nil}},
		{"sub of another", "sub is not client_id", map[string]any{"sub": "cother"}},
		{"no tenant", "tenant or jti is missing", map[string]any{"tenant": nil}},
		{"another tenant", "another tenant's", map[string]any{"tenant": "tother"}},
		{"no jti", "tenant or jti is missing", map[string]any{"jti": nil}},
		{"no iat", "iat or exp is missing", map[string]any{"iat": nil}},
		{"no exp", "exp claim is required", map[string]any{"exp": nil}},
		{"iat in the future", "used before issued", map[string]any{"iat": now + 31, "exp": now + 60}},
		{"nbf in the future", "not valid yet", map[string]any{"nbf": now + 31}},
		{"too long a life", "lives too long", map[string]any{"exp": now + 3601}},
		{"a claim of a later version", "not known", map[string]any{"only": "wx1"}},
		{"a claim in capitals", "not known", map[string]any{"EXP": now + 60}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.t = t
			p.refuses(p.write(nil, c.claims), ErrInvalidToken, c.reason)
		})
	}
}

func TestOnlyABoundJWTLivesLongerThanAnHour(t *testing.T) {
	p := newPen(newWorld(t))
	now := p.clock.Now().Unix()
	p.accepts(p.write(nil, map[string]any{"appid": shop, "exp": now + 7500}))
	p.refuses(p.write(nil, map[string]any{"appid": shop, "exp": now + 7501}), ErrInvalidToken, "lives too long")
	p.refuses(p.write(nil, map[string]any{"exp": now + 7500}), ErrInvalidToken, "lives too long")
}

func TestAClientThatDoesNotExistIsRefused(t *testing.T) {
	p := newPen(newWorld(t))
	p.refuses(p.write(nil, map[string]any{"sub": "cghost", "client_id": "cghost"}), ErrInvalidToken, "unknown client")
}

func TestTheSkewIsThirtySecondsAtBothEnds(t *testing.T) {
	p := newPen(newWorld(t))
	now := p.clock.Now().Unix()
	p.accepts(p.write(nil, map[string]any{"iat": now + 30, "exp": now + 60}))
	p.accepts(p.write(nil, map[string]any{"iat": now - 3600, "exp": now - 29}))
	p.refuses(p.write(nil, map[string]any{"iat": now - 3600, "exp": now - 31}), ErrTokenExpired, "")
}

func TestANameThatComesTwiceIsRefused(t *testing.T) {
	p := newPen(newWorld(t))
	header, claims := with(p.header, nil), with(p.claims, nil)
	p.accepts(p.sign(header, claims))
	twice := func(object, member string) string { return strings.TrimSuffix(object, "}") + "," + member + "}" }
	p.refuses(p.sign(twice(header, `"alg":"EdDSA"`), claims), ErrInvalidToken, "header: a name comes twice")
	p.refuses(p.sign(twice(header, `"\u0061lg":"EdDSA"`), claims), ErrInvalidToken, "header: a name comes twice")
	p.refuses(p.sign(header, twice(claims, `"tenant":"tother"`)), ErrInvalidToken, "claims: a name comes twice")
	p.refuses(p.sign(header, twice(claims, fmt.Sprintf(`"exp":%d`, time.Now().Unix()))), ErrInvalidToken, "claims: a name comes twice")
}

func TestSegmentsThatAreNoObjectAreRefused(t *testing.T) {
	p := newPen(newWorld(t))
	header, claims := with(p.header, nil), with(p.claims, nil)
	for _, bad := range []string{``, `[]`, `"x"`, `7`, `null`, `{`, `{"a"}`, `{"a":1,}`, `{}{}`, claims + ` x`, claims[:len(claims)-1]} {
		p.refuses(p.sign(bad, claims), ErrInvalidToken, "header")
		p.refuses(p.sign(header, bad), ErrInvalidToken, "claims")
	}
}

func TestAnotherSpellingOfTheSameJWTIsRefused(t *testing.T) {
	p := newPen(newWorld(t))
	good := p.write(nil, nil)
	p.accepts(good)
	header, rest, _ := strings.Cut(good, ".")
	claims, signature, _ := strings.Cut(rest, ".")
	last := signature[:len(signature)-1]
	for _, c := range []struct{ name, token, reason string }{
		{"padding", good + "==", "could not base64 decode signature"},
		{"padding inside", header + "=." + rest, "header: not base64url"},
		{"trailing bits", header + "." + claims + "." + last + nextLetter(signature[len(signature)-1]), "could not base64 decode signature"},
		{"a line break", header + "." + claims + "\n." + signature, "line break"},
		{"a line break at the end", good + "\r\n", "line break"},
		{"standard base64", header + "." + claims + "." + "+/" + signature[2:], "could not base64 decode signature"},
		{"a space", header + ". " + claims + "." + signature, "claims: not base64url"},
		{"a fourth segment", good + ".", "not three segments"},
		{"two segments", header + "." + claims, "not three segments"},
		{"one segment", header, "not three segments"},
		{"no signature", header + "." + claims + ".", "signature is invalid"},
		{"another's signature", header + "." + claims + p.sign("{}", "{}")[len("e30.e30"):], "signature is invalid"},
		{"half a signature", header + "." + claims + "." + signature[:44], "signature is invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.t = t
			p.refuses(c.token, ErrInvalidToken, c.reason)
		})
	}
}

// The last letter of a signature carries two bits of it and four that must be zero.
func nextLetter(c byte) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(letters[strings.IndexByte(letters, c)+1])
}

func TestNoFlippedByteIsAccepted(t *testing.T) {
	p := newPen(newWorld(t))
	good := p.write(nil, nil)
	rapid.Check(t, func(t *rapid.T) {
		forged := []byte(good)
		at := rapid.IntRange(0, len(forged)-1).Draw(t, "at")
		forged[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "by"))
		if caller, err := p.authenticate(string(forged)); err == nil {
			t.Fatalf("got %+v for a forged JWT", caller)
		}
	})
}

func TestALongTokenIsRefusedBeforeItIsRead(t *testing.T) {
	p := newPen(newWorld(t))
	long := p.write(map[string]any{"x5c": []string{strings.Repeat("A", 6<<10)}}, nil)
	if len(long) <= 8<<10 {
		t.Fatalf("got %d characters, want more than 8 KB", len(long))
	}
	p.refuses(long, ErrInvalidToken, "too long")
	p.accepts(p.write(map[string]any{"x5c": []string{strings.Repeat("A", 5<<10)}}, nil))
}

func FuzzNothingButOurOwnIsAccepted(f *testing.F) {
	w := newWorld(f)
	good := newPen(w).write(nil, nil)
	f.Add(good)
	f.Add(strings.Repeat(".", 3))
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := w.Authenticate(t.Context(), "Bearer "+token); err == nil && strings.TrimLeft(token, " ") != good {
			t.Errorf("got %q accepted", token)
		}
	})
}

func decode(t *testing.T, token string) (header, said map[string]any) {
	t.Helper()
	segments := strings.Split(token, ".")
	for i, into := range []*map[string]any{&header, &said} {
		must(t, json.Unmarshal(got(base64.RawURLEncoding.DecodeString(segments[i]))(t), into))
	}
	return header, said
}

func wantMembers(t *testing.T, object map[string]any, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, ok := object[name]; !ok {
			t.Errorf("got %v, want %s in it", object, name)
		}
	}
	if len(object) != len(names) {
		t.Errorf("got %v, want %v only", object, names)
	}
}
