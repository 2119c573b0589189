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

// SealingKey is one under which something may be sealed in this database. Every process writes down the key with which it seals before it does, so looking for keys that are missing costs the reading of a few rows.
type SealingKey struct {
	ID   seal.KeyID
	Seen time.Time // when a process last said that it seals with it

	canary []byte
}

// What is sealed as a canary: whoever can open it has the key and not only one with the same id.
const canary = "wxplatform"

// AdoptKeys writes down that this process seals with the ring's newest key, or fails with ErrMissingKey, and then nothing is written.
func (d *DB) AdoptKeys(ctx context.Context, ring *seal.Ring) error {
	return d.Tx(ctx, func(tx *Tx) error {
		if err := tx.lock(ctx); err != nil { // so that of two that start with keys of their own the second one sees the first one's
			return err
		}
		if err := checkKeys(ctx, tx, ring); err != nil {
			return err
		}
		return sealsWith(ctx, tx, ring)
	})
}

// StillSeals writes down that this process goes on sealing with the ring's newest key. It fails with ErrMissingKey where others seal with keys that the ring has not got.
func (d *DB) StillSeals(ctx context.Context, ring *seal.Ring) error {
	if err := sealsWith(ctx, d, ring); err != nil {
		return err
	}
	return checkKeys(ctx, d, ring)
}

// CheckKeys fails with ErrMissingKey if the ring lacks a key.
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
		ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at`, k.ID.Bytes(), ring.Seal(seal.NewSecret(canary), k.place()...), Millis(now))
	return err
}

// SealingKeys are the keys that are written down, the one that was seen last first.
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
	var seen int64
	err := scan(&id, &k.canary, &seen)
	k.ID, _ = seal.KeyOf(id)
	k.Seen = Time(seen)
	return k, err
}

// ForgetKey strikes out a key under which nothing is sealed any more, unless a process said meanwhile that it seals with it.
func (d *DB) ForgetKey(ctx context.Context, k SealingKey) (bool, error) {
	rows, err := Exec(ctx, d, `DELETE FROM sealing_keys WHERE id = $1 AND seen_at = $2`, k.ID.Bytes(), Millis(k.Seen))
	return rows > 0, err
}
