package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"wxplatform/tenant"
)

type tenantCmd struct {
	Create  tenantCreateCmd  `cmd:"" help:"Make a tenant. 新建租户。"`
	List    tenantListCmd    `cmd:"" help:"List tenants. 列出租户。"`
	Show    tenantShowCmd    `cmd:"" help:"Show one tenant. 查看租户。"`
	Suspend tenantSuspendCmd `cmd:"" help:"Keep a tenant from calling, within a second. 暂停租户。"`
	Resume  tenantResumeCmd  `cmd:"" help:"Let a suspended tenant call again. 恢复租户。"`
}

type tenantView struct {
	ID        tenant.ID  `json:"id"`
	Name      string     `json:"name"`
	Redirects []string   `json:"redirects"`
	Created   time.Time  `json:"created_at"`
	Suspended *time.Time `json:"suspended_at"`
}

const tenantHeading = "TENANT\tNAME\tSTATE\tCREATED\tREDIRECTS"

func viewTenant(t tenant.Tenant) tenantView {
	return tenantView{t.ID, t.Name, append([]string{}, t.Redirects...), t.Created.UTC(), moment(t.Suspended)}
}

func (v tenantView) row() string {
	state := "active"
	if v.Suspended != nil {
		state = "suspended"
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s", v.ID, v.Name, state, stamp(v.Created), strings.Join(v.Redirects, " "))
}

func (f format) tenant(s stage, t tenant.Tenant) error {
	v := viewTenant(t)
	return f.print(s.out, v, tenantHeading, []string{v.row()})
}

type tenantCreateCmd struct {
	format
	Name     string   `arg:"" help:"What the merchant reads on the invitation's page. 商家在授权页看到的名称。"`
	Redirect []string `help:"Where a merchant's browser may be sent after authorizing; https, or http on loopback; may be repeated. 授权完成后的跳转地址。" placeholder:"URL"`
}

// Run makes the tenant.
func (c tenantCreateCmd) Run(s stage) error {
	return withOffice(s, func(ctx context.Context, o office) error {
		t, err := o.tenants.CreateTenant(ctx, c.Name, c.Redirect)
		if err != nil {
			return err
		}
		return c.tenant(s, t)
	})
}

type tenantListCmd struct {
	format
	After tenant.ID `help:"Begin behind this tenant. 从该租户之后开始。"`
	Limit int       `help:"At most this many. 最多条数。" default:"1000"`
}

// Run lists them.
func (c tenantListCmd) Run(s stage) error {
	return withOffice(s, func(ctx context.Context, o office) error {
		all, err := o.tenants.ListTenants(ctx, c.After, c.Limit)
		if err != nil {
			return err
		}
		views, rows := []tenantView{}, []string{}
		for _, t := range all {
			views, rows = append(views, viewTenant(t)), append(rows, viewTenant(t).row())
		}
		return c.print(s.out, views, tenantHeading, rows)
	})
}

type tenantShowCmd struct {
	format
	ID tenant.ID `arg:"" help:"The tenant. 租户。"`
}

// Run shows it.
func (c tenantShowCmd) Run(s stage) error {
	return withOffice(s, func(ctx context.Context, o office) error { return c.show(ctx, s, o, c.ID) })
}

func (f format) show(ctx context.Context, s stage, o office, id tenant.ID) error {
	t, err := o.tenants.ShowTenant(ctx, id)
	if err != nil {
		return err
	}
	return f.tenant(s, t)
}

type tenantSuspendCmd struct {
	format
	ID tenant.ID `arg:"" help:"The tenant. 租户。"`
}

// Run suspends it.
func (c tenantSuspendCmd) Run(s stage) error {
	return withOffice(s, func(ctx context.Context, o office) error {
		if err := o.tenants.Suspend(ctx, c.ID); err != nil {
			return err
		}
		return c.show(ctx, s, o, c.ID)
	})
}

type tenantResumeCmd struct {
	format
	ID tenant.ID `arg:"" help:"The tenant. 租户。"`
}

// Run resumes it.
func (c tenantResumeCmd) Run(s stage) error {
	return withOffice(s, func(ctx context.Context, o office) error {
		if err := o.tenants.Resume(ctx, c.ID); err != nil {
			return err
		}
		return c.show(ctx, s, o, c.ID)
	})
}
