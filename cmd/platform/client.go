package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"wxplatform/internal/seal"
	"wxplatform/tenant"
)

type clientCmd struct {
	Create clientCreateCmd `cmd:"" help:"Create a client and print its secret, only this once. 新建客户端，密钥只显示一次。"`
	List   clientListCmd   `cmd:"" help:"List a tenant's clients. 列出租户的客户端。"`
	Set    clientSetCmd    `cmd:"" help:"Change what a client may do, within a second, with its JWTs too. 修改客户端的权限范围。"`
	Rotate clientRotateCmd `cmd:"" help:"Give a client a new secret; the old one is accepted for a while. 轮换客户端密钥。"`
	Revoke clientRevokeCmd `cmd:"" help:"Revoke a client and its JWTs for good, within a second. 吊销客户端。"`
}

// clientView is a client as the commands print it.
type clientView struct {
	ID      tenant.ClientID `json:"id"`
	Tenant  tenant.ID       `json:"tenant"`
	Name    string          `json:"name"`
	Scopes  string          `json:"scopes"`
	Created time.Time       `json:"created_at"`
	Revoked *time.Time      `json:"revoked_at"`
	OldEnds *time.Time      `json:"old_secret_ends_at"` // null if the client never had another secret, or it was ended
	Secret  string          `json:"secret,omitempty"`   // only right after it was created or rotated
}

func viewClient(c tenant.Client) clientView {
	return clientView{ID: c.ID, Tenant: c.Tenant, Name: c.Name, Scopes: c.Scopes.String(), Created: c.Created.UTC(), Revoked: timeOrNull(c.Revoked), OldEnds: timeOrNull(c.OldSecretUntil)}
}

var clientTable = table[clientView]{
	columns: []string{"CLIENT", "TENANT", "NAME", "STATE", "CREATED", "OLD SECRET ENDS", "SCOPES"},
	cells: func(v clientView) []any {
		state := "active"
		if v.Revoked != nil {
			state = "revoked"
		}
		return []any{v.ID, v.Tenant, v.Name, state, timestamp(v.Created), timestampOrDash(v.OldEnds), v.Scopes}
	},
}

// listClients prints the tenant's clients as they are now.
func (f format) listClients(ctx context.Context, s shell, tenants *tenant.Registry, owner tenant.ID) error {
	all, err := tenants.ListClients(ctx, owner)
	return clientTable.printAll(s.out, f, viewsOf(all, viewClient), err)
}

type clientCreateCmd struct {
	format
	Tenant tenant.ID `arg:"" help:"The tenant that the client belongs to. 租户。"`
	Name   string    `help:"What the client is for. 用途。" default:"default"`
	Scope  []string  `help:"What the client may do; may be repeated. Default: all except wechat:any and operator. 权限范围。" placeholder:"SCOPE"`
}

// Run creates the client and prints it with its secret.
func (c clientCreateCmd) Run(s shell) error {
	scopes, err := c.scopes()
	if err != nil {
		return err
	}
	return withTenants(s, func(ctx context.Context, tenants *tenant.Registry) error {
		created, secret, err := tenants.CreateClient(ctx, s.actor("client create"), c.Tenant, c.Name, scopes)
		return c.printSecret(s, created, secret, err)
	})
}

// printSecret prints a client with its new secret, or returns err.
func (f format) printSecret(s shell, of tenant.Client, secret seal.Secret, err error) error {
	v := viewClient(of)
	v.Secret = secret.Reveal()
	if err := clientTable.printOne(s.out, f, v, err); err != nil || f.JSON {
		return err
	}
	_, err = fmt.Fprintf(s.out, "\nSECRET  %s\n\nIt is shown only this once; the platform keeps its hash. 密钥只显示这一次。\n", v.Secret)
	return err
}

func (c clientCreateCmd) scopes() (tenant.Scopes, error) {
	if len(c.Scope) == 0 {
		return tenant.AllScopes(), nil
	}
	return tenant.ParseScopes(strings.Join(c.Scope, " "))
}

type clientListCmd struct {
	format
	Tenant tenant.ID `arg:"" help:"The tenant whose clients to list. 租户。"`
}

// Run prints the tenant's clients.
func (c clientListCmd) Run(s shell) error {
	return withTenants(s, func(ctx context.Context, tenants *tenant.Registry) error {
		return c.listClients(ctx, s, tenants, c.Tenant)
	})
}

type clientSetCmd struct {
	format
	Tenant tenant.ID       `arg:"" help:"The tenant that the client belongs to. 租户。"`
	ID     tenant.ClientID `arg:"" help:"The client's id. 客户端。"`
	Scope  []string        `help:"What the client may do from now on, instead of what it may do now; may be repeated. 新的权限范围。" placeholder:"SCOPE" required:""`
}

// Run changes the client's scopes and prints the tenant's clients.
func (c clientSetCmd) Run(s shell) error {
	scopes, err := tenant.ParseScopes(strings.Join(c.Scope, " "))
	if err != nil {
		return err
	}
	return withTenants(s, func(ctx context.Context, tenants *tenant.Registry) error {
		if err := tenants.SetScopes(ctx, s.actor("client set"), c.Tenant, c.ID, scopes); err != nil {
			return err
		}
		return c.listClients(ctx, s, tenants, c.Tenant)
	})
}

type clientRotateCmd struct {
	format
	Tenant  tenant.ID       `arg:"" help:"The tenant that the client belongs to. 租户。"`
	ID      tenant.ClientID `arg:"" help:"The client's id. 客户端。"`
	Overlap *time.Duration  `help:"For how long the old secret is accepted; 24h by default, 2160h at most. 旧密钥继续有效的时间，默认 24 小时。" placeholder:"24h" xor:"what"`
	EndOld  bool            `help:"End the old secret now, and make no new one. 立即停用旧密钥，不生成新密钥。" xor:"what"`
}

// Run makes a new secret and prints the client with it, or ends the old secret and prints the
// tenant's clients.
func (c clientRotateCmd) Run(s shell) error {
	return withTenants(s, func(ctx context.Context, tenants *tenant.Registry) error {
		if c.EndOld {
			if err := tenants.EndOldSecret(ctx, s.actor("client rotate"), c.Tenant, c.ID); err != nil {
				return err
			}
			return c.listClients(ctx, s, tenants, c.Tenant)
		}
		rotated, secret, err := tenants.RotateSecret(ctx, s.actor("client rotate"), c.Tenant, c.ID, c.overlap())
		return c.printSecret(s, rotated, secret, err)
	})
}

func (c clientRotateCmd) overlap() time.Duration {
	if c.Overlap == nil {
		return 24 * time.Hour
	}
	return *c.Overlap
}

type clientRevokeCmd struct {
	format
	Tenant tenant.ID       `arg:"" help:"The tenant that the client belongs to. 租户。"`
	ID     tenant.ClientID `arg:"" help:"The client's id. 客户端。"`
}

// Run revokes the client and prints the tenant's clients.
func (c clientRevokeCmd) Run(s shell) error {
	return withTenants(s, func(ctx context.Context, tenants *tenant.Registry) error {
		if err := tenants.RevokeClient(ctx, s.actor("client revoke"), c.Tenant, c.ID); err != nil {
			return err
		}
		return c.listClients(ctx, s, tenants, c.Tenant)
	})
}
