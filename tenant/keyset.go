package tenant

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
)

const (
	// An unknown kid reads the keys again no more often than this.
	rereadEvery = time.Second
	// Those who meet an unknown kid meanwhile wait no longer than this for what is read.
	rereadPatience = 500 * time.Millisecond
	// The reading itself may take this long.
	rereadTakes = 2 * time.Second
	// The whole of signing keys is one fact.
	keysFact = "all"
)

// keySet is all signing keys as of one reading of SQL, in the order in which they sign. It is never changed.
type keySet struct {
	ordered []*key
	byID    map[KeyID]*key
}

type key struct {
	storedKey
	ends time.Time // when its last JWT has expired; zero while no other key is to follow it
}

// A key's last JWT was signed when its successor began to: the next key that is not revoked.
func newKeySet(stored []storedKey) *keySet {
	s := &keySet{ordered: make([]*key, len(stored)), byID: map[KeyID]*key{}}
	var next time.Time
	for i := len(stored) - 1; i >= 0; i-- {
		k := &key{storedKey: stored[i]}
		if !next.IsZero() {
			k.ends = next.Add(lifetime + skew)
		}
		if k.Revoked.IsZero() {
			next = k.SignsFrom
		}
		s.ordered[i], s.byID[k.ID] = k, k
	}
	return s
}

// MarshalJSON and UnmarshalJSON carry the rows, and what follows from them is worked out anew.
func (s *keySet) MarshalJSON() ([]byte, error) {
	stored := make([]storedKey, len(s.ordered))
	for i, k := range s.ordered {
		stored[i] = k.storedKey
	}
	return json.Marshal(stored)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *keySet) UnmarshalJSON(text []byte) error {
	var stored []storedKey
	if err := json.Unmarshal(text, &stored); err != nil {
		return err
	}
	*s = *newKeySet(stored)
	return nil
}

// published reports whether JWTs that the key signed are good.
func (k *key) published(now time.Time) bool { return k.Revoked.IsZero() && !k.ended(now) }

func (k *key) ended(now time.Time) bool { return !k.ends.IsZero() && !now.Before(k.ends) }

func (k *key) listed(now time.Time) bool {
	if !k.Revoked.IsZero() {
		return now.Before(k.Revoked.Add(revokedListed))
	}
	return !k.ended(now)
}

func (k *key) verifying() ed25519.PublicKey { return ed25519.PublicKey(k.Public) }

// signing is the youngest key whose time to sign has come, nil if there is none.
func (s *keySet) signing(now time.Time) *key {
	for i := len(s.ordered) - 1; i >= 0; i-- {
		if k := s.ordered[i]; k.published(now) && !k.SignsFrom.After(now) {
			return k
		}
	}
	return nil
}

// signer is the key to sign with. Where this process's clock lags behind the database's, by which a key was made to sign at once, it is the first of those to come.
func (s *keySet) signer(now time.Time) *key {
	if k := s.signing(now); k != nil {
		return k
	}
	for _, k := range s.ordered {
		if k.published(now) {
			return k
		}
	}
	return nil
}

// keyring is what a process knows of the signing keys: the fact, and what it read beside it for a kid that the fact did not hold.
type keyring struct {
	fact    *mirror.Facts[*keySet]
	rereads *mirror.Flights[struct{}, reread]
	aside   reread // touched by the one flight only
}

// reread is the keys as they were last read for an unknown kid, and how the last attempt went.
type reread struct {
	began, read time.Time
	keys        *keySet
	err         error
}

func newKeyring(m *mirror.Mirror) *keyring {
	return &keyring{
		fact:    mirror.NewFacts[*keySet](m, "signing-keys", 1),
		rereads: mirror.NewFlights[struct{}, reread](m, rereadTakes),
		aside:   reread{keys: newKeySet(nil)},
	}
}

func (r *Registry) knownKeys(ctx context.Context) (*keySet, error) {
	return r.keys.fact.Get(ctx, keysFact, func(ctx context.Context) (*keySet, error) { return r.loadKeys(ctx, r.db) })
}

// key is the key named id, if JWTs that it signed are good, else ErrInvalidToken. It fails with db.ErrUnavailable where nobody can tell.
func (r *Registry) key(ctx context.Context, id KeyID) (*key, error) {
	keys, err := r.knownKeys(ctx)
	if err != nil {
		return nil, err
	}
	k, ok := keys.byID[id]
	if !ok {
		k, err = r.unknownKey(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	if !k.published(r.Now()) {
		return nil, fmt.Errorf("%w: its signing key was revoked or has ended", ErrInvalidToken)
	}
	return k, nil
}

// unknownKey looks for a key that is younger than what the mirror knows. However many strangers' kids arrive, SQL is read once a second, and callers with a known one never come here.
func (r *Registry) unknownKey(ctx context.Context, id KeyID) (*key, error) {
	within, cancel := context.WithTimeout(ctx, rereadPatience)
	defer cancel()
	latest, err := r.keys.rereads.Do(within, struct{}{}, r.rereadKeys)
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w: %w", db.ErrUnavailable, err)
	}
	// What was read before an outage stands in for it as long as JWTs live.
	if k, ok := latest.keys.byID[id]; ok && r.Now().Before(latest.read.Add(lifetime)) {
		return k, nil
	}
	if latest.err != nil {
		return nil, fmt.Errorf("signing keys: %w", latest.err)
	}
	return nil, fmt.Errorf("%w: unknown kid", ErrInvalidToken)
}

func (r *Registry) rereadKeys(ctx context.Context) (reread, error) {
	now := r.Now()
	if last := r.keys.aside.began; !last.IsZero() && now.Before(last.Add(rereadEvery)) && !now.Before(last) {
		return r.keys.aside, nil
	}
	keys, err := r.loadKeys(ctx, r.db)
	r.keys.aside.began, r.keys.aside.err = now, err
	if err == nil {
		r.keys.aside.keys, r.keys.aside.read = keys, now
	}
	return r.keys.aside, nil
}
