package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"wxplatform/authorizer"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

type authorizerCmd struct {
	List    authorizerListCmd    `cmd:"" help:"List authorizers, all or a tenant's. 列出授权方。"`
	Show    authorizerShowCmd    `cmd:"" help:"Show one authorizer. 查看授权方。"`
	Refresh authorizerRefreshCmd `cmd:"" help:"Read its profile from WeChat again and get it a new access token. 重新读取资料并获取新令牌。"`
	Move    authorizerMoveCmd    `cmd:"" help:"Bind it to another tenant, or to none. 更换所属租户。"`
}

const authorizerHeading = "APPID\tTENANT\tNAME\tKIND\tVERIFIED\tSTATE\tSINCE\tTOKEN\tNEXT ATTEMPT\tPERMISSION SETS\tREASON"

func authorizerRow(v authorizer.View) string {
	owner := string(v.Tenant)
	if owner == "" {
		owner = "(none)"
	}
	token := "-"
	if v.Token != nil {
		token = string(v.Token.State)
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%t\t%s\t%s\t%s\t%s\t%s\t%s", v.AppID, owner, v.NickName, v.Kind, v.Verified, v.State, stamp(v.Since), token, stampOf(v.NextAttempt), v.PermissionSets, v.Reason)
}

func stampOf(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return stamp(*t)
}

// withPlatform assembles everything but serves nothing, for commands that call WeChat.
func withPlatform(s stage, work func(context.Context, *platform) error) error {
	c, err := loadConfig(s.lookup, needsAll)
	if err != nil {
		return err
	}
	p, err := assemble(s.ctx, c, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if err := p.component.Refresh(s.ctx); err != nil {
		return errors.Join(err, p.close())
	}
	return errors.Join(work(s.ctx, p), p.close())
}

type authorizerListCmd struct {
	format
	Tenant tenant.ID        `help:"Only this tenant's. 只列该租户的。"`
	State  authorizer.State `help:"Only those in this state: healthy, degraded, quota, reauthorize, revoked. 只列该状态的。"`
	After  wechat.AppID     `help:"Begin behind this appid. 从该 appid 之后开始。"`
	Limit  int              `help:"At most this many. 最多条数。" default:"1000"`
}

// Run lists them.
func (c authorizerListCmd) Run(s stage) error {
	return withPlatform(s, func(ctx context.Context, p *platform) error {
		all, err := c.read(ctx, p)
		if err != nil {
			return err
		}
		views, err := p.authorizers.Views(ctx, all)
		if err != nil {
			return err
		}
		rows := []string{}
		for _, v := range views {
			rows = append(rows, authorizerRow(v))
		}
		return c.print(s.out, views, authorizerHeading, rows)
	})
}

func (c authorizerListCmd) read(ctx context.Context, p *platform) ([]authorizer.Authorizer, error) {
	switch {
	case c.Tenant != "" && c.State != "":
		return nil, errors.New("give --tenant or --state, not both")
	case c.State != "":
		return p.authorizers.InState(ctx, c.State, c.After, c.Limit)
	case c.Tenant != "":
		return p.authorizers.List(ctx, c.Tenant, c.After, c.Limit)
	}
	return p.authorizers.All(ctx, c.After, c.Limit)
}

func (f format) authorizer(ctx context.Context, s stage, p *platform, id wechat.AppID) error {
	a, err := p.authorizers.Find(ctx, id)
	if err != nil {
		return err
	}
	views, err := p.authorizers.Views(ctx, []authorizer.Authorizer{a})
	if err != nil {
		return err
	}
	return f.print(s.out, views[0], authorizerHeading, []string{authorizerRow(views[0])})
}

type authorizerShowCmd struct {
	format
	AppID wechat.AppID `arg:"" help:"The authorizer's appid."`
}

// Run shows it.
func (c authorizerShowCmd) Run(s stage) error {
	return withPlatform(s, func(ctx context.Context, p *platform) error { return c.authorizer(ctx, s, p, c.AppID) })
}

type authorizerRefreshCmd struct {
	format
	AppID wechat.AppID `arg:"" help:"The authorizer's appid."`
}

// Run reads the profile and the token.
func (c authorizerRefreshCmd) Run(s stage) error {
	return withPlatform(s, func(ctx context.Context, p *platform) error {
		if _, err := p.authorizers.Find(ctx, c.AppID); err != nil {
			return err
		}
		if err := p.authorizers.Ensure(ctx, c.AppID); err != nil {
			return err
		}
		return c.authorizer(ctx, s, p, c.AppID)
	})
}

type authorizerMoveCmd struct {
	format
	AppID wechat.AppID `arg:"" help:"The authorizer's appid."`
	To    tenant.ID    `arg:"" optional:"" help:"The tenant that gets it. 新租户。"`
	None  bool         `help:"Bind it to nobody. 不属于任何租户。"`
}

// Run moves it.
func (c authorizerMoveCmd) Run(s stage) error {
	if (c.To == "") != c.None {
		return errors.New("name the tenant that gets it, or give --none")
	}
	return withPlatform(s, func(ctx context.Context, p *platform) error {
		if c.To != "" {
			if _, err := p.tenants.ShowTenant(ctx, c.To); err != nil {
				return err
			}
		}
		if err := p.authorizers.Move(ctx, c.AppID, c.To); err != nil {
			return err
		}
		return c.authorizer(ctx, s, p, c.AppID)
	})
}
