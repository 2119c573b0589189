package tenant

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

// KeyID is a signing key's kid.
type KeyID string

const (
	// A key signs this long after its publication, so that whoever keeps a copy of the key set has it by then.
	publishAhead = 10 * time.Minute
	// A revoked key is still listed for this long.
	revokedListed = 30 * 24 * time.Hour
)

// Key is a signing key as the operator sees it.
type Key struct {
	ID        KeyID
	Published time.Time
	SignsFrom time.Time
	Ends      time.Time // when its last JWT has expired; zero while no other key is to follow it
	Revoked   time.Time // zero while it is good
}

// storedKey is a row of signing_keys. Private is sealed, here and in Redis.
type storedKey struct {
	ID        KeyID
	Public    []byte
	Private   []byte
	Published time.Time
	SignsFrom time.Time
	Revoked   time.Time
}

// EnsureKey makes the first signing key where there is none that could sign. Of replicas that start at once one makes it.
func (r *Registry) EnsureKey(ctx context.Context, by Actor) error {
	return r.changeKeys(ctx, by, "make the first signing key", func(tx *db.Tx, now time.Time) error {
		return r.ensureSigner(ctx, tx, now)
	})
}

// Rotate publishes a new key, which signs ten minutes later; the old one stays published until its last JWT has expired.
func (r *Registry) Rotate(ctx context.Context, by Actor) (KeyID, error) {
	var id KeyID
	err := r.changeKeys(ctx, by, "rotate signing keys", func(tx *db.Tx, now time.Time) (err error) {
		keys, err := r.sweep(ctx, tx, now)
		if err != nil {
			return err
		}
		from := now
		if keys.signer(now) != nil {
			from = now.Add(publishAhead)
		}
		id, err = r.makeKey(ctx, tx, now, from)
		return err
	})
	return id, err
}

// RevokeKey ends a key at once, with all JWTs that it signed, or fails with ErrUnknownKey. If no other can sign now, a new one is made that does.
func (r *Registry) RevokeKey(ctx context.Context, by Actor, id KeyID) error {
	return r.changeKeys(ctx, by, fmt.Sprintf("revoke signing key %s", id), func(tx *db.Tx, now time.Time) error {
		keys, err := r.sweep(ctx, tx, now)
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
		return r.ensureSigner(ctx, tx, now)
	})
}

// ListKeys returns the keys in the order in which they sign, those revoked in the last thirty days too.
func (r *Registry) ListKeys(ctx context.Context) ([]Key, error) {
	keys, err := r.loadKeys(ctx, r.db)
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
func (r *Registry) Reseal(ctx context.Context, page db.Page) (db.Resealed, error) {
	done, err := r.db.Reseal(ctx, r.ring, sealedTable, page)
	if err != nil {
		return done, fmt.Errorf("reseal signing keys: %w", err)
	}
	if done.Moved > 0 {
		_, _ = r.knownKeys(ctx) // as after every change of theirs
	}
	return done, nil
}

// changeKeys runs work while nobody else changes the keys. Work says itself whether it changed something.
func (r *Registry) changeKeys(ctx context.Context, _ Actor, what string, work func(*db.Tx, time.Time) error) error {
	err := r.db.Tx(ctx, func(tx *db.Tx) error {
		if err := lockSigningKeys(ctx, r.db, tx); err != nil {
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
	// Reading them writes them to Redis, where a replica that has lost SQL looks for them. SQL has them already, so a failure here undoes nothing.
	_, _ = r.knownKeys(ctx)
	return nil
}

// ensureSigner makes a key that signs at once, unless one does already.
func (r *Registry) ensureSigner(ctx context.Context, tx *db.Tx, now time.Time) error {
	keys, err := r.loadKeys(ctx, tx)
	if err != nil || keys.signing(now) != nil {
		return err
	}
	_, err = r.makeKey(ctx, tx, now, now)
	return err
}

func (r *Registry) makeKey(ctx context.Context, tx *db.Tx, now, from time.Time) (KeyID, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", err
	}
	k := storedKey{ID: KeyID(newID("", keyIDLength)), Public: public, Published: now, SignsFrom: from}
	k.Private = r.ring.Seal(seal.NewSecret(string(private.Seed())), k.place()...)
	tx.Changed()
	return k.ID, insertSigningKey(ctx, tx, k)
}

// sweep deletes the keys that have ended. It comes before every change, because a key's end follows from its successor, and one that has ended must not come back when that is revoked.
func (r *Registry) sweep(ctx context.Context, tx *db.Tx, now time.Time) (*keySet, error) {
	keys, err := r.loadKeys(ctx, tx)
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
	return r.loadKeys(ctx, tx)
}

func (r *Registry) loadKeys(ctx context.Context, q db.Querier) (*keySet, error) {
	stored, err := selectSigningKeys(ctx, q)
	if err != nil {
		return nil, err
	}
	return newKeySet(stored), nil
}

func (k storedKey) place() []string { return place(string(k.ID)) }

func place(kid string) seal.Place { return sealedTable.Place("private", kid) }

// open gives the private key.
func (k storedKey) open(ring *seal.Ring) (ed25519.PrivateKey, error) {
	seed, err := ring.Open(k.Private, k.place()...)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", k.ID, err)
	}
	if len(seed.Reveal()) != ed25519.SeedSize {
		return nil, fmt.Errorf("signing key %s: %w", k.ID, errors.New("sealed value is no key"))
	}
	return ed25519.NewKeyFromSeed([]byte(seed.Reveal())), nil
}
