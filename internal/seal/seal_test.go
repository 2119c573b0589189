package seal

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const canary = "canary-5f1d"

func TestASecretNeverPrints(t *testing.T) {
	s := NewSecret(canary)
	wrapped := struct{ Token Secret }{s}
	asJSON, _ := json.Marshal(wrapped)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "wrapped", wrapped)
	out := fmt.Sprintf("%s %v %+v %#v %q %x %d %v %+v %#v", s, s, s, s, s, s, s, wrapped, &wrapped, wrapped) + string(asJSON) + log.String()
	if strings.Contains(out, canary) || strings.Contains(out, fmt.Sprintf("%x", canary)) {
		t.Errorf("got %s, want no secret in it", out)
	}
}

// forms runs test with a ring of each form.
func forms(t *testing.T, test func(t *testing.T, ring *Ring)) {
	t.Helper()
	for _, form := range []Form{Form1, Form2} {
		t.Run(fmt.Sprint(form), func(t *testing.T) { test(t, inForm(newRing(t, NewKey()), form)) })
	}
}

func inForm(ring *Ring, form Form) *Ring {
	ring.Form = form
	return ring
}

func TestAValueOpensOnlyWhereItWasSealed(t *testing.T) {
	forms(t, func(t *testing.T, ring *Ring) {
		rapid.Check(t, func(t *rapid.T) {
			place := rapid.SliceOfN(rapid.String(), 1, 4).Draw(t, "place")
			other := rapid.SliceOfN(rapid.String(), 1, 4).Draw(t, "other")
			plain := rapid.StringN(1, 40, -1).Draw(t, "plain")
			sealed := ring.Seal(NewSecret(plain), place...)
			if got, err := ring.Open(sealed, place...); err != nil || got.Reveal() != plain || FormOf(sealed) != ring.Form {
				t.Fatalf("got %v, want it opened in its place", err)
			}
			if fmt.Sprintf("%q", place) == fmt.Sprintf("%q", other) {
				return
			}
			if _, err := ring.Open(sealed, other...); !errors.Is(err, ErrForged) {
				t.Fatalf("got %v in %q, want ErrForged", err, other)
			}
		})
	})
}

func TestAValueOfOneFormIsNoneOfTheOther(t *testing.T) {
	key := NewKey()
	one, two := inForm(newRing(t, key), Form1), inForm(newRing(t, key), Form2)
	old, young := one.Seal(NewSecret(canary), "x"), two.Seal(NewSecret(canary), "x")
	for _, ring := range []*Ring{one, two} {
		for _, sealed := range [][]byte{old, young} {
			if got, err := ring.Open(sealed, "x"); err != nil || got.Reveal() != canary {
				t.Errorf("got %v, want both forms opened", err)
			}
		}
	}
	marked := append(Form2.mark(), old...)
	for name, forged := range map[string][]byte{"marked": marked, "unmarked": young[idBytes:]} {
		if _, err := two.Open(forged, "x"); !errors.Is(err, ErrForged) {
			t.Errorf("%s: got %v, want ErrForged", name, err)
		}
	}
}

func TestResealMovesBetweenTheForms(t *testing.T) {
	key := NewKey()
	rings := map[Form]*Ring{Form1: inForm(newRing(t, key), Form1), Form2: inForm(newRing(t, key), Form2)}
	for from, before := range rings {
		for to, after := range rings {
			sealed := before.Seal(NewSecret(canary), "x")
			moved, err := after.Reseal(sealed, "x")
			if err != nil || FormOf(moved) != to || !after.Newest(moved) || before.Newest(moved) != (from == to) {
				t.Errorf("%d to %d: got form %d, %v", from, to, FormOf(moved), err)
			}
			if (from == to) != (string(moved) == string(sealed)) {
				t.Errorf("%d to %d: got the value changed %v", from, to, from == to)
			}
		}
	}
}

func TestAnyCutValueIsRefused(t *testing.T) {
	forms(t, func(t *testing.T, ring *Ring) {
		sealed := ring.Seal(NewSecret(canary), "x")
		for n := 1; n < len(sealed); n++ {
			if _, err := ring.Open(sealed[:n], "x"); !Unopenable(err) {
				t.Errorf("%d bytes: got %v, want it refused", n, err)
			}
		}
	})
}

func TestAnotherKeyOpensNothing(t *testing.T) {
	forms(t, func(t *testing.T, ring *Ring) {
		other := newRing(t, NewKey())
		sealed := ring.Seal(NewSecret(canary), "x")
		if _, err := other.Open(sealed, "x"); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("got %v, want ErrUnknownKey", err)
		}
		copy(sealed[len(sealed)-len(canary)-16-12-idBytes:], other.ids[0].Bytes()) // as if that key had sealed it
		if _, err := other.Open(sealed, "x"); !errors.Is(err, ErrForged) {
			t.Errorf("got %v, want ErrForged", err)
		}
	})
}

// A release that knows only Form1 reads the mark as the id of a key that it lacks.
func TestAnEarlierReleaseMissesTheKeyOfForm2(t *testing.T) {
	ring := inForm(newRing(t, NewKey()), Form2)
	if mark := ring.Seal(NewSecret(canary), "x")[:idBytes]; fmt.Sprintf("%x", mark) != "00000002" {
		t.Errorf("got %x in front, want the mark", mark)
	}
}

func TestEachPlaceHasAKeyOfItsOwn(t *testing.T) {
	k, err := newKey(make([]byte, keyBytes))
	if err != nil {
		t.Fatal(err)
	}
	nonce := make([]byte, 12)
	here, there := k.aead(Form2, Place{"a"}.bytes()).Seal(nil, nonce, []byte(canary), nil), k.aead(Form2, Place{"b"}.bytes()).Seal(nil, nonce, []byte(canary), nil)
	if string(here) == string(there) {
		t.Error("got one key for two places")
	}
}

func TestAFormIsOneOrTwo(t *testing.T) {
	for text, want := range map[string]Form{"1": Form1, "2": Form2, "": 0, "0": 0, "3": 0, "x": 0} {
		if got, err := ParseForm(text); got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
}

func BenchmarkSealAndOpen(b *testing.B) {
	for _, form := range []Form{Form1, Form2} {
		ring, err := NewRing(NewSecret(NewKey()))
		if err != nil {
			b.Fatal(err)
		}
		ring.Form = form
		b.Run(fmt.Sprint(form), func(b *testing.B) {
			for b.Loop() {
				if _, err := ring.Open(ring.Seal(NewSecret(canary), "tokens", "access", "authorizer", "wx1"), "tokens", "access", "authorizer", "wx1"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestPartsOfAPlaceDoNotRunTogether(t *testing.T) {
	ring := newRing(t, NewKey())
	sealed := ring.Seal(NewSecret(canary), "ab", "c")
	if _, err := ring.Open(sealed, "a", "bc"); !errors.Is(err, ErrForged) {
		t.Errorf("got %v, want ErrForged", err)
	}
}

func TestAnyFlippedByteIsRefused(t *testing.T) {
	forms(t, func(t *testing.T, ring *Ring) {
		sealed := ring.Seal(NewSecret(canary), "tokens", "access", "wx1")
		for i := range sealed {
			forged := append([]byte{}, sealed...)
			forged[i] ^= 1
			if _, err := ring.Open(forged, "tokens", "access", "wx1"); err == nil {
				t.Errorf("byte %d flipped: got it opened, want it refused", i)
			}
		}
	})
}

func TestTheNewestKeySealsAndAllOpen(t *testing.T) {
	old, young := NewKey(), NewKey()
	before := newRing(t, old).Seal(NewSecret(canary), "x")
	ring := newRing(t, young+","+old)
	if got, err := ring.Open(before, "x"); err != nil || got.Reveal() != canary {
		t.Errorf("got %v, want the old key to open", err)
	}
	if ring.Newest(before) || !ring.Newest(ring.Seal(NewSecret(canary), "x")) {
		t.Error("got the wrong key named newest")
	}
	if _, err := newRing(t, young).Open(before, "x"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("got %v, want ErrUnknownKey once the old key is gone", err)
	}
}

func TestABadKeyIsRefusedWithoutShowingIt(t *testing.T) {
	key := NewKey()
	for _, list := range []string{"", "short", key + ",", key + "," + key, key[:20]} {
		_, err := NewRing(NewSecret(list))
		if err == nil {
			t.Errorf("got a ring of %d characters, want it refused", len(list))
			continue
		}
		if strings.Contains(err.Error(), key[:10]) {
			t.Errorf("got %q, want no key in it", err)
		}
	}
}

func newRing(t *testing.T, keys string) *Ring {
	t.Helper()
	ring, err := NewRing(NewSecret(keys))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}
