package tenant

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/seal"
)

func (w *world) keyIDs() []KeyID {
	w.t.Helper()
	var ids []KeyID
	for _, k := range got(w.Keys.List(w.t.Context()))(w.t) {
		ids = append(ids, k.ID)
	}
	return ids
}

func kidOf(t *testing.T, token string) KeyID {
	t.Helper()
	header, _ := decode(t, token)
	return KeyID(header["kid"].(string))
}

func TestTheFirstKeySignsAtOnce(t *testing.T) {
	w := newWorld(t)
	keys := got(w.Keys.List(t.Context()))(t)
	if len(keys) != 1 || !keys[0].SignsFrom.Equal(keys[0].Published) || !keys[0].Ends.IsZero() {
		t.Fatalf("got %+v, want one key that signs at once and has no end", keys)
	}
	if kid := kidOf(t, w.token()); kid != keys[0].ID {
		t.Errorf("got signed by %s, want %s", kid, keys[0].ID)
	}
}

func TestTheFirstKeySignsThoughTheProcessesClockLags(t *testing.T) {
	w := newWorld(t)
	w.clock.Move(-5 * time.Second)
	w.accepts(w.token())
}

func TestReplicasThatStartAtOnceMakeOneKey(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := &world{t: t, db: d, ring: dbtest.Ring(t), clock: &clock{}}
		var starting sync.WaitGroup
		for range 8 {
			r := w.replica(t)
			starting.Go(func() {
				if err := r.Keys.Ensure(context.Background(), tester); err != nil {
					t.Error(err)
				}
			})
		}
		starting.Wait()
		w.Registry = w.replica(t)
		if ids := w.keyIDs(); len(ids) != 1 {
			t.Errorf("got keys %v, want one", ids)
		}
	})
}

func TestStartingWithAKeyChangesNothing(t *testing.T) {
	w := newWorld(t)
	before := got(w.db.Counter(t.Context()))(t)
	must(t, w.Keys.Ensure(t.Context(), tester))
	if after := got(w.db.Counter(t.Context()))(t); after != before {
		t.Errorf("got the change counter raised from %d to %d", before, after)
	}
}

func TestARotatedKeySignsTenMinutesAfterItIsPublished(t *testing.T) {
	w := newWorld(t)
	old := kidOf(t, w.token())
	young := got(w.Keys.Rotate(t.Context(), tester))(t)
	if ids := w.keyIDs(); len(ids) != 2 || ids[0] != old || ids[1] != young {
		t.Fatalf("got keys %v, want %s and %s", ids, old, young)
	}
	w.clock.Move(10*time.Minute - time.Millisecond)
	if kid := kidOf(t, w.token()); kid != old {
		t.Errorf("got signed by %s before its time, want %s", kid, old)
	}
	w.clock.Move(time.Millisecond)
	if kid := kidOf(t, w.token()); kid != young {
		t.Errorf("got signed by %s, want %s", kid, young)
	}
}

func TestAnOldKeyIsPublishedUntilItsLastJWTHasExpired(t *testing.T) {
	w := newWorld(t)
	got(w.Keys.Rotate(t.Context(), tester))(t)
	w.clock.Move(10*time.Minute - time.Second)
	last := w.bound()
	w.clock.Move(time.Second + 7500*time.Second + 29*time.Second - time.Millisecond)
	w.accepts(last)
	w.clock.Move(time.Second)
	if n := w.published(t); n != 2 {
		t.Errorf("got %d keys published, want the old one too", n)
	}
	w.clock.Move(time.Millisecond)
	if n := w.published(t); n != 1 {
		t.Errorf("got %d keys published, want the old one gone", n)
	}
}

// A JWT whose iat is after its key ended was forged with a key that leaked later.
func TestAKeyThatHasEndedVerifiesNothing(t *testing.T) {
	w := newWorld(t)
	p := newPen(w)
	got(w.Keys.Rotate(t.Context(), tester))(t)
	w.clock.Move(publishAhead + longestLifetime + skew)
	now := w.clock.Now().Unix()
	p.refuses(p.write(nil, map[string]any{"iat": now, "exp": now + 60}), ErrInvalidToken, "revoked or has ended")
}

func TestAKeyThatHasEndedDoesNotComeBackWhenItsSuccessorIsRevoked(t *testing.T) {
	w := newWorld(t)
	old := kidOf(t, w.token())
	young := got(w.Keys.Rotate(t.Context(), tester))(t)
	w.clock.Move(publishAhead + longestLifetime + skew)
	must(t, w.Keys.Revoke(t.Context(), tester, young))
	if kid := kidOf(t, w.token()); kid == old || kid == young {
		t.Errorf("got signed by %s, want a new key", kid)
	}
	for _, id := range w.keyIDs() {
		if id == old {
			t.Errorf("got %s listed, want it gone", id)
		}
	}
}

func TestTheOnlyKeysRevocationMakesANewOneThatSignsAtOnce(t *testing.T) {
	w := newWorld(t)
	token := w.token()
	w.accepts(token)
	must(t, w.Keys.Revoke(t.Context(), tester, kidOf(t, token)))
	w.refuses(token, ErrInvalidToken, "revoked or has ended")
	fresh := w.token()
	w.accepts(fresh)
	if kidOf(t, fresh) == kidOf(t, token) {
		t.Error("got the revoked key used again")
	}
}

func TestTheOldKeySignsOnWhenItsSuccessorIsRevokedBeforeItsTime(t *testing.T) {
	w := newWorld(t)
	old := kidOf(t, w.token())
	must(t, w.Keys.Revoke(t.Context(), tester, got(w.Keys.Rotate(t.Context(), tester))(t)))
	w.clock.Move(publishAhead + longestLifetime + skew)
	if kid := kidOf(t, w.token()); kid != old {
		t.Errorf("got signed by %s, want %s", kid, old)
	}
	w.accepts(w.token())
}

func TestWhileOnlyAKeyToComeIsLeftANewOneSigns(t *testing.T) {
	w := newWorld(t)
	old := kidOf(t, w.token())
	next := got(w.Keys.Rotate(t.Context(), tester))(t)
	must(t, w.Keys.Revoke(t.Context(), tester, old))
	if kid := kidOf(t, w.token()); kid == old || kid == next {
		t.Errorf("got signed by %s, want a new key", kid)
	}
	w.clock.Move(publishAhead)
	if kid := kidOf(t, w.token()); kid != next {
		t.Errorf("got signed by %s, want %s now that its time has come", kid, next)
	}
}

func TestARevokedKeyIsListedForThirtyDays(t *testing.T) {
	w := newWorld(t)
	old := kidOf(t, w.token())
	w.clock.Move(time.Second)
	at := w.clock.Now()
	must(t, w.Keys.Revoke(t.Context(), tester, old))
	w.clock.Move(time.Second)
	must(t, w.Keys.Revoke(t.Context(), tester, old))
	keys := got(w.Keys.List(t.Context()))(t)
	if len(keys) != 2 || keys[0].ID != old || !keys[0].Revoked.Equal(at) {
		t.Errorf("got %+v, want the revoked key and a new one", keys)
	}
	w.clock.Move(30*24*time.Hour - time.Second)
	got(w.Keys.Rotate(t.Context(), tester))(t)
	if ids := w.keyIDs(); len(ids) != 2 || ids[0] == old {
		t.Errorf("got %v, want %s gone", ids, old)
	}
}

func TestAnUnknownKeyIsNotRevoked(t *testing.T) {
	w := newWorld(t)
	wantErr(t, w.Keys.Revoke(t.Context(), tester, "nobodys1"), ErrUnknownKey)
}

// laggard is a process that does not yet know a key with which another process signs.
func laggard(t *testing.T) (w *world, young string) {
	t.Helper()
	w = newWorld(t)
	other, _ := w.process(t)
	w.accepts(w.token())
	must(t, other.Keys.Revoke(t.Context(), tester, kidOf(t, w.token())))
	young = got(other.Token(t.Context(), w.client.ID, w.secret, ""))(t).Token.Reveal()
	if _, known := got(w.Keys.known(t.Context()))(t).byID[kidOf(t, young)]; known {
		t.Fatal("got the key known already")
	}
	return w, young
}

func TestAKeyThatTheMirrorDoesNotKnowYetIsRead(t *testing.T) {
	w, young := laggard(t)
	w.accepts(young)
	w.accepts(young)
}

func TestStrangeKidsReadTheKeysOnceASecond(t *testing.T) {
	w := newWorld(t)
	p := newPen(w)
	p.refuses(p.write(map[string]any{"kid": "strange1"}, nil), ErrInvalidToken, "no key of this platform signed it")
	first := w.Keys.latest.began
	w.clock.Move(999 * time.Millisecond)
	p.refuses(p.write(map[string]any{"kid": "strange2"}, nil), ErrInvalidToken, "no key of this platform signed it")
	if !w.Keys.latest.began.Equal(first) {
		t.Error("got the keys read again within a second")
	}
	w.clock.Move(time.Millisecond)
	p.refuses(p.write(map[string]any{"kid": "strange3"}, nil), ErrInvalidToken, "no key of this platform signed it")
	if w.Keys.latest.began.Equal(first) {
		t.Error("got the keys not read again after a second")
	}
	w.clock.Move(-time.Hour)
	p.refuses(p.write(map[string]any{"kid": "strange4"}, nil), ErrInvalidToken, "no key of this platform signed it")
	if !w.Keys.latest.began.Equal(w.clock.Now()) {
		t.Error("got the keys not read again after the clock was set back")
	}
}

func TestAnUnknownKidDelaysNoOtherCallAndItselfOnlyBriefly(t *testing.T) {
	w := newWorld(t)
	p := newPen(w)
	good := p.write(nil, nil)
	w.accepts(good)
	stuck, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	w.Keys.rereads.Start(t.Context(), struct{}{}, func(context.Context) (reread, error) {
		close(stuck)
		<-release
		return reread{}, errors.New("too late")
	})
	<-stuck
	w.accepts(good)                                                                   // which would wait for release
	p.refuses(p.write(map[string]any{"kid": "strange1"}, nil), db.ErrUnavailable, "") // and this too
}

func TestAKeyReadAsideServesWhileSQLIsAwayAsLongAsAJWTLives(t *testing.T) {
	w, young := laggard(t)
	w.accepts(young)
	kid := kidOf(t, young)
	must(t, w.db.Close())
	w.clock.Move(7500*time.Second - time.Millisecond)
	if _, err := w.Keys.unknown(t.Context(), kid); err != nil {
		t.Errorf("got %v, want the key read before the outage", err)
	}
	w.clock.Move(time.Millisecond)
	_, err := w.Keys.unknown(t.Context(), kid)
	wantErr(t, err, db.ErrUnavailable)
}

func TestAKeySetComesBackFromJSONAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMilli(1_700_000_000_000)
		var stored []storedKey
		for i := range rapid.IntRange(0, 4).Draw(t, "keys") {
			k := storedKey{ID: KeyID(rune('a' + i)), Public: []byte{1}, Private: []byte{2}, Published: at, SignsFrom: at.Add(time.Duration(i) * time.Hour)}
			if rapid.Bool().Draw(t, "revoked") {
				k.Revoked = at
			}
			stored = append(stored, k)
		}
		one, other := newKeySet(stored), &keySet{}
		text, _ := json.Marshal(one)
		if err := json.Unmarshal(text, other); err != nil {
			t.Fatal(err)
		}
		for i, k := range one.ordered {
			o := other.ordered[i]
			if o.ID != k.ID || !o.ends.Equal(k.ends) || o.Revoked.IsZero() != k.Revoked.IsZero() || other.byID[k.ID] != o {
				t.Fatalf("got %+v, want %+v", o, k)
			}
		}
	})
}

// However keys are rotated and revoked, some key signs, and what a valid key signed stays valid
// until it expires.
func TestSomebodyAlwaysSignsAndNoGoodKeysJWTIsLost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		at := time.UnixMilli(1_700_000_000_000)
		s := newKeySet([]storedKey{{ID: "0", Published: at, SignsFrom: at}})
		type signed struct {
			kid KeyID
			exp time.Time
		}
		var jwts []signed
		for i := range rapid.IntRange(1, 12).Draw(rt, "steps") {
			at = at.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Hour)).Draw(rt, "wait")))
			stored := remaining(s, at)
			switch id := KeyID(rune('a' + i)); {
			case rapid.Bool().Draw(rt, "rotate"):
				stored = append(stored, storedKey{ID: id, Published: at, SignsFrom: at.Add(publishAhead)})
			case newKeySet(stored).signing(at) == nil:
				rt.Fatalf("nobody signs at step %d", i)
			}
			s = newKeySet(stored)
			k := s.signer(at)
			jwts = append(jwts, signed{k.ID, at.Add(longestLifetime)})
			for _, j := range jwts {
				if at.Before(j.exp.Add(skew)) && (s.byID[j.kid] == nil || !s.byID[j.kid].published(at)) {
					rt.Fatalf("JWT of %s is lost %s before it expires", j.kid, j.exp.Sub(at))
				}
			}
		}
	})
}

func remaining(s *keySet, now time.Time) []storedKey {
	var stored []storedKey
	for _, k := range s.ordered {
		if k.listed(now) {
			stored = append(stored, k.storedKey)
		}
	}
	return stored
}

func TestPrivateKeysAreSealedInTheirPlace(t *testing.T) {
	w := newWorld(t)
	other := got(w.Keys.Rotate(t.Context(), tester))(t)
	w.clock.Move(publishAhead)
	k := got(w.Keys.load(t.Context(), w.db))(t).byID[other]
	private := got(k.open(w.ring))(t)
	moved := k.storedKey
	moved.ID = "elsewher"
	_, err := moved.open(w.ring)
	wantErr(t, err, seal.ErrForged)
	if string(k.Private) == string(private.Seed()) {
		t.Error("got the private key in the clear")
	}
}

func TestResealMovesThePrivateKeysToTheNewestSealingKey(t *testing.T) {
	old := seal.NewKey()
	w := newWorldOn(t, dbtest.SQLite(t), got(seal.NewRing(seal.NewSecret(old)))(t))
	got(w.Keys.Rotate(t.Context(), tester))(t)
	w.clock.Move(publishAhead)
	must(t, w.Keys.Revoke(t.Context(), tester, w.keyIDs()[0]))
	young := seal.NewKey()
	w.ring = got(seal.NewRing(seal.NewSecret(young + "," + old)))(t)
	both := w.replica(t)
	before := w.keyIDs()
	all := db.Page{Most: 100}
	if n := got(both.Keys.Reseal(t.Context(), all))(t).Moved; n != 1 {
		t.Errorf("got %d keys moved, want 1", n)
	}
	if n := got(both.Keys.Reseal(t.Context(), all))(t).Moved; n != 0 {
		t.Errorf("got %d keys moved again, want none", n)
	}
	w.ring = got(seal.NewRing(seal.NewSecret(young)))(t)
	alone := w.replica(t)
	token := got(alone.Token(t.Context(), w.client.ID, w.secret, ""))(t).Token.Reveal()
	if kid := kidOf(t, token); kid != before[1] {
		t.Errorf("got signed by %s, want %s under the newest sealing key", kid, before[1])
	}
}
