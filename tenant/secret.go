package tenant

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"strings"

	"wxplatform/internal/seal"
)

// A client secret is wxs_<client>_<24 random bytes, base64url>_<CRC-32 of all before it, hex>: 58
// characters of [A-Za-z0-9_-]. It can be put into URLs and file names without escaping, and
// scanners for leaked secrets can recognize it by its prefix and checksum.
const (
	secretPrefix   = "wxs_"
	randomBytes    = 24
	randomLength   = 32
	checksumLength = 8
)

func newSecret(id ClientID) seal.Secret {
	random := make([]byte, randomBytes)
	_, _ = rand.Read(random) // crypto/rand.Read never fails
	body := secretPrefix + string(id) + "_" + base64.RawURLEncoding.EncodeToString(random)
	return seal.NewSecret(body + "_" + checksum(body))
}

// checksum finds typing errors before SQL is asked. It protects nothing.
func checksum(body string) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(body))) }

// plain reports whether id has only characters that newID writes. SQL is not asked for other ids,
// which may hold bytes that it cannot store.
func (id ClientID) plain() bool {
	return !strings.ContainsFunc(string(id), func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'z') })
}

// namedBy returns the id of the client that a secret names, or any text if newSecret could not have
// made the secret, which wellFormed finds.
func namedBy(secret seal.Secret) ClientID {
	rest := strings.TrimPrefix(secret.Reveal(), secretPrefix)
	return ClientID(rest[:min(len(rest), idLength)])
}

// wellFormed reports whether newSecret could have made the secret for the client.
func wellFormed(id ClientID, secret seal.Secret) bool {
	text := secret.Reveal()
	body := text[:max(0, len(text)-1-checksumLength)]
	return id.plain() && len(id) == idLength &&
		strings.HasPrefix(text, secretPrefix+string(id)+"_") &&
		len(text) == len(secretPrefix)+idLength+1+randomLength+1+checksumLength &&
		text == body+"_"+checksum(body)
}
