package login

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wxplatform/internal/dbtest"
	"wxplatform/internal/seal"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

var (
	inURLs  = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	someday = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
)

func newSealer(t *testing.T) sealer {
	t.Helper()
	return sealer{dbtest.Ring(t).ForCallers(), func() time.Time { return someday }}
}

// drawToken is a token as long as WeChat's, or longer.
func drawToken(t *rapid.T) userToken {
	text := func(pattern, label string) string { return rapid.StringMatching(pattern).Draw(t, label) }
	return userToken{
		tenant.ID(text(`t[a-z0-9]{11}`, "tenant")), tenant.ClientID(text(`c[a-z0-9]{11}`, "client")), wechat.AppID(text(`wx[0-9a-f]{16}`, "appid")),
		someday.Add(time.Duration(rapid.IntRange(1, 30*24*3600).Draw(t, "life")) * time.Second), seal.NewSecret(text(`83_[A-Za-z0-9_-]{80,180}`, "token")),
	}
}

func TestASealedTokenOpensForItsUseAlone(t *testing.T) {
	s := newSealer(t)
	foreign := newSealer(t)
	rapid.Check(t, func(t *rapid.T) {
		u := drawToken(t)
		text := s.seal(accessToken, u).Reveal()
		got, err := s.open(accessToken, text)
		if err != nil || got.tenant != u.tenant || got.client != u.client || got.appID != u.appID || !got.expires.Equal(u.expires) || !got.token.Equal(u.token) {
			t.Fatalf("got %+v, %v, want %+v", got, err, u)
		}
		if !inURLs.MatchString(text) || len(text) > 512 || strings.Contains(text, u.token.Reveal()) {
			t.Fatalf("got %q of %d characters, want at most 512 that need no escape in a URL", text, len(text))
		}
		if _, err := s.open(refreshToken, text); !errors.Is(err, ErrRefreshToken) {
			t.Fatalf("as a refresh token: got %v, want it refused", err)
		}
		if _, err := foreign.open(accessToken, text); !errors.Is(err, ErrToken) {
			t.Fatalf("with another key: got %v, want it refused", err)
		}
	})
}

func TestAChangedTokenIsRefused(t *testing.T) {
	s := newSealer(t)
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n\x00"
	rapid.Check(t, func(t *rapid.T) {
		text := s.seal(accessToken, drawToken(t)).Reveal()
		at, other := rapid.IntRange(0, len(text)-1).Draw(t, "at"), rapid.SampledFrom([]byte(letters)).Draw(t, "other")
		changed := text[:at] + string(other) + text[at+1:]
		for _, forged := range []string{changed, text[:at], text[:at] + text[at+1:], text + string(other), text[at:]} {
			if _, err := s.open(accessToken, forged); forged != text && !errors.Is(err, ErrToken) {
				t.Fatalf("%q of %q: got %v, want it refused", forged, text, err)
			}
		}
	})
}

func TestAnyTextThatIsNoSealedTokenIsRefused(t *testing.T) {
	s := newSealer(t)
	for _, text := range []string{"", "wxu_", "wxu_AA", "wxu_AQ", "wxu_AXg", "wxu__w", "83_" + strings.Repeat("x", 107), strings.Repeat("A", longestSealed+4), "wxu_" + strings.Repeat("A", longestSealed)} {
		if _, err := s.open(accessToken, text); !errors.Is(err, ErrToken) {
			t.Errorf("%.20q: got %v, want ErrToken", text, err)
		}
	}
}

func TestATokenOpensUntilItExpires(t *testing.T) {
	s := newSealer(t)
	u := userToken{"t1", "c1", "wx5a3e1c0b7d2f4801", someday.Add(time.Hour), seal.NewSecret("83_x")}
	access, refresh := s.seal(accessToken, u).Reveal(), s.seal(refreshToken, u).Reveal()
	for after, want := range map[time.Duration]error{time.Hour - time.Second: nil, time.Hour: ErrTokenExpired} {
		s.now = func() time.Time { return someday.Add(after) }
		if _, err := s.open(accessToken, access); !errors.Is(err, want) {
			t.Errorf("after %v: got %v, want %v", after, err, want)
		}
	}
	s.now = func() time.Time { return u.expires }
	if _, err := s.open(refreshToken, refresh); !errors.Is(err, ErrRefreshToken) {
		t.Errorf("got %v, want the expired refresh token refused", err)
	}
}

// What callers send is no sign of a damaged database.
func TestAForeignTokenRaisesNoAlarm(t *testing.T) {
	ring := dbtest.Ring(t)
	ring.Unopened = func(place seal.Place, err error) { t.Errorf("got %v at %q reported, want nothing", err, place) }
	s := sealer{ring.ForCallers(), func() time.Time { return someday }}
	text := s.seal(accessToken, userToken{"t1", "c1", "wx5a3e1c0b7d2f4801", someday.Add(time.Hour), seal.NewSecret("83_x")}).Reveal()
	_, _ = s.open(refreshToken, text)
	_, _ = newSealer(t).open(accessToken, text)
}

func TestAnAnswerKeepsItsOtherMembers(t *testing.T) {
	values := map[string]seal.Secret{"access_token": seal.NewSecret("wxu_1"), "refresh_token": seal.NewSecret("wxu_2")}
	for text, want := range map[string]string{
		`{"access_token":"a","expires_in":7200,"refresh_token":"r","openid":"o","scope":"snsapi_base"}`: `{"access_token":"wxu_1","expires_in":7200,"refresh_token":"wxu_2","openid":"o","scope":"snsapi_base"}`,
		`{ "openid" : "o" , "x":{"b":[1, 2.50],"a":"<&>中\u0000"}, "access_token":"a"}`:                  `{"openid":"o","x":{"b":[1, 2.50],"a":"<&>中\u0000"},"access_token":"wxu_1"}`,
		`{"access_token":"a","access_token":"b"}`:                                                       `{"access_token":"wxu_1","access_token":"wxu_1"}`,
		`{}`: `{}`,
	} {
		if got, err := replaced([]byte(text), values); err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", `{"access_token":"a"`, `{"access_token":}`, `{"access_token" "a"}`} {
		if got, err := replaced([]byte(text), values); err == nil {
			t.Errorf("%s: got %s, want an error", text, got)
		}
	}
}

// WeChat might repeat a token in a member that nobody knows.
func TestAnAnswerThatStillHasATokenIsNotHandedOn(t *testing.T) {
	s := &Service{sealer: newSealer(t)}
	for text, want := range map[string]error{
		`{"access_token":"83_first","refresh_token":"83_other","openid":"o"}`:                      nil,
		`{"access_token":"83_first","refresh_token":"83_other","openid":"o","x":["83_first"]}`:     errUnreadable,
		`{"access_token":"83_first","refresh_token":"83_other","openid":"o","x":{"y":"83_other"}}`: errUnreadable,
		`{"access_token":"83_first","refresh_token":"83_other","openid":"o`:                        errUnreadable,
	} {
		given, _ := wechat.ParseObject([]byte(text))
		answer, err := s.sealed(user{}, object{given}, someday)
		if !errors.Is(err, want) || err == nil && strings.Contains(string(answer.Body), "83_") {
			t.Errorf("%s: got %s, %v, want %v", text, answer.Body, err, want)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add("wxu_AXg")
	ring, err := seal.NewRing(seal.NewSecret(seal.NewKey()))
	if err != nil {
		f.Fatal(err)
	}
	s := sealer{ring.ForCallers(), func() time.Time { return someday }}
	f.Fuzz(func(t *testing.T, text string) {
		if u, err := s.open(accessToken, text); err == nil {
			t.Errorf("got %s opened of %q, want it refused", fmt.Sprint(u), text)
		}
	})
}
