package authorizer

import (
	"context"
	"fmt"

	"wxplatform/share"
)

// Turn is the place of an admitted request among the requests that call WeChat. One turn is for all
// calls of a request, so that a request that has begun is never refused a call that it needs to
// find out what became of the first.
type Turn struct {
	Admitted
	registry *Registry
	slot     share.Slot
}

// Begin takes the turn of an admitted request. It fails with share.ErrOver or share.ErrFull, and
// then nothing was sent to WeChat. After a success End must be called once.
func (r *Registry) Begin(ctx context.Context, a Admitted) (Turn, error) {
	slot, err := r.slots.Enter(ctx, string(a.Tenant), string(a.AppID))
	if err != nil {
		return Turn{}, fmt.Errorf("call WeChat for %s: %w", a.AppID, err)
	}
	return Turn{a, r, slot}, nil
}

// End ends the turn.
func (t Turn) End() { t.slot.Leave() }

// Usage returns what each tenant's requests use of this replica's calls to WeChat.
func (r *Registry) Usage() []share.Usage { return r.slots.Usage() }
