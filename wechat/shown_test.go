package wechat

import (
	"bytes"
	"encoding/json"
	"errors"
	"html"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"wxplatform/internal/seal"
)

func TestAnAnswerThatShowsItsTokenIsNotHandedOn(t *testing.T) {
	const token = "83_secret-token"
	call := Call{Path: "/x", Token: seal.NewSecret(token)}
	refused := answered("/x", 40001, "x")
	for name, a := range map[string]Answer{
		"body":   {Body: []byte(`{"errcode":40001,"errmsg":"` + token + ` is bad"}`)},
		"header": {Header: []Field{{"Location", "https://x/?access_token=" + token}}},
	} {
		got, err := withoutToken(call, a, refused)
		if !MayHaveActed(err) || got.Body != nil || got.Header != nil || strings.Contains(err.Error(), token) {
			t.Errorf("%s: got %+v, %v, want nothing of the answer", name, got, err)
		}
	}
	whole := Answer{Body: []byte("83_secret-toke"), Header: []Field{{"X", "y"}}}
	if got, err := withoutToken(call, whole, refused); string(got.Body) != "83_secret-toke" || err != refused {
		t.Errorf("got %+v, %v, want the answer as it was", got, err)
	}
	for short := range shortestToken {
		a := Answer{Body: []byte(token[:short])}
		if got, err := withoutToken(Call{Token: seal.NewSecret(token[:short])}, a, nil); string(got.Body) != token[:short] || err != nil {
			t.Errorf("got %+v, %v for a text that is too short for a token, want the answer as it was", got, err)
		}
	}
	if got, err := withoutToken(Call{}, whole, nil); string(got.Body) != "83_secret-toke" || err != nil {
		t.Errorf("got %+v, %v, want an answer to a call without a token as it was", got, err)
	}
}

func TestATokenIsFoundHoweverItIsEncoded(t *testing.T) {
	const token = "token@@@a+b/83_secret-token=="
	call := Call{Path: "/x", Token: seal.NewSecret(token)}
	quoted, _ := json.Marshal("<" + token)
	for _, shown := range []string{token, url.QueryEscape(token), strings.ToLower(url.QueryEscape(token)), url.PathEscape(token), string(quoted), html.EscapeString(token)} {
		page := "<a href=/x?access_token=" + shown + ">"
		if got, err := withoutToken(call, Answer{Body: []byte(page)}, nil); !errors.Is(err, errShown) || got.Body != nil {
			t.Errorf("%s: got %s and %v, want nothing of the page", shown, got.Body, err)
		}
		streamed, err := withoutToken(call, Answer{Stream: io.NopCloser(strings.NewReader(page))}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(streamed.Stream); !errors.Is(err, errShown) || strings.Contains(string(got), "secret") {
			t.Errorf("%s: got %s and %v, want it cut", shown, got, err)
		}
	}
}

func TestAStreamEndsBeforeItsToken(t *testing.T) {
	const token = "aab"
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ab]{0,40}`).Draw(t, "text")
		var from io.Reader = strings.NewReader(text)
		if rapid.Bool().Draw(t, "slowly") {
			from = iotest.OneByteReader(from)
		}
		got, err := io.ReadAll(&tokenless{from: io.NopCloser(from), token: []byte(token)})
		at := strings.Index(text, token)
		switch {
		case at < 0 && (string(got) != text || err != nil):
			t.Fatalf("got %q, %v, want all of %q", got, err, text)
		case at >= 0 && (!errors.Is(err, errShown) || len(got) > at || !strings.HasPrefix(text, string(got))):
			t.Fatalf("got %q, %v of %q, want it cut before %q", got, err, text, token)
		}
	})
}

func TestAStreamThatIsCutStaysCut(t *testing.T) {
	from := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF))
	got, err := io.ReadAll(&tokenless{from: io.NopCloser(from), token: []byte("token")})
	if string(got) != "half" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %q, %v, want what came and the error", got, err)
	}
}

func TestALargeStreamIsHandedOnInBoundedMemory(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 1<<20)
	s := &tokenless{from: io.NopCloser(bytes.NewReader(data)), token: []byte("83_token")}
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(got, data) || cap(s.held) > transferBuffer {
		t.Errorf("got %d bytes, %v, with room for %d, want %d", len(got), err, cap(s.held), len(data))
	}
}
