package authorizer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"wxplatform/token"
	"wxplatform/wechat"
)

// rejections are the accounts whose newest access token WeChat rejected when this process last used
// it. The zero value has none.
type rejections struct {
	some     atomic.Bool // there are some; a call that succeeds reads nothing else while there are none
	versions sync.Map    // wechat.AppID to the token.Version that was rejected
}

// rejected notes that WeChat rejects the newest token of id, and returns ErrRejected. The account
// is degraded until a newer token is got, or a call of this process succeeds.
func (r *Registry) rejected(ctx context.Context, id wechat.AppID, newest token.Version, refusal error) error {
	err := fmt.Errorf("%w: %w", ErrRejected, refusal)
	r.rejections.some.Store(true)
	if noted, is := r.rejections.versions.Swap(id, newest); is && noted == newest {
		return err
	}
	reason := fmt.Sprintf("%d: WeChat rejects every access token of this account, new ones too", wechat.Refused(refusal))
	return errors.Join(err, r.states.note(ctx, id, effect{state: Degraded, reason: reason}, newest))
}

// accepted notes that WeChat accepted a token of id, if it rejected one before.
func (r *Registry) accepted(ctx context.Context, id wechat.AppID) {
	if !r.rejections.some.Load() {
		return
	}
	if _, was := r.rejections.versions.LoadAndDelete(id); was {
		_ = r.states.recovered(ctx, id) // a success stays one; the next renewal notes it
	}
}
