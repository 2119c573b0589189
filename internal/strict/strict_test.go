package strict

import (
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
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

func FuzzObject(f *testing.F) {
	f.Add([]byte(`{"kf_account":"a@b","count":2}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var fault *Fault
		if err := Object(text, &form{}); err != nil && !errors.As(err, &fault) {
			t.Errorf("got %v, want a fault", err)
		}
	})
}
