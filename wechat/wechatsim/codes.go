package wechatsim

import (
	"crypto/sha3"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
)

// codeKind distinguishes codes that look alike to clients.
type codeKind byte

const (
	ticketCode codeKind = iota + 1
	componentToken
	accessToken
	refreshToken
	preAuthCode
	authCode
	loginCode   // of a user
	userToken   // of a user, as an access token
	userRefresh // of a user, as a refresh token
)

// shapes are the forms that real codes have (docs/wechat.md, "Common rules"): a prefix, and a
// number of bytes in base64url.
var shapes = map[codeKind]struct {
	prefix string
	size   int
}{
	ticketCode:     {"ticket@@@", 64},
	componentToken: {"83_", 102},
	accessToken:    {"83_", 102},
	refreshToken:   {"refreshtoken@@@", 32},
	preAuthCode:    {"preauthcode@@@", 64},
	authCode:       {"queryauthcode@@@", 64},
	loginCode:      {"0", 24},
	userToken:      {"83_", 102},
	userRefresh:    {"83_", 102},
}

// code is the meaning of a token, a ticket or a code. It is encrypted into the text itself, so that
// a million accounts need no table of their tokens.
type code struct {
	kind   codeKind
	owner  uint32 // the account's place
	number uint64 // counts the codes; for a ticket, its time in milliseconds
}

const codeLength = 16

// mint encodes and decodes codes. A code that it can decode was encoded by a mint with the same
// seed.
type mint struct{ seed uint64 }

func (m mint) write(c code) string {
	shape := shapes[c.kind]
	plain := c.bytes()
	seal := m.stream('s', plain, shape.size-codeLength)
	subtle.XORBytes(plain, plain, m.stream('m', seal, codeLength))
	return shape.prefix + base64.RawURLEncoding.EncodeToString(append(plain, seal...))
}

// read decodes text, if it is a code of one of these kinds.
func (m mint) read(text string, kinds ...codeKind) (code, bool) {
	shape := shapes[kinds[0]]
	rest, ok := strings.CutPrefix(text, shape.prefix)
	raw, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if !ok || err != nil || len(raw) != shape.size {
		return code{}, false
	}
	plain, seal := raw[:codeLength], raw[codeLength:]
	subtle.XORBytes(plain, plain, m.stream('m', seal, codeLength))
	c := parseCode(plain)
	genuine := subtle.ConstantTimeCompare(seal, m.stream('s', plain, len(seal))) == 1
	return c, genuine && slices.Contains(kinds, c.kind)
}

func (m mint) stream(purpose byte, input []byte, length int) []byte {
	key := binary.BigEndian.AppendUint64([]byte{purpose}, m.seed)
	return sha3.SumSHAKE256(append(key, input...), length)
}

func (c code) bytes() []byte {
	b := make([]byte, codeLength)
	b[0] = byte(c.kind)
	binary.BigEndian.PutUint32(b[4:], c.owner)
	binary.BigEndian.PutUint64(b[8:], c.number)
	return b
}

func parseCode(b []byte) code {
	return code{kind: codeKind(b[0]), owner: binary.BigEndian.Uint32(b[4:]), number: binary.BigEndian.Uint64(b[8:])}
}
