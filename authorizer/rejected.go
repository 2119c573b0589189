package authorizer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
	"wxplatform/token"
	"wxplatform/wechat"
)

// rejections remembers the accounts whose newest access token WeChat rejected when this process
// last used it. If there are many, it forgets some. The next rejection of a forgotten one is noted
// once more, which changes nothing. A success of it is not noted, so it stays degraded until it has
// a newer token.
type rejections struct {
	some  atomic.Bool                                // there has been a rejection; until then, a successful call reads nothing else
	noted *mirror.Local[wechat.AppID, token.Version] // the version that was rejected
}

// rejectionsRemembered is how many accounts rejections remembers.
const rejectionsRemembered = 10_000

// rejected notes that WeChat rejects the newest token of id, and returns ErrRejected. The account
// is degraded until a newer token is got, or a call of this process succeeds. If the note fails,
// the next rejection makes it.
func (r *Registry) rejected(ctx context.Context, id wechat.AppID, newest token.Version, refusal error) error {
	err := fmt.Errorf("%w: %w", ErrRejected, refusal)
	if noted, is := r.rejections.noted.Get(id); is && noted == newest {
		return err
	}
	reason := fmt.Sprintf("%d: WeChat rejects every access token of this account, new ones too", wechat.Refused(refusal))
	if noting := r.states.note(ctx, id, effect{state: Degraded, reason: reason}, newest); noting != nil {
		return errors.Join(err, noting)
	}
	r.rejections.noted.Set(id, newest)
	r.rejections.some.Store(true)
	return err
}

// accepted notes that WeChat accepted a token of id, if it rejected one before.
func (r *Registry) accepted(ctx context.Context, id wechat.AppID) {
	if !r.rejections.some.Load() {
		return
	}
	if version, was := r.rejections.noted.Get(id); was {
		r.rejections.noted.Delete(id)
		_ = r.states.accepted(ctx, id, version) // the call has succeeded anyway; if this fails, the next renewal notes it
	}
}

// accepted notes that WeChat accepted a token of id, of which it rejected this version before.
func (s states) accepted(ctx context.Context, id wechat.AppID, rejected token.Version) error {
	return s.change(ctx, id, func(_ *db.Tx, c condition, now time.Time) (condition, error) { return c.accepted(rejected, now), nil })
}
