package token

import (
	"context"
	"errors"
	"fmt"

	"wxplatform/internal/seal"
)

// ErrUnopened means that the stored refresh token cannot be decrypted, so WeChat cannot be asked:
// the row was corrupted, or the value was copied from another row. A new authorization replaces it,
// and so does a refresh token from WeChat's list.
var ErrUnopened = errors.New("the stored refresh token does not open")

// unopened has those sealed values of a row that do not open, as SQL has them. They are written
// back unchanged until other values replace them.
type unopened struct{ access, refresh, spare string }

// unreadable reports whether the row has a refresh token, but none that opens. If there is a spare,
// that becomes the refresh token.
func (r *row) unreadable() bool {
	if r.unopened.refresh == "" || !r.refresh.IsZero() {
		return false
	}
	r.refresh, r.spare, r.spareFence = r.spare, seal.Secret{}, 0
	return r.refresh.IsZero()
}

// failUnopened records that the row's refresh token does not open, as a failure after which keepers
// leave the row alone. While this process lacks a sealing key it records nothing and fails with
// db.ErrMissingKey: other processes may be able to open the value.
func (a *attempt) failUnopened(ctx context.Context) (Token, error) {
	if err := a.db.CheckKeys(ctx, a.table.ring); err != nil {
		return Token{}, err
	}
	var after row
	changed := false
	err := a.change(ctx, a.id, func(r *row, m instant) error {
		if changed = !r.unreadable() || r.held(m); !changed {
			r.failed(dead, m)
			r.schedule(m)
		}
		after = *r
		return nil
	})
	switch {
	case err != nil:
		return Token{}, err
	case changed:
		return Token{}, ErrRetry
	}
	cause := fmt.Errorf("%w: %w", ErrUnopened, seal.ErrForged)
	a.failures.Set(a.id, failure{after.fence, cause})
	return Token{}, &Failure{after.version, cause}
}
