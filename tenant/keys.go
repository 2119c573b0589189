package tenant

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"wxplatform/audit"
	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

// KeyID is a signing key's kid.
type KeyID string

const (
	// publishAhead is how long before it first signs a key is published, so that cached copies of the
	// key set have it by then.
	publishAhead = 10 * time.Minute
	// revokedListed is how long a revoked key is still listed.
	revokedListed = 30 * 24 * time.Hour
)

// Key is a signing key as the operator sees it.
type Key struct {
	ID        KeyID
	Published time.Time
	SignsFrom time.Time
	Ends      time.Time // when its last JWT will have expired; zero if no key follows it
	Revoked   time.Time // zero if it is not revoked
}

// storedKey is a row of signing_keys. Private is sealed, in SQL and in Redis.
type storedKey struct {
	ID        KeyID
	Public    []byte
	Private   []byte
	Published time.Time
	SignsFrom time.Time
	Revoked   time.Time
}

// Ensure makes a signing key if there is none that can sign. If several replicas start at once,
// one of them makes it.
func (s *Keys) Ensure(ctx context.Context, by audit.Actor) error {
	return s.change(ctx, "make the first signing key", func(tx *db.Tx, now time.Time) error {
		return s.ensureSigner(ctx, tx, by, now)
	})
}

// Rotate publishes a new key, which signs ten minutes later, or at once if no key can sign. The old
// one stays published until its last JWT has expired.
func (s *Keys) Rotate(ctx context.Context, by audit.Actor) (KeyID, error) {
	var id KeyID
	err := s.change(ctx, "rotate signing keys", func(tx *db.Tx, now time.Time) (err error) {
		keys, err := s.sweep(ctx, tx, now)
		if err != nil {
			return err
		}
		from := now
		if keys.signer(now) != nil {
			from = now.Add(publishAhead)
		}
		id, err = s.create(ctx, tx, by, now, from)
		return err
	})
	return id, err
}

// Revoke invalidates a key and all JWTs that it signed, or fails with ErrUnknownKey. If no other
// key can sign now, it makes one.
func (s *Keys) Revoke(ctx context.Context, by audit.Actor, id KeyID) error {
	return s.change(ctx, fmt.Sprintf("revoke signing key %s", id), func(tx *db.Tx, now time.Time) error {
		keys, err := s.sweep(ctx, tx, now)
		if err != nil {
			return err
		}
		k, ok := keys.byID[id]
		if !ok {
			return ErrUnknownKey
		}
		if !k.Revoked.IsZero() {
			return nil
		}
		tx.Changed()
		if err := revokeSigningKey(ctx, tx, id, now); err != nil {
			return err
		}
		audit.Record(ctx, tx, by, k.changed(audit.KeyRevoke,
			audit.Of(audit.When("revoked_at", time.Time{})), audit.Of(audit.When("revoked_at", now))))
		return s.ensureSigner(ctx, tx, by, now)
	})
}

// List returns the keys in the order in which they sign, including ended and revoked ones that no
// change has deleted yet.
func (s *Keys) List(ctx context.Context) ([]Key, error) {
	keys, err := s.load(ctx, s.db)
	if err != nil {
		return nil, fmt.Errorf("list signing keys: %w", err)
	}
	var list []Key
	for _, k := range keys.ordered {
		list = append(list, Key{k.ID, k.Published, k.SignsFrom, k.ends, k.Revoked})
	}
	return list, nil
}

// Reseal moves a page of the private keys to the newest sealing key.
func (s *Keys) Reseal(ctx context.Context, page db.Page) (db.Resealed, error) {
	done, err := s.db.Reseal(ctx, s.ring, sealedTable, page)
	if err != nil {
		return done, fmt.Errorf("reseal signing keys: %w", err)
	}
	if done.Moved > 0 {
		_, _ = s.known(ctx) // as change does
	}
	return done, nil
}

// change runs work in a transaction that no other change of keys can overlap, and then has the
// mirror read the keys. work calls tx.Changed if it changes something. It fails with
// db.ErrUnavailable.
func (s *Keys) change(ctx context.Context, what string, work func(*db.Tx, time.Time) error) error {
	err := s.db.Tx(ctx, func(tx *db.Tx) error {
		if err := lockSigningKeys(ctx, s.db, tx); err != nil {
			return err
		}
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		return work(tx, now)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	// Reading them writes them to Redis, for replicas that cannot reach SQL. The change is committed,
	// so a failure here undoes nothing.
	_, _ = s.known(ctx)
	return nil
}

// signer returns the key to sign with. If its private half does not open, that must not stop every
// tenant: another key is made, which signs at once. The old one stays published, because its public
// half is not sealed. While this process lacks a sealing key no key is made: other processes may
// be able to open the value.
func (s *Keys) signer(ctx context.Context, now time.Time) (KeyID, ed25519.PrivateKey, error) {
	id, private, err := s.openSigner(ctx, now)
	if !seal.Unopenable(err) {
		return id, private, err
	}
	if err := s.db.CheckKeys(ctx, s.ring); err != nil {
		return "", nil, err
	}
	if err := s.Ensure(ctx, audit.Program); err != nil {
		return "", nil, err
	}
	return s.openSigner(ctx, now)
}

// openSigner opens the key that signs now or, if its private half does not open, the last one: if
// this process's clock is behind the database's, the key that replaces it signs only later.
func (s *Keys) openSigner(ctx context.Context, now time.Time) (KeyID, ed25519.PrivateKey, error) {
	keys, err := s.known(ctx)
	if err != nil {
		return "", nil, err
	}
	k := keys.signer(now)
	if k == nil {
		return "", nil, errors.New("there is no signing key")
	}
	private, err := k.open(s.ring)
	if last := keys.ordered[len(keys.ordered)-1]; err != nil && last.published(now) {
		k = last
		private, err = k.open(s.ring)
	}
	return k.ID, private, err
}

// ensureSigner makes a key that signs at once, unless there is one that opens.
func (s *Keys) ensureSigner(ctx context.Context, tx *db.Tx, by audit.Actor, now time.Time) error {
	keys, err := s.load(ctx, tx)
	if err != nil || keys.signing(now).opens(s.ring) {
		return err
	}
	_, err = s.create(ctx, tx, by, now, now)
	return err
}

func (s *Keys) create(ctx context.Context, tx *db.Tx, by audit.Actor, now, from time.Time) (KeyID, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", err
	}
	k := storedKey{ID: KeyID(newID("", keyIDLength)), Public: public, Published: now, SignsFrom: from}
	k.Private = s.ring.Seal(seal.NewSecret(string(private.Seed())), k.place()...)
	tx.Changed()
	audit.Record(ctx, tx, by, k.changed(audit.KeyCreate, audit.Values{}, audit.Of(audit.When("signs_from", from))))
	return k.ID, insertSigningKey(ctx, tx, k)
}

func (k storedKey) changed(what audit.Action, before, after audit.Values) audit.Change {
	return audit.Change{Action: what, Subject: string(k.ID), Before: before, After: after}
}

// sweep deletes the keys that have ended, and returns the others. It comes before every change: a
// key ends when its successor begins to sign, so a key that has ended would become valid again if
// its successor were revoked.
func (s *Keys) sweep(ctx context.Context, tx *db.Tx, now time.Time) (*keySet, error) {
	keys, err := s.load(ctx, tx)
	if err != nil {
		return nil, err
	}
	for _, k := range keys.ordered {
		if k.listed(now) {
			continue
		}
		tx.Changed()
		if err := deleteSigningKey(ctx, tx, k.ID); err != nil {
			return nil, err
		}
	}
	return s.load(ctx, tx)
}

func (s *Keys) load(ctx context.Context, q db.Querier) (*keySet, error) {
	stored, err := selectSigningKeys(ctx, q)
	if err != nil {
		return nil, err
	}
	return newKeySet(stored), nil
}

func (k storedKey) place() []string { return place(string(k.ID)) }

func place(kid string) seal.Place { return sealedTable.Place("private", kid) }

// opens reports whether k is a key whose private half opens.
func (k *key) opens(ring *seal.Ring) bool {
	if k == nil {
		return false
	}
	_, err := k.open(ring)
	return err == nil
}

// open decrypts the private key.
func (k storedKey) open(ring *seal.Ring) (ed25519.PrivateKey, error) {
	seed, err := ring.Open(k.Private, k.place()...)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", k.ID, err)
	}
	if len(seed.Reveal()) != ed25519.SeedSize {
		return nil, fmt.Errorf("signing key %s: %w", k.ID, errors.New("sealed value is not a key"))
	}
	return ed25519.NewKeyFromSeed([]byte(seed.Reveal())), nil
}
