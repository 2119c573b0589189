package authorizer

import (
	"context"

	"wxplatform/component"
	"wxplatform/token"
	"wxplatform/wechat"
)

// The simulation is an external test, because it also runs package reconcile, which is above this
// one. These are the steps of a keeper that it takes one by one.

const ID = id

var Wire = wire

func (r *Registry) Renew(ctx context.Context, id wechat.AppID) (asked bool, err error) {
	return r.renew(ctx, id)
}

func (r *Registry) RunQueues(ctx context.Context, report func(error)) {
	keeper{r}.checkQueue().Once(ctx, report)
	keeper{r}.attemptQueue().Once(ctx, report)
}

func (r *Registry) RecoverDue(ctx context.Context) error { return keeper{r}.recoverDue(ctx) }

func (r *Registry) Component() *component.Component { return r.component }

func (r *Registry) Tokens() *token.Store { return r.tokens }

func (s State) Blocks() bool { return s.blocks() }
