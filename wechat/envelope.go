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
)

var (
	// ErrSignature says that no token of ours signed this. Nothing else was looked at.
	ErrSignature = errors.New("wechat: the push is not signed with our token")
	// ErrEnvelope says that the push is malformed, or sealed with a key that we do not have.
	ErrEnvelope = errors.New("wechat: the push cannot be opened")
	// ErrComponent says that the push opens, but was sealed for another component.
	ErrComponent = errors.New("wechat: the push is for another component")
)

// ErrNoEncrypt says that the body of a push holds nothing sealed, or more than one such thing.
var ErrNoEncrypt = fmt.Errorf("%w: not exactly one Encrypt", ErrEnvelope)

const (
	// MaxPushBody is the largest body that ReadEncrypt looks at. WeChat's pushes have a few kilobytes.
	MaxPushBody = 1 << 20

	envelopeBlock  = 32 // WeChat pads to 32 bytes although the block of AES has 16.
	envelopeRandom = 16
	envelopeLength = 4
)

// Envelope seals and opens WeChat's encrypted pushes for one component.
// It has all tokens and keys in use, newest first: after a change in WeChat's console, pushes under the old ones go on for a while.
// It is safe for concurrent use.
type Envelope struct {
	component AppID
	tokens    []string
	keys      []envelopeKey
}

type envelopeKey struct {
	block cipher.Block
	iv    []byte
}

// Push is what surrounds a sealed message: in the query and the body of a push, or in the body of a reply.
type Push struct {
	Timestamp string
	Nonce     string
	Signature string // msg_signature, never the query's three-field signature
	Encrypt   string
}

// NewEnvelope takes tokens and EncodingAESKeys as WeChat's console shows them, newest first.
// Its errors name a faulty value by its place, never by its content.
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

// parseAESKey decodes leniently: the 43rd character carries two bits that mean nothing, and legal keys have them set.
func parseAESKey(text string) (envelopeKey, error) {
	if len(text) != 43 || strings.ContainsFunc(text, func(r rune) bool { return !isAlphanumeric(r) }) {
		return envelopeKey{}, errors.New("not 43 letters and digits")
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

// Open returns the message in a push, or ErrSignature, ErrEnvelope or ErrComponent.
// Only a push with a good signature is decrypted, so whoever cannot sign learns nothing from which error it is.
// Whether the timestamp is recent is the caller's question. The signature covers timestamp and nonce without saying where one ends and the
// other begins, so a recent timestamp makes a repeated push unlikely, not impossible: what follows from a push must be idempotent.
func (e *Envelope) Open(p Push) ([]byte, error) {
	if !e.signed(p.Signature, p.Timestamp, p.Nonce, p.Encrypt) {
		return nil, ErrSignature
	}
	sealed, err := base64.StdEncoding.DecodeString(p.Encrypt)
	if err != nil || len(sealed) == 0 || len(sealed)%envelopeBlock != 0 {
		return nil, ErrEnvelope
	}
	failure := ErrEnvelope
	for _, key := range e.keys {
		msg, component, ok := key.open(sealed)
		if ok && component == e.component {
			return msg, nil
		}
		if ok {
			failure = ErrComponent
		}
	}
	return nil, failure
}

// Seal seals msg under the newest token and key.
func (e *Envelope) Seal(msg []byte, timestamp, nonce string) Push {
	var random [16]byte
	rand.Read(random[:]) // It never fails: the program would end first.
	return e.SealWith(random, msg, timestamp, nonce)
}

// SealWith is Seal with chosen random bytes, for test vectors and simulations that must repeat themselves.
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

// EchoSignature is the three-field signature, under the newest token. It covers no body, so a push is never believed because of it.
func (e *Envelope) EchoSignature(timestamp, nonce string) string {
	return sign(e.tokens[0], timestamp, nonce)
}

// CheckEcho checks the signature of the GET by which WeChat's console probes a URL, or returns ErrSignature.
func (e *Envelope) CheckEcho(timestamp, nonce, signature string) error {
	if !e.signed(signature, timestamp, nonce) {
		return ErrSignature
	}
	return nil
}

// signed tries every token in the same time, whichever matches.
func (e *Envelope) signed(signature string, fields ...string) bool {
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

// open decrypts and takes apart; ok is false if what comes out has not the shape of a sealed message, as with a wrong key.
func (k envelopeKey) open(sealed []byte) (msg []byte, component AppID, ok bool) {
	plain := make([]byte, len(sealed))
	cipher.NewCBCDecrypter(k.block, k.iv).CryptBlocks(plain, sealed)
	plain, ok = unpad(plain)
	if !ok || len(plain) < envelopeRandom+envelopeLength {
		return nil, "", false
	}
	rest := plain[envelopeRandom+envelopeLength:]
	length := binary.BigEndian.Uint32(plain[envelopeRandom:])
	if uint64(length) > uint64(len(rest)) {
		return nil, "", false
	}
	return rest[:length:length], AppID(rest[length:]), true
}

func unpad(plain []byte) ([]byte, bool) {
	pad := int(plain[len(plain)-1])
	if pad < 1 || pad > envelopeBlock || pad > len(plain) {
		return nil, false
	}
	body, padding := plain[:len(plain)-pad], plain[len(plain)-pad:]
	return body, bytes.Count(padding, []byte{byte(pad)}) == pad
}

// ReadEncrypt finds what is sealed in the body of a push, XML or JSON, or returns ErrNoEncrypt. Nothing else in the body is signed, and therefore nothing else is read.
// A body with two different ones is refused: the signature covers one of them and does not say which, so that a filter in front of us could have looked at the other.
func ReadEncrypt(body []byte) (string, error) {
	if len(body) > MaxPushBody {
		return "", fmt.Errorf("%w: larger than %d bytes", ErrEnvelope, MaxPushBody)
	}
	encrypt := ""
	for _, one := range ParsePush(body) {
		value := strings.TrimSpace(one.value)
		if one.name != "Encrypt" || value == "" || value == encrypt {
			continue
		}
		if encrypt != "" {
			return "", fmt.Errorf("%w: two that differ", ErrNoEncrypt)
		}
		encrypt = value
	}
	if encrypt == "" {
		return "", ErrNoEncrypt
	}
	return encrypt, nil
}

// WriteEvent is the body of a push that is addressed to the component itself.
func WriteEvent(component AppID, p Push) []byte {
	return []byte("<xml><AppId>" + cdata(string(component)) + "</AppId><Encrypt>" + cdata(p.Encrypt) + "</Encrypt></xml>")
}

// WriteMessage is the body of a push that is addressed to the account with this original id (gh_…).
func WriteMessage(to UserName, p Push) []byte {
	return []byte("<xml><ToUserName>" + cdata(string(to)) + "</ToUserName><Encrypt>" + cdata(p.Encrypt) + "</Encrypt></xml>")
}

// WriteReply is the body of a sealed reply to a message.
func WriteReply(p Push) []byte {
	var b strings.Builder
	b.WriteString("<xml>\n<Encrypt>" + cdata(p.Encrypt) + "</Encrypt>\n")
	b.WriteString("<MsgSignature>" + cdata(p.Signature) + "</MsgSignature>\n<TimeStamp>")
	_ = xml.EscapeText(&b, []byte(p.Timestamp)) // A strings.Builder takes everything.
	b.WriteString("</TimeStamp>\n<Nonce>" + cdata(p.Nonce) + "</Nonce>\n</xml>")
	return []byte(b.String())
}

// cdata cannot be left by its content: a nonce is chosen by whoever calls our URL.
func cdata(text string) string {
	return "<![CDATA[" + strings.ReplaceAll(text, "]]>", "]]]]><![CDATA[>") + "]]>"
}
