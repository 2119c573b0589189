package tenant

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"wxplatform/internal/seal"
)

func TestASecretNamesItsClientAndFitsAnywhere(t *testing.T) {
	id := ClientID(newID("c", idLength))
	secret := newSecret(id)
	if text := secret.Reveal(); !regexp.MustCompile(`^wxs_`+string(id)+`_[A-Za-z0-9_-]{32}_[0-9a-f]{8}$`).MatchString(text) || len(text) > 64 {
		t.Errorf("got a secret of %d characters that is not as designed", len(text))
	}
	if !wellFormed(id, secret) {
		t.Error("got a new secret called mistyped")
	}
	if newSecret(id).Equal(secret) {
		t.Error("got the same secret twice")
	}
}

func TestAMistypedSecretIsToldApart(t *testing.T) {
	id := ClientID(newID("c", idLength))
	text := newSecret(id).Reveal()
	rapid.Check(t, func(t *rapid.T) {
		wrong := []byte(text)
		wrong[rapid.IntRange(0, len(wrong)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "by"))
		if wellFormed(id, seal.NewSecret(string(wrong))) {
			t.Fatal("got a mistyped secret taken for a good one")
		}
	})
	for _, wrong := range []string{"", "wxs_", text[:len(text)-1], text + "0", strings.ToUpper(text), text[:20]} {
		if wellFormed(id, seal.NewSecret(wrong)) {
			t.Errorf("got %d characters taken for a secret", len(wrong))
		}
	}
	for _, odd := range []ClientID{"", "c", id + "x", ClientID(strings.Repeat("c", 1000))} {
		if wellFormed(odd, newSecret(odd)) {
			t.Errorf("got a secret taken for a good one of a client id of %d characters", len(odd))
		}
	}
	longer := secretPrefix + string(id) + "x_" + text[17:48]
	if wellFormed(id+"x", seal.NewSecret(longer+"_"+checksum(longer))) {
		t.Error("got a secret taken for a good one that gives to its client what its random part lacks")
	}
	for _, body := range []string{text[:48], text[:49] + "x"} {
		if wellFormed(id, seal.NewSecret(body+"_"+checksum(body))) {
			t.Errorf("got a secret of %d characters taken for a good one", len(body)+9)
		}
	}
	if wellFormed(ClientID(newID("c", idLength)), seal.NewSecret(text)) {
		t.Error("got a secret taken for another client's")
	}
}
