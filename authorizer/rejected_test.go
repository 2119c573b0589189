package authorizer

import (
	"context"
	"errors"
	"testing"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/wechat"
)

var rejectsToken = &wechat.Error{Code: wechat.InvalidCredential}

func TestARejectionThatCouldNotBeNotedIsNotedByTheNext(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := registry(t, d)
		version, err := r.tokens.Version(ctx, d, id)
		if err != nil {
			t.Fatal(err)
		}
		changes, fate := 0, db.Refused
		d.Gate = func(_ context.Context, text string, _ []any) db.Fate {
			if text != "" {
				return db.Done
			}
			changes++
			return fate
		}
		if err := r.rejected(ctx, id, version, rejectsToken); !errors.Is(err, ErrRejected) || !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("got %v, want ErrRejected and ErrUnavailable", err)
		}
		r.is(t, Healthy)
		fate = db.Done
		for range 3 {
			if err := r.rejected(ctx, id, version, rejectsToken); !errors.Is(err, ErrRejected) || errors.Is(err, db.ErrUnavailable) {
				t.Errorf("got %v, want ErrRejected", err)
			}
		}
		if r.is(t, Degraded); changes != 2 {
			t.Errorf("got %d changes, want the one that failed and one more", changes)
		}
	})
}

func TestASuccessEndsARejection(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := registry(t, d)
		version, err := r.tokens.Version(ctx, d, id)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // a rejection after a success is noted, too, though the version is the same
			if err := r.rejected(ctx, id, version, rejectsToken); !errors.Is(err, ErrRejected) {
				t.Errorf("got %v, want ErrRejected", err)
			}
			r.is(t, Degraded)
			r.accepted(ctx, id)
			r.is(t, Healthy)
		}
	})
}

// What a failed refresh found out is not disproved by a call with the access token before it.
func TestASuccessKeepsWhatARefreshFoundOut(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, found := range []effect{dead, quotaUsedUp, passwordChanged} {
			r := registry(t, d)
			version := r.version(t)
			if err := r.rejected(ctx, id, version, rejectsToken); !errors.Is(err, ErrRejected) {
				t.Errorf("got %v, want ErrRejected", err)
			}
			if err := r.states.note(ctx, id, found, version); err != nil {
				t.Fatal(err)
			}
			before, err := r.table.condition(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			r.accepted(ctx, id)
			if after, err := r.table.condition(ctx, id); err != nil || after != before {
				t.Errorf("%s: got %+v, %v, want %+v kept", found.reason, after, err, before)
			}
		}
	})
}
