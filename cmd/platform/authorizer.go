package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"wxplatform/authorizer"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

type authorizerCmd struct {
	List    authorizerListCmd    `cmd:"" help:"List authorizers, all or one tenant's. 列出授权方。"`
	Show    authorizerShowCmd    `cmd:"" help:"Show one authorizer. 查看授权方。"`
	Refresh authorizerRefreshCmd `cmd:"" help:"Read an authorizer's profile from WeChat again and get a new access token for it. 重新读取资料并获取新令牌。"`
	Move    authorizerMoveCmd    `cmd:"" help:"Assign an authorizer to another tenant, or to none. 更换所属租户。"`
}

var authorizerTable = table[authorizer.View]{
	columns: []string{"APPID", "TENANT", "NAME", "KIND", "VERIFIED", "STATE", "SINCE", "TOKEN", "NEXT ATTEMPT", "PERMISSION SETS", "REASON"},
	cells: func(v authorizer.View) []any {
		owner := string(v.Tenant)
		if owner == "" {
			owner = "(none)"
		}
		token := "-"
		if v.Token != nil {
			token = string(v.Token.State)
		}
		return []any{v.AppID, owner, v.NickName, v.Kind, v.Verified, v.State, timestamp(v.Since), token, timestampOrDash(v.NextAttempt), v.PermissionSets, v.Reason}
	},
}

// withPlatform assembles the platform, without serving, for a command that calls WeChat, and closes
// it afterwards.
func withPlatform(s shell, work func(context.Context, *platform) error) error {
	c, err := loadConfig(s.lookup, needsAll)
	if err != nil {
		return err
	}
	p, err := assemble(s.ctx, c, io.Discard)
	if err != nil {
		return err
	}
	if err := p.readTicket(s.ctx); err != nil {
		return errors.Join(err, p.close())
	}
	return errors.Join(work(s.ctx, p), p.close())
}

type authorizerListCmd struct {
	format
	Tenant tenant.ID        `help:"Only this tenant's authorizers. 只列该租户的。"`
	State  authorizer.State `help:"Only authorizers in this state: healthy, degraded, quota, reauthorize, revoked. 只列该状态的。" enum:",healthy,degraded,quota,reauthorize,revoked" default:""`
	paging[wechat.AppID]
}

// Run prints the authorizers.
func (c authorizerListCmd) Run(s shell) error {
	if c.Tenant != "" && c.State != "" {
		return errors.New("give --tenant or --state, and not both")
	}
	return withPlatform(s, func(ctx context.Context, p *platform) error {
		list := pager[wechat.AppID, authorizer.View]{c.paging, func(after wechat.AppID, limit int) ([]authorizer.View, error) {
			all, err := c.read(ctx, p, after, limit)
			if err != nil {
				return nil, err
			}
			return p.authorizers.Views(ctx, all)
		}, func(v authorizer.View) wechat.AppID { return v.AppID }}
		return list.printTo(s, c.format, authorizerTable)
	})
}

func (c authorizerListCmd) read(ctx context.Context, p *platform, after wechat.AppID, limit int) ([]authorizer.Authorizer, error) {
	switch {
	case c.State != "":
		return p.authorizers.InState(ctx, c.State, after, limit)
	case c.Tenant != "":
		return p.authorizers.List(ctx, c.Tenant, after, limit)
	}
	return p.authorizers.All(ctx, after, limit)
}

// showAuthorizer prints the authorizer as it is now.
func (f format) showAuthorizer(ctx context.Context, s shell, p *platform, id wechat.AppID) error {
	a, err := p.authorizers.Find(ctx, id)
	if err != nil {
		return err
	}
	views, err := p.authorizers.Views(ctx, []authorizer.Authorizer{a})
	if err != nil {
		return err
	}
	return authorizerTable.printOne(s.out, f, views[0], nil)
}

type authorizerShowCmd struct {
	format
	AppID wechat.AppID `arg:"" help:"The authorizer's appid."`
}

// Run prints the authorizer.
func (c authorizerShowCmd) Run(s shell) error {
	return withPlatform(s, func(ctx context.Context, p *platform) error {
		return c.showAuthorizer(ctx, s, p, c.AppID)
	})
}

type authorizerRefreshCmd struct {
	format
	AppID wechat.AppID `arg:"" help:"The authorizer's appid."`
}

// Run reads the profile, gets a new access token, and prints the authorizer.
func (c authorizerRefreshCmd) Run(s shell) error {
	return withPlatform(s, func(ctx context.Context, p *platform) error {
		if _, err := p.authorizers.Find(ctx, c.AppID); err != nil {
			return err
		}
		if err := p.authorizers.Ensure(ctx, s.actor("authorizer refresh"), c.AppID); err != nil {
			return p.explainRefresh(ctx, c.AppID, err)
		}
		return c.showAuthorizer(ctx, s, p, c.AppID)
	})
}

// explainRefresh adds to the error of an ordered refresh what heals a stored token that does not
// open. If another process has noted that failure, the error itself does not tell of it.
func (p *platform) explainRefresh(ctx context.Context, id wechat.AppID, err error) error {
	if !errors.Is(err, authorizer.ErrNoToken) {
		return err
	}
	stored, reading := p.tokens.authorizer.Health(ctx, []wechat.AppID{id})
	if reading != nil || !stored[id].Unopened {
		return err
	}
	return fmt.Errorf("%w. A stored token of %s does not open: its row was changed or damaged, or copied from another account. Run `platform reconcile`, which takes the refresh token from WeChat's list, and then this again; the merchant need not authorize again. docs/operate/alerts.md, \"SealedValueUnopened\", has more. 存储的令牌无法解密：请执行 platform reconcile，从微信列表取回刷新令牌，再重试；商家无需重新授权", err, id)
}

type authorizerMoveCmd struct {
	format
	AppID wechat.AppID `arg:"" help:"The authorizer's appid."`
	To    tenant.ID    `arg:"" optional:"" help:"The new tenant. 新租户。"`
	None  bool         `help:"Assign it to no tenant. 不属于任何租户。"`
}

// Run assigns the authorizer and prints it.
func (c authorizerMoveCmd) Run(s shell) error {
	if (c.To == "") != c.None {
		return errors.New("give the new tenant or --none, and not both")
	}
	return withPlatform(s, func(ctx context.Context, p *platform) error {
		if c.To != "" {
			if _, err := p.tenants.ShowTenant(ctx, c.To); err != nil {
				return err
			}
		}
		if err := p.authorizers.Move(ctx, s.actor("authorizer move"), c.AppID, c.To); err != nil {
			return err
		}
		return c.showAuthorizer(ctx, s, p, c.AppID)
	})
}
