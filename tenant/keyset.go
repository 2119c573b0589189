package tenant

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
	"wxplatform/internal/seal"
)

const (
	// rereadEvery is the shortest time between two readings of SQL because of an unknown kid.
	rereadEvery = time.Second
	// rereadPatience is how long a caller with an unknown kid waits for such a reading.
	rereadPatience = 500 * time.Millisecond
	// rereadTakes limits the reading itself.
	rereadTakes = 2 * time.Second
	// keysFact is the mirror's name for all signing keys together.
	keysFact = "all"
)

// keySet has all signing keys as of one reading of SQL, in the order in which they sign. It is
// immutable.
type keySet struct {
	ordered []*key
	byID    map[KeyID]*key
}

type key struct {
	storedKey
	ends time.Time // when its last JWT will have expired; zero if no key follows it
}

// newKeySet works out when each key ends. A key signs until its successor begins to, which is the
// next key that is not revoked.
func newKeySet(stored []storedKey) *keySet {
	s := &keySet{ordered: make([]*key, len(stored)), byID: map[KeyID]*key{}}
	var next time.Time
	for i := len(stored) - 1; i >= 0; i-- {
		k := &key{storedKey: stored[i]}
		if !next.IsZero() {
			k.ends = next.Add(longestLifetime + skew)
		}
		if k.Revoked.IsZero() {
			next = k.SignsFrom
		}
		s.ordered[i], s.byID[k.ID] = k, k
	}
	return s
}

// MarshalJSON writes the rows only; UnmarshalJSON works out the rest.
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

// published reports whether JWTs that the key signed are valid.
func (k *key) published(now time.Time) bool { return k.Revoked.IsZero() && !k.ended(now) }

func (k *key) ended(now time.Time) bool { return !k.ends.IsZero() && !now.Before(k.ends) }

func (k *key) listed(now time.Time) bool {
	if !k.Revoked.IsZero() {
		return now.Before(k.Revoked.Add(revokedListed))
	}
	return !k.ended(now)
}

func (k *key) verifying() ed25519.PublicKey { return ed25519.PublicKey(k.Public) }

// signing returns the newest key whose time to sign has come, or nil.
func (s *keySet) signing(now time.Time) *key {
	for i := len(s.ordered) - 1; i >= 0; i-- {
		if k := s.ordered[i]; k.published(now) && !k.SignsFrom.After(now) {
			return k
		}
	}
	return nil
}

// signer returns the key to sign with, or nil. A new key signs from the database's time on. If this
// process's clock is behind that, no key may be signing yet, and signer returns the first that
// will.
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

// Keys holds the keys that sign the JWTs: the mirror's fact, and what this process read from SQL
// itself for a kid that the fact does not have. It is safe for concurrent use. While SQL is
// unavailable, known keys sign and verify as before; what changes keys fails with
// db.ErrUnavailable.
type Keys struct {
	db      *db.DB
	ring    *seal.Ring
	now     func() time.Time
	fact    *mirror.Facts[*keySet]
	rereads *mirror.Flights[struct{}, reread]
	latest  reread // used only by the single flight
}

// reread has the keys as they were last read for an unknown kid, and the last attempt's error.
type reread struct {
	began, read time.Time
	keys        *keySet
	err         error
}

func newKeys(d *db.DB, m *mirror.Mirror, ring *seal.Ring, now func() time.Time) *Keys {
	s := &Keys{
		db: d, ring: ring, now: now,
		rereads: mirror.NewFlights[struct{}, reread](m, rereadTakes),
		latest:  reread{keys: newKeySet(nil)},
	}
	s.fact = mirror.NewFacts(m, "signing-keys", 1, func(ctx context.Context, _ string) (*keySet, error) { return s.load(ctx, d) })
	return s
}

func (s *Keys) known(ctx context.Context) (*keySet, error) { return s.fact.Get(ctx, keysFact) }

// verifying returns the key id, if JWTs that it signed are valid. It fails with ErrInvalidToken, or
// with db.ErrUnavailable if that cannot be decided.
func (s *Keys) verifying(ctx context.Context, id KeyID) (*key, error) {
	keys, err := s.known(ctx)
	if err != nil {
		return nil, err
	}
	k, ok := keys.byID[id]
	if !ok {
		k, err = s.unknown(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	if !k.published(s.now()) {
		return nil, ErrKeyEnded
	}
	return k, nil
}

// unknown looks for a key that is newer than what the mirror has. However many unknown kids
// arrive, SQL is read at most once a second, and calls with a known kid never wait for it.
func (s *Keys) unknown(ctx context.Context, id KeyID) (*key, error) {
	within, cancel := context.WithTimeout(ctx, rereadPatience)
	defer cancel()
	latest, err := s.rereads.Do(within, struct{}{}, s.readAgain)
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w: %w", db.ErrUnavailable, err)
	}
	// During an outage, keys that were read before it are used for as long as a JWT is valid.
	if k, ok := latest.keys.byID[id]; ok && s.now().Before(latest.read.Add(longestLifetime)) {
		return k, nil
	}
	if latest.err != nil {
		return nil, fmt.Errorf("signing keys: %w", latest.err)
	}
	return nil, ErrForeignKey
}

func (s *Keys) readAgain(ctx context.Context) (reread, error) {
	now := s.now()
	if last := s.latest.began; !last.IsZero() && now.Before(last.Add(rereadEvery)) && !now.Before(last) {
		return s.latest, nil
	}
	keys, err := s.load(ctx, s.db)
	s.latest.began, s.latest.err = now, err
	if err == nil {
		s.latest.keys, s.latest.read = keys, now
	}
	return s.latest, nil
}
