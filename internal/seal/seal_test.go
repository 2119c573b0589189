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

func TestAValueOpensOnlyWhereItWasSealed(t *testing.T) {
	ring := newRing(t, NewKey())
	rapid.Check(t, func(t *rapid.T) {
		place := rapid.SliceOfN(rapid.String(), 1, 4).Draw(t, "place")
		other := rapid.SliceOfN(rapid.String(), 1, 4).Draw(t, "other")
		sealed := ring.Seal(NewSecret(canary), place...)
		if got, err := ring.Open(sealed, place...); err != nil || got.Reveal() != canary {
			t.Fatalf("got %v, want it opened in its place", err)
		}
		if fmt.Sprintf("%q", place) == fmt.Sprintf("%q", other) {
			return
		}
		if _, err := ring.Open(sealed, other...); !errors.Is(err, ErrForged) {
			t.Fatalf("got %v in %q, want ErrForged", err, other)
		}
	})
}

func TestPartsOfAPlaceDoNotRunTogether(t *testing.T) {
	ring := newRing(t, NewKey())
	sealed := ring.Seal(NewSecret(canary), "ab", "c")
	if _, err := ring.Open(sealed, "a", "bc"); !errors.Is(err, ErrForged) {
		t.Errorf("got %v, want ErrForged", err)
	}
}

func TestAnyFlippedByteIsRefused(t *testing.T) {
	ring := newRing(t, NewKey())
	sealed := ring.Seal(NewSecret(canary), "tokens", "access", "wx1")
	for i := range sealed {
		forged := append([]byte{}, sealed...)
		forged[i] ^= 1
		if _, err := ring.Open(forged, "tokens", "access", "wx1"); err == nil {
			t.Errorf("byte %d flipped: got it opened, want it refused", i)
		}
	}
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
