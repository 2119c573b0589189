package wechat

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

var (
	// ErrSignature says that the push is not signed with one of our tokens. Nothing else was
	// checked.
	ErrSignature = errors.New("wechat: the push is not signed with our token")
	// ErrEnvelope says that the push is malformed, or encrypted with a key that we do not have.
	ErrEnvelope = errors.New("wechat: the push is malformed, or encrypted with another key")
	// ErrComponent says that the push was decrypted, but is addressed to another component.
	ErrComponent = errors.New("wechat: the push is addressed to another component")
)

// ErrNoEncrypt says that no single Encrypt was found in the body of a push: there is none, there
// are two that differ, or the body has more than 256 elements or members.
var ErrNoEncrypt = fmt.Errorf("%w: no single Encrypt", ErrEnvelope)

const (
	envelopeBlock  = 32 // WeChat pads to 32 bytes, although an AES block has 16
	envelopeRandom = 16
	envelopeLength = 4
)

// Envelope encrypts and decrypts WeChat's pushes to one component (docs/wechat.md, "Message
// encryption"). It has all tokens and keys in use, newest first, because pushes under the old ones
// arrive for a while after they were changed in WeChat's console. It is safe for concurrent use.
type Envelope struct {
	component AppID
	tokens    []string
	keys      []envelopeKey
}

type envelopeKey struct {
	block cipher.Block
	iv    []byte
}

// Push is the outer part of an encrypted message: in the query and the body of a push, or in the
// body of a reply.
type Push struct {
	Timestamp string
	Nonce     string
	Signature string // msg_signature; not the query's three-field signature
	Encrypt   string
}

// NewEnvelope takes tokens and EncodingAESKeys as WeChat's console shows them, newest first. Its
// errors name a faulty one by its number, and never show it.
func NewEnvelope(component AppID, tokens, aesKeys []string) (*Envelope, error) {
	if component == "" || len(tokens) == 0 || len(aesKeys) == 0 {
		return nil, errors.New("wechat: an envelope needs a component, a token and an AES key")
	}
	if i := slices.Index(tokens, ""); i >= 0 {
		return nil, fmt.Errorf("wechat: token %d is empty", i+1)
	}
	e := &Envelope{component: component, tokens: slices.Clone(tokens)}
	for i, text := range aesKeys {
		key, err := parseAESKey(text)
		if err != nil {
			return nil, fmt.Errorf("wechat: AES key %d: %w", i+1, err)
		}
		e.keys = append(e.keys, key)
	}
	return e, nil
}

// CheckAESKey returns what is wrong with an EncodingAESKey, or nil. It never quotes the key.
func CheckAESKey(text string) error {
	_, err := parseAESKey(text)
	return err
}

// parseAESKey ignores the last two bits of the 43rd character: they mean nothing, and valid keys
// have them set.
func parseAESKey(text string) (envelopeKey, error) {
	if n := utf8.RuneCountInString(text); n != 43 {
		return envelopeKey{}, fmt.Errorf("it has %d characters, not 43", n)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !isAlphanumeric(r) }) {
		return envelopeKey{}, errors.New("it has characters other than letters and digits")
	}
	key, err := base64.StdEncoding.DecodeString(text + "=")
	if err != nil {
		return envelopeKey{}, errors.New("not base64")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return envelopeKey{}, err
	}
	return envelopeKey{block: block, iv: key[:aes.BlockSize]}, nil
}

func isAlphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}

// Open checks and decrypts a push and returns its message, or ErrSignature, ErrEnvelope or
// ErrComponent. It decrypts only what is signed, so an attacker learns nothing from the error.
//
// Open accepts any timestamp. The signature covers timestamp and nonce without a separator, so
// checking that the timestamp is recent makes a replay unlikely, but not impossible: handling a
// push must be idempotent.
func (e *Envelope) Open(p Push) ([]byte, error) {
	compact := withoutBlanks(p.Encrypt)
	if !e.signed(p.Signature, p.Timestamp, p.Nonce, p.Encrypt) &&
		(len(compact) == len(p.Encrypt) || !e.signed(p.Signature, p.Timestamp, p.Nonce, compact)) {
		return nil, ErrSignature
	}
	sealed, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(compact, "="))
	if err != nil || len(sealed) == 0 || len(sealed)%aes.BlockSize != 0 {
		return nil, ErrEnvelope
	}
	failure := ErrEnvelope
	for _, key := range e.keys {
		msg, err := e.unpack(key.open(sealed))
		if err == nil {
			return msg, nil
		}
		if errors.Is(err, ErrComponent) {
			failure = err
		}
	}
	return nil, failure
}

// withoutBlanks removes white space that a formatter may have added to base64. The signature may
// cover the text with it or without it.
func withoutBlanks(text string) string {
	if !strings.ContainsAny(text, " \t\r\n") {
		return text
	}
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '\t' || r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, text)
}

// Seal encrypts and signs msg with the newest key and token.
func (e *Envelope) Seal(msg []byte, timestamp, nonce string) Push {
	var random [16]byte
	rand.Read(random[:]) // it never fails: the program would crash first
	return e.SealWith(random, msg, timestamp, nonce)
}

// SealWith is Seal with the given random bytes, for test vectors and repeatable simulations.
func (e *Envelope) SealWith(random [16]byte, msg []byte, timestamp, nonce string) Push {
	plain := slices.Clone(random[:])
	plain = binary.BigEndian.AppendUint32(plain, uint32(len(msg)))
	plain = append(plain, msg...)
	plain = append(plain, e.component...)
	encrypt := base64.StdEncoding.EncodeToString(e.keys[0].seal(plain))
	return Push{
		Timestamp: timestamp,
		Nonce:     nonce,
		Signature: sign(e.tokens[0], timestamp, nonce, encrypt),
		Encrypt:   encrypt,
	}
}

// EchoSignature returns the three-field signature with the newest token. It does not cover a body,
// so it never proves that a push is authentic.
func (e *Envelope) EchoSignature(timestamp, nonce string) string {
	return sign(e.tokens[0], timestamp, nonce)
}

// CheckEcho checks the signature of the GET with which WeChat's console validates a URL
// (docs/wechat.md, "URL validation"). It returns nil or ErrSignature.
func (e *Envelope) CheckEcho(timestamp, nonce, signature string) error {
	if !e.signed(signature, timestamp, nonce) {
		return ErrSignature
	}
	return nil
}

// signed tries every token, in constant time. The signature may be in capitals.
func (e *Envelope) signed(signature string, fields ...string) bool {
	signature = strings.ToLower(signature)
	matches := 0
	for _, token := range e.tokens {
		want := sign(append([]string{token}, fields...)...)
		matches |= subtle.ConstantTimeCompare([]byte(want), []byte(signature))
	}
	return matches == 1
}

func sign(fields ...string) string {
	slices.Sort(fields)
	sum := sha1.Sum([]byte(strings.Join(fields, "")))
	return hex.EncodeToString(sum[:])
}

func (k envelopeKey) seal(plain []byte) []byte {
	pad := envelopeBlock - len(plain)%envelopeBlock
	padded := append(plain, bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(k.block, k.iv).CryptBlocks(padded, padded)
	return padded
}

func (k envelopeKey) open(sealed []byte) []byte {
	plain := make([]byte, len(sealed))
	cipher.NewCBCDecrypter(k.block, k.iv).CryptBlocks(plain, sealed)
	return plain
}

// unpack returns the message in what was decrypted, or ErrEnvelope or ErrComponent. Up to 32 bytes
// of any value may follow our appid as padding: the signature covers them, and all appids are
// equally long.
func (e *Envelope) unpack(plain []byte) ([]byte, error) {
	if len(plain) < envelopeRandom+envelopeLength {
		return nil, ErrEnvelope
	}
	rest := plain[envelopeRandom+envelopeLength:]
	length := binary.BigEndian.Uint32(plain[envelopeRandom:])
	if uint64(length) > uint64(len(rest)) {
		return nil, ErrEnvelope
	}
	msg, behind := rest[:length:length], rest[length:]
	named, padded := unpad(behind)
	padding, ours := bytes.CutPrefix(behind, []byte(e.component))
	switch {
	case named != e.component && named.Plausible(): // another component's appid
		return nil, ErrComponent
	case ours && len(padding) <= envelopeBlock:
		return msg, nil
	case padded: // decrypted with the right key, but no appid of ours
		return nil, ErrComponent
	}
	return nil, ErrEnvelope
}

// unpad returns what stands before a padding as WeChat writes it. ok is false if there is none, as
// after decryption with a wrong key.
func unpad(text []byte) (component AppID, ok bool) {
	if len(text) == 0 {
		return "", false
	}
	pad := int(text[len(text)-1])
	if pad < 1 || pad > envelopeBlock || pad > len(text) {
		return "", false
	}
	body, padding := text[:len(text)-pad], text[len(text)-pad:]
	if bytes.Count(padding, []byte{byte(pad)}) != pad {
		return "", false
	}
	return AppID(body), true
}

// ReadEncrypt returns the encrypted message in the body of a push, XML or JSON, or ErrNoEncrypt. It
// reads nothing else, because nothing else in the body is signed. It refuses a body with two
// different Encrypt elements: the signature covers one of them without saying which, so a filter in
// front of us could have checked the other. It refuses a body with more than 256 elements or
// members without reading further, because anybody can send one.
func ReadEncrypt(body []byte) (string, error) {
	fields, whole := parseEnvelope(body)
	if !whole {
		return "", fmt.Errorf("%w: more than %d elements or members", ErrNoEncrypt, maxEnvelopeParts)
	}
	encrypt := ""
	for _, one := range fields {
		value := strings.TrimSpace(one.value)
		if one.name != "Encrypt" || value == "" || value == encrypt {
			continue
		}
		if encrypt != "" {
			return "", fmt.Errorf("%w: there are two that differ", ErrNoEncrypt)
		}
		encrypt = value
	}
	if encrypt == "" {
		return "", ErrNoEncrypt
	}
	return encrypt, nil
}

// WriteEvent returns the body of a push to the component itself.
func WriteEvent(component AppID, p Push) []byte {
	return []byte("<xml><AppId>" + cdata(string(component)) + "</AppId><Encrypt>" + cdata(p.Encrypt) + "</Encrypt></xml>")
}

// WriteMessage returns the body of a push to the account with the original id to (gh_…).
func WriteMessage(to UserName, p Push) []byte {
	return []byte("<xml><ToUserName>" + cdata(string(to)) + "</ToUserName><Encrypt>" + cdata(p.Encrypt) + "</Encrypt></xml>")
}

// WriteReply returns the body of an encrypted reply to a message.
func WriteReply(p Push) []byte {
	var b strings.Builder
	b.WriteString("<xml>\n<Encrypt>" + cdata(p.Encrypt) + "</Encrypt>\n")
	b.WriteString("<MsgSignature>" + cdata(p.Signature) + "</MsgSignature>\n<TimeStamp>")
	_ = xml.EscapeText(&b, []byte(p.Timestamp)) // a strings.Builder never fails
	b.WriteString("</TimeStamp>\n<Nonce>" + cdata(p.Nonce) + "</Nonce>\n</xml>")
	return []byte(b.String())
}

// cdata quotes text, which may hold anything: the caller of our URL chooses the nonce.
func cdata(text string) string {
	return "<![CDATA[" + strings.ReplaceAll(text, "]]>", "]]]]><![CDATA[>") + "]]>"
}
