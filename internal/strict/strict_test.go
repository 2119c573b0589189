package strict

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

type form struct {
	Account string `json:"kf_account"`
	Count   int    `json:"count,omitempty"`
}

func TestAnObjectIsReadOnlyIfNothingIsOdd(t *testing.T) {
	for text, field := range map[string]string{
		`{"kf_account":"a@b","kf_account":"c@d"}`: "kf_account",
		`{"kf_account":1}`:                        "kf_account",
		`{"KF_account":"a@b"}`:                    `"KF_account"`,
		`{"kf_account":"a@b","access_token":"x"}`: `"access_token"`,
		`{"kf_account":"a@b"} {}`:                 "",
		`{"kf_account":"a@b"`:                     "",
		`{"kf_account":"a@b",}`:                   "",
		`["kf_account"]`:                          "",
		`null`:                                    "",
		``:                                        "",
		"{\"kf_account\":\"\xff\"}":               "",
		`{"` + strings.Repeat("k", 100) + `":"a@b"}`: `"` + strings.Repeat("k", 32) + `…"`,
	} {
		var fault *Fault
		if err := Object([]byte(text), &form{}); !errors.As(err, &fault) || fault.Field != field {
			t.Errorf("%.60s: got %v, want a fault of %q", text, err, field)
		}
	}
	var got form
	if err := Object([]byte(` {"kf_account":"a@b","count":2} `), &got); err != nil || got != (form{"a@b", 2}) {
		t.Errorf("got %v %v, want it read", got, err)
	}
}

func TestABodyHasALimitAndALabel(t *testing.T) {
	read := func(contentType string, body io.Reader) error {
		r := httptest.NewRequest("POST", "/", body)
		r.Header.Set("Content-Type", contentType)
		_, err := Body(r, &form{})
		return err
	}
	large := `{"kf_account":"` + strings.Repeat("a", BodyLimit) + `"}`
	if err := read("application/json", strings.NewReader(large)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	if err := read("application/json", io.MultiReader(strings.NewReader(large))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("chunked: got %v, want ErrTooLarge", err)
	}
	for contentType, ok := range map[string]bool{"application/json": true, "application/json; charset=UTF-8": true, "": true, "text/plain": false, "application/x-www-form-urlencoded": false, "application/json; charset=gbk": false, "application/json;;": false} {
		if err := read(contentType, strings.NewReader(`{"kf_account":"a@b"}`)); (err == nil) != ok {
			t.Errorf("%q: got %v, want accepted %v", contentType, err, ok)
		}
	}
}

func TestAQueryHoldsOnlyWhatIsAskedFor(t *testing.T) {
	for query, ok := range map[string]bool{"openid=o1": true, "": true, "openid=a&openid=b": false, "openid=a&access_token=x": false, "openid=%ff": false, "openid=%zz": false, "a;b": false} {
		_, err := Query(httptest.NewRequest("GET", "/?"+query, nil), "openid")
		if (err == nil) != ok {
			t.Errorf("%q: got %v, want accepted %v", query, err, ok)
		}
	}
}

// texts has what form has, and a second string.
type texts struct {
	Account string `json:"kf_account"`
	OpenID  string `json:"openid,omitempty"`
	Count   int    `json:"count"`
}

// differs returns how readTexts reads a text differently from encoding/json and the check of the
// keys, or nil. A text that it does not accept, they read.
func differs(text []byte) error {
	var quick, slow texts
	if !readTexts(text, reflect.ValueOf(&quick).Elem()) {
		return nil
	}
	err := json.Unmarshal(text, &slow)
	if err == nil {
		err = checkKeys(keys(text), knownKeys(&slow))
	}
	if err != nil || quick != slow {
		return fmt.Errorf("%q: got %+v, want %+v, %v", text, quick, slow, err)
	}
	return nil
}

func TestTheQuickReadingDiffersInNothing(t *testing.T) {
	parts := []string{`{`, `}`, `"kf_account"`, `"openid"`, `"hidden"`, `""`, `"a@b"`, `:`, `,`, ` `, "\n", `"count"`, `1`, `"\u0061"`, "\"\xff\"", `{"kf_account":"a@b"`, `,"openid":"o1"}`, `null`, `"OpenID"`, `"é"`}
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 1, 12).Draw(t, "parts"), "")
		if err := differs([]byte(text)); err != nil {
			t.Fatal(err)
		}
	})
	for text, want := range map[string]bool{
		`{"kf_account":"a@b","openid":"o1"}`: true, " {\n\"openid\" : \"o1\"\r\n} ": true, `{"kf_account":"a@b","kf_account":"a@b"}`: false,
		`{"kf_account":"","kf_account":"a@b"}`: false, `{}`: false, `{"kf_account":"a@b"}x`: false, `{"kf_account":"a@b",}`: false, `{"Hidden":"x"}`: false,
		`{"kf_account":"a\\b"}`: false, `{"count":"1"}`: false, `{"":"x"}`: false,
	} {
		if got := readTexts([]byte(text), reflect.ValueOf(&texts{}).Elem()); got != want {
			t.Errorf("%s: got read quickly %v, want %v", text, got, want)
		}
		if err := differs([]byte(text)); err != nil {
			t.Error(err)
		}
	}
}

func FuzzObject(f *testing.F) {
	f.Add([]byte(`{"kf_account":"a@b","count":2}`))
	f.Add([]byte(`{"kf_account":"a@b","openid":"o1"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := differs(text); err != nil {
			t.Error(err)
		}
		var fault *Fault
		if err := Object(text, &form{}); err != nil && !errors.As(err, &fault) {
			t.Errorf("got %v, want a fault", err)
		}
	})
}
