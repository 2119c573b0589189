package authorizer

import (
	"context"
	"fmt"

	"wxplatform/share"
)

// Turn is an admitted request that has a slot for its calls of WeChat. All of them use that slot,
// so a request that has begun can always check the result of its first call. It works while SQL is
// unavailable, with the tokens that are known.
type Turn struct {
	Admitted
	registry *Registry
	slot     share.Slot
}

// Begin takes a slot for an admitted request. It fails with share.ErrOver or share.ErrFull, and
// then nothing was sent to WeChat. After a success End must be called once.
func (r *Registry) Begin(ctx context.Context, a Admitted) (Turn, error) {
	return r.begin(ctx, a, r.slots)
}

// BeginStream is Begin for a request that uploads or downloads as a stream. Those have slots of
// their own, because they take long.
func (r *Registry) BeginStream(ctx context.Context, a Admitted) (Turn, error) {
	return r.begin(ctx, a, r.streams)
}

func (r *Registry) begin(ctx context.Context, a Admitted, from *share.Slots) (Turn, error) {
	slot, err := from.Enter(ctx, string(a.Tenant), string(a.AppID))
	if err != nil {
		return Turn{}, fmt.Errorf("call WeChat for %s: %w", a.AppID, err)
	}
	return Turn{a, r, slot}, nil
}

// End ends the turn.
func (t Turn) End() { t.slot.Leave() }

// Usage returns what each tenant's requests use of this replica's calls to WeChat, without streams.
func (r *Registry) Usage() []share.Usage { return r.slots.Usage() }

// StreamUsage is Usage for streams alone.
func (r *Registry) StreamUsage() []share.Usage { return r.streams.Usage() }
