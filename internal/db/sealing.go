package db

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"wxplatform/internal/seal"
)

// ErrMissingKey says that something here may be sealed under a key that is not configured.
var ErrMissingKey = errors.New("a sealing key is missing")

// SealingKey is a key that something in this database may be sealed under. Every process records
// the key that it seals with before it uses it, so that finding missing keys takes one small read.
type SealingKey struct {
	ID   seal.KeyID
	Seen time.Time // when a process last recorded it

	canary []byte
}

// canary is what each key's canary holds: opening it proves that a process has the key, and not
// only one with the same id.
const canary = "wxplatform"

// AdoptKeys records that this process seals with the ring's newest key, or records nothing and
// fails with ErrMissingKey. The record is in the form that the process seals in, so a release that
// cannot open that form fails alike.
func (d *DB) AdoptKeys(ctx context.Context, ring *seal.Ring) error {
	return d.Tx(ctx, func(tx *Tx) error {
		if err := tx.lock(ctx); err != nil { // of two processes that start at the same time with different keys, the second sees the first one's
			return err
		}
		if err := checkKeys(ctx, tx, ring); err != nil {
			return err
		}
		return sealsWith(ctx, tx, ring)
	})
}

// StillSeals records that this process still seals with the ring's newest key. It fails with
// ErrMissingKey if other processes seal with keys that the ring does not have.
func (d *DB) StillSeals(ctx context.Context, ring *seal.Ring) error {
	if err := sealsWith(ctx, d, ring); err != nil {
		return err
	}
	return checkKeys(ctx, d, ring)
}

// CheckKeys fails with ErrMissingKey if the ring lacks a recorded key.
func (d *DB) CheckKeys(ctx context.Context, ring *seal.Ring) error { return checkKeys(ctx, d, ring) }

func checkKeys(ctx context.Context, q Querier, ring *seal.Ring) error {
	known, err := sealingKeys(ctx, q)
	if err != nil {
		return err
	}
	var missing []string
	for _, k := range known {
		if plain, err := ring.Open(k.canary, k.place()...); err != nil || plain.Reveal() != canary {
			missing = append(missing, k.ID.String())
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: %s", ErrMissingKey, strings.Join(missing, ", "))
	}
	return nil
}

func (k SealingKey) place() []string { return []string{"sealing_keys", "canary", k.ID.String()} }

func sealsWith(ctx context.Context, q Querier, ring *seal.Ring) error {
	now, err := Now(ctx, q)
	if err != nil {
		return err
	}
	k := SealingKey{ID: ring.Keys()[0]}
	_, err = Exec(ctx, q, `
		INSERT INTO sealing_keys (id, canary, seen_at)
		VALUES ($1, $2, $3)
		ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, canary = excluded.canary`, k.ID.Bytes(), ring.Seal(seal.NewSecret(canary), k.place()...), Stamp(now))
	return err
}

// SealingKeys returns the recorded keys, the most recently seen first.
func (d *DB) SealingKeys(ctx context.Context) ([]SealingKey, error) { return sealingKeys(ctx, d) }

func sealingKeys(ctx context.Context, q Querier) ([]SealingKey, error) {
	return All(ctx, q, readSealingKey, `
		SELECT id, canary, seen_at
		FROM sealing_keys
		ORDER BY seen_at DESC, id`)
}

func readSealingKey(scan Scan) (SealingKey, error) {
	var k SealingKey
	var id []byte
	err := scan(&id, &k.canary, (*Stamp)(&k.Seen))
	k.ID, _ = seal.KeyOf(id)
	return k, err
}

// ForgetKey deletes the record of a key that nothing is sealed under any more. It returns false if
// a process has recorded the key again since k was read.
func ForgetKey(ctx context.Context, tx *Tx, k SealingKey) (bool, error) {
	rows, err := Exec(ctx, tx, `DELETE FROM sealing_keys WHERE id = $1 AND seen_at = $2`, k.ID.Bytes(), Stamp(k.Seen))
	return rows > 0, err
}
