package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"wxplatform/tenant"
)

type clientCmd struct {
	Create clientCreateCmd `cmd:"" help:"Make a client and show its secret, this once. 新建凭证，密钥只显示一次。"`
	List   clientListCmd   `cmd:"" help:"List a tenant's clients. 列出租户的凭证。"`
	Revoke clientRevokeCmd `cmd:"" help:"End a client and its JWTs for good, within a second. 吊销凭证。"`
}

type clientView struct {
	ID      tenant.ClientID `json:"id"`
	Tenant  tenant.ID       `json:"tenant"`
	Name    string          `json:"name"`
	Scopes  string          `json:"scopes"`
	Created time.Time       `json:"created_at"`
	Revoked *time.Time      `json:"revoked_at"`
	Secret  string          `json:"secret,omitempty"` // only when it was just made
}

const clientHeading = "CLIENT\tTENANT\tNAME\tSTATE\tCREATED\tSCOPES"

func viewClient(c tenant.Client) clientView {
	return clientView{ID: c.ID, Tenant: c.Tenant, Name: c.Name, Scopes: c.Scopes.String(), Created: c.Created.UTC(), Revoked: moment(c.Revoked)}
}

func (v clientView) row() string {
	state := "active"
	if v.Revoked != nil {
		state = "revoked"
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s", v.ID, v.Tenant, v.Name, state, stamp(v.Created), v.Scopes)
}

type clientCreateCmd struct {
	format
	Tenant tenant.ID `arg:"" help:"Whose client. 租户。"`
	Name   string    `help:"What it is for. 用途。" default:"default"`
	Scope  []string  `help:"What it may do; may be repeated. Default: all of kfsession:write kfsession:read authorizers:read authorizers:write. 权限范围。" placeholder:"SCOPE"`
}

// Run makes the client.
func (c clientCreateCmd) Run(s stage) error {
	scopes, err := c.scopes()
	if err != nil {
		return err
	}
	return withOffice(s, func(ctx context.Context, o office) error {
		made, secret, err := o.tenants.CreateClient(ctx, c.Tenant, c.Name, scopes)
		if err != nil {
			return err
		}
		v := viewClient(made)
		v.Secret = secret.Reveal()
		if err := c.print(s.out, v, clientHeading, []string{v.row()}); err != nil || c.JSON {
			return err
		}
		_, err = fmt.Fprintf(s.out, "\nSECRET  %s\n\nIt is shown this once; only its hash is kept. 密钥只显示这一次。\n", v.Secret)
		return err
	})
}

func (c clientCreateCmd) scopes() (tenant.Scopes, error) {
	if len(c.Scope) == 0 {
		return tenant.NewScopes(tenant.KFSessionWrite, tenant.KFSessionRead, tenant.AuthorizersRead, tenant.AuthorizersWrite), nil
	}
	return tenant.ParseScopes(strings.Join(c.Scope, " "))
}

type clientListCmd struct {
	format
	Tenant tenant.ID `arg:"" help:"Whose clients. 租户。"`
}

// Run lists them.
func (c clientListCmd) Run(s stage) error {
	return withOffice(s, func(ctx context.Context, o office) error { return c.clients(ctx, s, o, c.Tenant) })
}

func (f format) clients(ctx context.Context, s stage, o office, of tenant.ID) error {
	all, err := o.tenants.ListClients(ctx, of)
	if err != nil {
		return err
	}
	views, rows := []clientView{}, []string{}
	for _, c := range all {
		views, rows = append(views, viewClient(c)), append(rows, viewClient(c).row())
	}
	return f.print(s.out, views, clientHeading, rows)
}

type clientRevokeCmd struct {
	format
	Tenant tenant.ID       `arg:"" help:"Whose client. 租户。"`
	ID     tenant.ClientID `arg:"" help:"The client. 凭证。"`
}

// Run revokes it.
func (c clientRevokeCmd) Run(s stage) error {
	return withOffice(s, func(ctx context.Context, o office) error {
		if err := o.tenants.RevokeClient(ctx, c.Tenant, c.ID); err != nil {
			return err
		}
		return c.clients(ctx, s, o, c.Tenant)
	})
}
