package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"wxplatform/tenant"
)

type tenantCmd struct {
	Create  tenantCreateCmd  `cmd:"" help:"Create a tenant. 新建租户。"`
	List    tenantListCmd    `cmd:"" help:"List tenants. 列出租户。"`
	Show    tenantShowCmd    `cmd:"" help:"Show one tenant. 查看租户。"`
	Suspend tenantSuspendCmd `cmd:"" help:"Refuse a tenant's calls, within a second. 暂停租户。"`
	Resume  tenantResumeCmd  `cmd:"" help:"Let a suspended tenant call again. 恢复租户。"`
	Limit   tenantLimitCmd   `cmd:"" help:"Limit a tenant's requests a second, within a second. 限制租户的请求速率。"`
}

// tenantView is a tenant as the commands print it.
type tenantView struct {
	ID        tenant.ID  `json:"id"`
	Name      string     `json:"name"`
	Redirects []string   `json:"redirects"`
	Created   time.Time  `json:"created_at"`
	Suspended *time.Time `json:"suspended_at"`
	Limit     *limitView `json:"limit"` // null is the default, PLATFORM_TENANT_RATE
}

type limitView struct {
	PerSecond int `json:"requests_per_second"`
	Burst     int `json:"burst"`
}

func viewTenant(t tenant.Tenant) tenantView {
	v := tenantView{t.ID, t.Name, append([]string{}, t.Redirects...), t.Created.UTC(), timeOrNull(t.Suspended), nil}
	if t.Limit != (tenant.Limit{}) {
		v.Limit = &limitView{t.Limit.PerSecond, t.Limit.Burst}
	}
	return v
}

func (l *limitView) String() string {
	if l == nil {
		return "default"
	}
	return fmt.Sprintf("%d/s, burst %d", l.PerSecond, l.Burst)
}

var tenantTable = table[tenantView]{
	columns: []string{"TENANT", "NAME", "STATE", "LIMIT", "CREATED", "REDIRECTS"},
	cells: func(v tenantView) []any {
		state := "active"
		if v.Suspended != nil {
			state = "suspended"
		}
		return []any{v.ID, v.Name, state, v.Limit, timestamp(v.Created), strings.Join(v.Redirects, " ")}
	},
}

// showTenant prints the tenant as it is now.
func (f format) showTenant(ctx context.Context, s shell, tenants *tenant.Registry, id tenant.ID) error {
	t, err := tenants.ShowTenant(ctx, id)
	return tenantTable.printOne(s.out, f, viewTenant(t), err)
}

type tenantCreateCmd struct {
	format
	Name     string   `arg:"" help:"The name that merchants see on the invitation page. 商家在授权页看到的名称。"`
	Redirect []string `help:"A URL to which a merchant's browser may be sent after authorizing; https, or http on loopback; may be repeated. 授权完成后的跳转地址，可重复。" placeholder:"URL"`
}

// Run creates the tenant and prints it.
func (c tenantCreateCmd) Run(s shell) error {
	return withTenants(s, func(ctx context.Context, tenants *tenant.Registry) error {
		t, err := tenants.CreateTenant(ctx, s.actor("tenant create"), c.Name, c.Redirect)
		return tenantTable.printOne(s.out, c.format, viewTenant(t), err)
	})
}

type tenantListCmd struct {
	format
	paging[tenant.ID]
}

// Run prints the tenants.
func (c tenantListCmd) Run(s shell) error {
	return withTenants(s, func(ctx context.Context, tenants *tenant.Registry) error {
		list := pager[tenant.ID, tenantView]{c.paging, func(after tenant.ID, limit int) ([]tenantView, error) {
			all, err := tenants.ListTenants(ctx, after, limit)
			return viewsOf(all, viewTenant), err
		}, func(v tenantView) tenant.ID { return v.ID }}
		return list.printTo(s, c.format, tenantTable)
	})
}

type tenantShowCmd struct {
	format
	ID tenant.ID `arg:"" help:"The tenant's id. 租户。"`
}

// Run prints the tenant.
func (c tenantShowCmd) Run(s shell) error {
	return withTenants(s, func(ctx context.Context, tenants *tenant.Registry) error {
		return c.showTenant(ctx, s, tenants, c.ID)
	})
}

type tenantSuspendCmd struct {
	format
	ID tenant.ID `arg:"" help:"The tenant's id. 租户。"`
}

// Run suspends the tenant and prints it.
func (c tenantSuspendCmd) Run(s shell) error {
	return withTenants(s, func(ctx context.Context, tenants *tenant.Registry) error {
		if err := tenants.Suspend(ctx, s.actor("tenant suspend"), c.ID); err != nil {
			return err
		}
		return c.showTenant(ctx, s, tenants, c.ID)
	})
}

type tenantResumeCmd struct {
	format
	ID tenant.ID `arg:"" help:"The tenant's id. 租户。"`
}

// Run resumes the tenant and prints it.
func (c tenantResumeCmd) Run(s shell) error {
	return withTenants(s, func(ctx context.Context, tenants *tenant.Registry) error {
		if err := tenants.Resume(ctx, s.actor("tenant resume"), c.ID); err != nil {
			return err
		}
		return c.showTenant(ctx, s, tenants, c.ID)
	})
}

type tenantLimitCmd struct {
	format
	ID      tenant.ID `arg:"" help:"The tenant's id. 租户。"`
	Rate    int       `help:"The most requests a second to one replica, over time. 每个副本每秒最多请求数。" xor:"limit" required:"" placeholder:"N"`
	Burst   int       `help:"The most requests at once; by default those of two seconds. 突发上限，默认为两秒的请求数。" placeholder:"N"`
	Default bool      `help:"Return to PLATFORM_TENANT_RATE. 恢复默认。" xor:"limit" required:""`
}

// Run sets the tenant's limit and prints the tenant.
func (c tenantLimitCmd) Run(s shell) error {
	return withTenants(s, func(ctx context.Context, tenants *tenant.Registry) error {
		limit, err := c.limit()
		if err != nil {
			return err
		}
		if err := tenants.SetLimit(ctx, s.actor("tenant limit"), c.ID, limit); err != nil {
			return err
		}
		return c.showTenant(ctx, s, tenants, c.ID)
	})
}

func (c tenantLimitCmd) limit() (tenant.Limit, error) {
	if c.Default {
		return tenant.Limit{}, nil
	}
	limit := tenant.Limit{PerSecond: c.Rate, Burst: cmp.Or(c.Burst, 2*c.Rate)}
	return limit, limit.Valid() // a rate of 0 is a mistake and not the default
}
