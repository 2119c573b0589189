package wechat

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func (v vector) envelope(t testing.TB) *Envelope {
	t.Helper()
	e, err := NewEnvelope(v.component, []string{v.token}, []string{v.key})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestOpenReadsThePublicVectors(t *testing.T) {
	for _, v := range vectors {
		got, err := v.envelope(t).Open(v.push)
		if err != nil || string(got) != v.msg {
			t.Errorf("%s: got %q, %v, want %q", v.name, got, err, v.msg)
		}
	}
}

func TestSealWritesThePublicVectors(t *testing.T) {
	for _, v := range vectors {
		got := v.envelope(t).SealWith([16]byte([]byte(v.random)), []byte(v.msg), v.push.Timestamp, v.push.Nonce)
		if got != v.push {
			t.Errorf("%s: got %+v, want %+v", v.name, got, v.push)
		}
	}
}

func TestSealNeverRepeatsItself(t *testing.T) {
	e := vectors[0].envelope(t)
	one, other := e.Seal([]byte("x"), "1", "2"), e.Seal([]byte("x"), "1", "2")
	if one == other {
		t.Error("two seals are equal, so the random bytes are not random")
	}
}

func TestEchoSignatureIsThatOfTheExamples(t *testing.T) {
	for name, want := range map[string]string{
		"A1 short text":    "76480565cbe296026c53aaacd1ad523a1ddba24f",
		"B sealed echo":    "93d1cec91cee4a4a8baada4c807ed13137622215",
		"E component push": "cc0c594499c1634947d5b502f158ee518947db27",
	} {
		v := vectorNamed(t, name)
		got := v.envelope(t).EchoSignature(v.push.Timestamp, v.push.Nonce)
		if got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
		if err := v.envelope(t).CheckEcho(v.push.Timestamp, v.push.Nonce, want); err != nil {
			t.Errorf("%s: got %v, want nil", name, err)
		}
		if err := v.envelope(t).CheckEcho(v.push.Timestamp, v.push.Nonce+"0", want); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: got %v, want ErrSignature", name, err)
		}
	}
}

func vectorNamed(t *testing.T, name string) vector {
	t.Helper()
	for _, v := range vectors {
		if v.name == name {
			return v
		}
	}
	t.Fatalf("no vector %q", name)
	return vector{}
}

func TestOpenRefusesEveryFlippedByte(t *testing.T) {
	v := vectorNamed(t, "E component push")
	e := v.envelope(t)
	flip := func(field func(*Push) *string) {
		for i := range *field(&v.push) {
			p := v.push
			changed := []byte(*field(&p))
			changed[i] ^= 1
			*field(&p) = string(changed)
			if _, err := e.Open(p); !errors.Is(err, ErrSignature) {
				t.Errorf("byte %d flipped: got %v, want ErrSignature", i, err)
			}
		}
	}
	flip(func(p *Push) *string { return &p.Encrypt })
	flip(func(p *Push) *string { return &p.Signature })
	flip(func(p *Push) *string { return &p.Timestamp })
	flip(func(p *Push) *string { return &p.Nonce })
}

func TestOpenRefusesASignedButForeignPush(t *testing.T) {
	e := vectors[0].envelope(t)
	foreign, err := NewEnvelope("wx0000000000000000", []string{"pamtest"}, []string{keyA})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Open(foreign.Seal([]byte("hello"), "1", "2")); !errors.Is(err, ErrComponent) {
		t.Errorf("got %v, want ErrComponent", err)
	}
	short := &Envelope{component: "wx0", tokens: e.tokens, keys: e.keys}
	if _, err := short.Open(foreign.Seal([]byte("hello"), "1", "2")); !errors.Is(err, ErrComponent) {
		t.Errorf("a component whose appid begins another's: got %v, want ErrComponent", err)
	}
	otherKey, err := NewEnvelope(vectors[0].component, []string{"pamtest"}, []string{keyB})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Open(otherKey.Seal([]byte("hello"), "1", "2")); !errors.Is(err, ErrEnvelope) {
		t.Errorf("got %v, want ErrEnvelope", err)
	}
}

// signed encrypts and signs plain bytes of any shape, as only an owner of token and key can.
func signed(e *Envelope, plain []byte) Push {
	sealed := make([]byte, len(plain))
	cipher.NewCBCEncrypter(e.keys[0].block, e.keys[0].iv).CryptBlocks(sealed, plain)
	encrypt := base64.StdEncoding.EncodeToString(sealed)
	return Push{Timestamp: "1", Nonce: "2", Encrypt: encrypt, Signature: sign(e.tokens[0], "1", "2", encrypt)}
}

func TestOpenRefusesMalformedContent(t *testing.T) {
	e := vectors[0].envelope(t)
	component := string(vectors[0].component)
	body := func(length uint32, rest string) []byte {
		return append(binary.BigEndian.AppendUint32(make([]byte, 16), length), rest...)
	}
	// fill appends one byte up to a total length: 43 bytes of content need a padding of 21.
	fill := func(plain []byte, with byte, total int) []byte {
		return append(plain, bytes.Repeat([]byte{with}, total-len(plain))...)
	}
	for name, plain := range map[string][]byte{
		"no appid":                 fill(body(5, "hello"), 33, 64),
		"an appid cut short":       fill(body(5, "hello"+component[:17]), 0, 64),
		"33 bytes of padding":      fill(body(10, strings.Repeat("x", 10)+component), 0, 96)[:96:96],
		"length beyond the end":    fill(body(24, "hello"+component), 21, 64),
		"length of four gigabytes": fill(body(0xffffffff, "hello"+component), 21, 64),
		"nothing but padding":      bytes.Repeat([]byte{32}, 32),
		"too short for a length":   fill(make([]byte, 19), 13, 32),
	} {
		if _, err := e.Open(signed(e, plain)); !errors.Is(err, ErrEnvelope) {
			t.Errorf("%s: got %v, want ErrEnvelope", name, err)
		}
	}
}

func TestOpenTakesAnyPaddingBehindTheAppID(t *testing.T) {
	e := vectors[0].envelope(t)
	component := string(vectors[0].component)
	rapid.Check(t, func(t *rapid.T) {
		msg := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "message")
		plain := binary.BigEndian.AppendUint32(make([]byte, 16), uint32(len(msg)))
		plain = append(append(plain, msg...), component...)
		least := (aes.BlockSize - len(plain)%aes.BlockSize) % aes.BlockSize
		pad := rapid.SampledFrom([]int{least, least + aes.BlockSize}).Draw(t, "pad")
		padding := rapid.OneOf(
			rapid.SliceOfN(rapid.Byte(), pad, pad),                                               // ISO 10126, or none
			rapid.Map(rapid.Byte(), func(b byte) []byte { return bytes.Repeat([]byte{b}, pad) }), // PKCS#7, zeros
			rapid.Just(append(make([]byte, max(pad-1, 0)), byte(pad))[:pad]),                     // X9.23
		).Draw(t, "padding")
		if got, err := e.Open(signed(e, append(plain, padding...))); err != nil || !bytes.Equal(got, msg) {
			t.Errorf("got %q, %v, want %q", got, err, msg)
		}
	})
}

func TestOpenTakesWhateverFormTheSignedTextHas(t *testing.T) {
	for _, v := range vectors {
		e, bare := v.envelope(t), strings.TrimRight(v.push.Encrypt, "=")
		for name, encrypt := range map[string]string{
			"no =":      bare,
			"blanks":    " " + bare[:7] + " \t" + bare[7:] + "= =\n",
			"76 a line": string(regexp.MustCompile(".{1,76}").ReplaceAll([]byte(v.push.Encrypt), []byte("$0\r\n"))),
		} {
			for _, covered := range []string{encrypt, withoutBlanks(encrypt)} {
				p := v.push
				p.Encrypt, p.Signature = encrypt, strings.ToUpper(sign(v.token, p.Timestamp, p.Nonce, covered))
				if got, err := e.Open(p); err != nil || string(got) != v.msg {
					t.Errorf("%s, %s: got %q, %v, want %q", v.name, name, got, err, v.msg)
				}
			}
		}
	}
}

func TestOpenRefusesAnEmptyEncrypt(t *testing.T) {
	e := vectors[0].envelope(t)
	if _, err := e.Open(signed(e, nil)); !errors.Is(err, ErrEnvelope) {
		t.Errorf("got %v, want ErrEnvelope", err)
	}
}

func TestOpenTakesOldTokensAndOldKeys(t *testing.T) {
	both, err := NewEnvelope("wx1", []string{"newtoken", "oldtoken"}, []string{keyA, keyB})
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"newtoken", "oldtoken"} {
		for _, key := range []string{keyA, keyB} {
			one, err := NewEnvelope("wx1", []string{token}, []string{key})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := both.Open(one.Seal([]byte("hello"), "1", "2")); err != nil || string(got) != "hello" {
				t.Errorf("got %q, %v, want hello", got, err)
			}
		}
	}
	newest, err := NewEnvelope("wx1", []string{"newtoken"}, []string{keyA})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newest.Open(both.Seal([]byte("hello"), "1", "2")); err != nil {
		t.Errorf("sealed under something else than the newest: %v", err)
	}
}

func TestNewEnvelopeRefusesFaultyKeysWithoutNamingThem(t *testing.T) {
	const secret = "SECRETSECRETSECRET"
	for _, key := range []string{"", secret, keyA + secret, strings.Repeat("-", 43), keyA[:42] + "\n"} {
		_, err := NewEnvelope("wx1", []string{"token"}, []string{key})
		if err == nil {
			t.Errorf("key of %d bytes: got nil, want an error", len(key))
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("the error holds the key: %v", err)
		}
	}
	for _, tokens := range [][]string{nil, {""}, {"token", ""}} {
		if _, err := NewEnvelope("wx1", tokens, []string{keyA}); err == nil {
			t.Errorf("tokens %q: got nil, want an error", tokens)
		}
	}
}

func TestReadEncryptFindsIt(t *testing.T) {
	for _, body := range []string{
		"<xml><AppId><![CDATA[wx1]]></AppId><Encrypt><![CDATA[abc=]]></Encrypt></xml>",
		"<xml>\n<ToUserName>gh</ToUserName>\n<Encrypt>\nabc=\n</Encrypt>\n</xml>\n",
		`<?xml version="1.0" encoding="UTF-8"?><xml><Encrypt>abc=</Encrypt></xml>`,
		`<?xml version="1.0" encoding="GBK"?><xml><Encrypt>abc=</Encrypt></xml>`,
		"\ufeff<xml><New><Encrypt>no</Encrypt></New><Encrypt>abc=</Encrypt></xml>",
		"<xml><ToUserName>\x00\xff & <3</ToUserName><Encrypt>abc=</Encrypt><xml>",
		"<xml><Encrypt>abc=</Encrypt><Encrypt><![CDATA[abc=]]></Encrypt></xml>",
		`<!DOCTYPE xml SYSTEM "file:///etc/passwd"><xml><Encrypt>abc=</Encrypt></xml>trailing`,
		"<br><xml><Encrypt>abc=</Encrypt></xml>",
		"<br/>\n<br /><xml><Encrypt>abc=</Encrypt></xml>",
		"<x:xml xmlns:x='y'><x:AppId>wx1</x:AppId><x:Encrypt>abc=</x:Encrypt></x:xml>",
		"<xml>" + strings.Repeat("<br>", 200) + "<Encrypt></Encrypt><Encrypt>abc=</Encrypt></xml>",
		`{"ToUserName":"gh_1","Encrypt":"abc="}`,
		"\r\n{ \"Encrypt\" : \"abc\\u003d\", \"n\": {\"Encrypt\": \"no\"} }",
		string(WriteEvent("wx1", Push{Encrypt: "abc="})),
		string(WriteMessage("gh_1", Push{Encrypt: "abc="})),
		string(WriteReply(Push{Encrypt: "abc=", Nonce: "]]>"})),
	} {
		if got, err := ReadEncrypt([]byte(body)); err != nil || got != "abc=" {
			t.Errorf("%s: got %q, %v, want abc=", body, got, err)
		}
	}
}

func TestReadEncryptRefusesEverythingElse(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":         "",
		"text":            "Encrypt",
		"too many parts":  "<xml>" + strings.Repeat("<a>", 300) + "<Encrypt>abc=</Encrypt></xml>",
		"two of them":     "<xml><Encrypt>abc=</Encrypt><Encrypt>def=</Encrypt></xml>",
		"two in JSON":     `{"Encrypt":"abc=","Encrypt":"def="}`,
		"empty":           "<xml><Encrypt></Encrypt></xml>",
		"missing":         "<xml><AppId>abc=</AppId></xml>",
		"another case":    `{"encrypt":"abc="}`,
		"inside another":  "<xml><A><Encrypt>abc=</Encrypt></A></xml>",
		"inside CDATA":    "<xml><A><![CDATA[</A><Encrypt>abc=</Encrypt>]]></A></xml>",
		"inside a text":   `{"A":"\",\"Encrypt\":\"abc="}`,
		"inside a list":   `[{"Encrypt":"abc="}]`,
		"Encrypt as root": "<Encrypt>abc=</Encrypt>",
		"of two prefixes": "<xml><x:Encrypt>abc=</x:Encrypt><y:Encrypt>def=</y:Encrypt></xml>",
		"in another root": "<A><xml><Encrypt>abc=</Encrypt></xml></A>",
		"behind the root": "<xml></xml><xml><Encrypt>abc=</Encrypt></xml>",
	} {
		if got, err := ReadEncrypt([]byte(body)); !errors.Is(err, ErrEnvelope) {
			t.Errorf("%s: got %q, %v, want ErrEnvelope", name, got, err)
		}
	}
}

func TestWriteReplyKeepsItsContentInside(t *testing.T) {
	want := Push{Encrypt: "abc=", Signature: "sig", Timestamp: "<1>", Nonce: "a]]>b<c"}
	var got struct{ Encrypt, MsgSignature, TimeStamp, Nonce string }
	if err := xml.Unmarshal(WriteReply(want), &got); err != nil {
		t.Fatal(err)
	}
	if back := (Push{got.TimeStamp, got.Nonce, got.MsgSignature, got.Encrypt}); back != want {
		t.Errorf("got %+v, want %+v", back, want)
	}
}

func FuzzOpen(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.push.Encrypt, v.push.Timestamp, v.push.Nonce, []byte(v.msg))
	}
	e, err := NewEnvelope("wx0000000000000001", []string{"token"}, []string{keyA, keyE})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, encrypt, timestamp, nonce string, msg []byte) {
		// Open must neither panic nor return a message for another component, whatever the content
		// of a correctly signed push is.
		p := Push{Timestamp: timestamp, Nonce: nonce, Encrypt: encrypt, Signature: sign("token", timestamp, nonce, encrypt)}
		if got, err := e.Open(p); err == nil {
			t.Errorf("got %q from a push that nobody sealed", got)
		}
		if got, err := e.Open(e.Seal(msg, timestamp, nonce)); err != nil || !bytes.Equal(got, msg) {
			t.Errorf("got %q, %v, want %q", got, err, msg)
		}
	})
}

func FuzzReadEncrypt(f *testing.F) {
	for _, v := range vectors {
		f.Add(WriteMessage("gh_1", v.push))
	}
	f.Add([]byte(`<?xml version="1.0"?><!DOCTYPE xml><xml><Encrypt>a</Encrypt></xml>`))
	f.Add([]byte(`{"Encrypt":"a"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := ReadEncrypt(body)
		if (err == nil) == (got == "") {
			t.Errorf("got %q, %v", got, err)
		}
		if err != nil && !errors.Is(err, ErrEnvelope) {
			t.Errorf("got %v, want ErrEnvelope", err)
		}
	})
}

// bodies are 256 KiB that anybody can send.
var bodies = map[string]string{
	"elements":       "<xml><a>b</a>",
	"tags":           "<a>",
	"text tags":      "<",
	"comments":       "<!--x-->",
	"CDATA":          "<![CDATA[x]]>",
	"instructions":   "<?x>",
	"Encrypts":       "<Encrypt></Encrypt>",
	"ends":           "</a>",
	"JSON members":   `"a":1,`,
	"JSON strings":   `"",`,
	"JSON quotes":    `"`,
	"nested Encrypt": "<xml><Encrypt><a></a></Encrypt>",
}

func body256(start, part string) []byte {
	return []byte(start + strings.Repeat(part, (256<<10-len(start))/len(part)))
}

func TestABodyOfManyPartsIsRefusedAfterTheFirst(t *testing.T) {
	for name, part := range bodies {
		start := "<xml>"
		if strings.HasPrefix(name, "JSON") {
			start = "{"
		}
		body := body256(start, part)
		if got, err := ReadEncrypt(body); !errors.Is(err, ErrNoEncrypt) {
			t.Errorf("%s: got %q, %v, want it refused", name, got, err)
		}
		if start == "{" {
			continue
		}
		s := newXMLScanner(string(body))
		s.only, s.most = "Encrypt", maxEnvelopeParts
		if s.scan(); len(body)-len(s.rest) > 16<<10 {
			t.Errorf("%s: got %d bytes read, want it refused after the first parts", name, len(body)-len(s.rest))
		}
	}
}

func TestJSONOfManyMembersIsReadNoFurther(t *testing.T) {
	for _, part := range []string{`"a":1,`, `"",`} {
		if members, all := scanSomeMembers(body256("{", part), maxEnvelopeParts); all || len(members) > maxEnvelopeParts {
			t.Errorf("%q: got %d members, want the scan to stop", part, len(members))
		}
	}
}

func TestManyEntitiesAreRefusedInEncryptAndIgnoredElsewhere(t *testing.T) {
	many := strings.Repeat("&", 100_000)
	if _, err := ReadEncrypt([]byte("<xml><Encrypt>" + many + "</Encrypt></xml>")); !errors.Is(err, ErrNoEncrypt) {
		t.Errorf("got %v, want ErrNoEncrypt", err)
	}
	if got, err := ReadEncrypt([]byte("<xml><Odd>" + many + "</Odd><Encrypt>abc&#61;</Encrypt></xml>")); err != nil || got != "abc=" {
		t.Errorf("got %q, %v, want what is needed", got, err)
	}
}

func TestAnEnvelopeMayHaveHundredsOfOddElements(t *testing.T) {
	odd := strings.Repeat("<Odd>\xff & </Odd>", 100)
	for _, body := range []string{"<xml>" + odd + "<Encrypt>abc=</Encrypt></xml>", "<xml><Encrypt>abc=</Encrypt>" + odd + "</xml>"} {
		if got, err := ReadEncrypt([]byte(body)); err != nil || got != "abc=" {
			t.Errorf("got %q, %v, want it found", got, err)
		}
	}
	// A second one behind too many parts is not overlooked: the body is refused.
	if got, err := ReadEncrypt([]byte("<xml><Encrypt>abc=</Encrypt>" + strings.Repeat("<a/>", 300) + "<Encrypt>def=</Encrypt></xml>")); err == nil {
		t.Errorf("got %q, want it refused", got)
	}
}

func BenchmarkReadEncryptOfAStranger(b *testing.B) {
	for name, part := range bodies {
		body := body256("<xml>", part)
		if strings.HasPrefix(name, "JSON") {
			body = body256("{", part)
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, _ = ReadEncrypt(body)
			}
		})
	}
}
