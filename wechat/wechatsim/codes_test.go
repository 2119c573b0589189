package wechatsim

import "testing"

func TestCodesSayWhatTheyMean(t *testing.T) {
	m := mint{seed: 1}
	for kind := range shapes {
		want := code{kind: kind, owner: 0xfedcba98, number: 1<<63 | 12345}
		if got, genuine := m.read(m.write(want), kind); !genuine || got != want {
			t.Errorf("got %+v, %t, want %+v", got, genuine, want)
		}
	}
}

func TestChangedCodesAreNotGenuine(t *testing.T) {
	m := mint{seed: 1}
	text := m.write(code{kind: refreshToken, owner: 1, number: 2})
	for i := range text {
		changed := []byte(text)
		changed[i] ^= 1
		if _, genuine := m.read(string(changed), refreshToken); genuine {
			t.Errorf("changed at %d, and still genuine", i)
		}
	}
	if _, genuine := (mint{seed: 2}).read(text, refreshToken); genuine {
		t.Error("genuine under another seed")
	}
	if _, genuine := m.read(m.write(code{kind: componentToken}), accessToken); genuine {
		t.Error("a component token passes for an access token")
	}
	if _, genuine := m.read(m.write(code{kind: preAuthCode}), authCode); genuine {
		t.Error("a pre-auth code passes for an auth code")
	}
}
