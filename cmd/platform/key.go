package main

import (
	"context"
	"time"

	"wxplatform/tenant"
)

type keyCmd struct {
	List   keyListCmd   `cmd:"" help:"List signing keys. 列出签名密钥。"`
	Rotate keyRotateCmd `cmd:"" help:"Publish a new signing key, which is used after 10 minutes; the old one stays published until its last JWT has expired. 轮换签名密钥。"`
	Revoke keyRevokeCmd `cmd:"" help:"Revoke a signing key and every JWT it signed, within a second. 吊销签名密钥。"`

	Sealing keySealingCmd `cmd:"" help:"List the sealing keys, and which of them may still be in use. 列出加密主密钥。"`
}

// keyView is a signing key as the commands print it.
type keyView struct {
	ID        tenant.KeyID `json:"kid"`
	Published time.Time    `json:"published_at"`
	SignsFrom time.Time    `json:"signs_from"`
	Ends      *time.Time   `json:"ends_at"`
	Revoked   *time.Time   `json:"revoked_at"`
}

func viewKey(k tenant.Key) keyView {
	return keyView{k.ID, k.Published.UTC(), k.SignsFrom.UTC(), timeOrNull(k.Ends), timeOrNull(k.Revoked)}
}

var keyTable = table[keyView]{
	columns: []string{"KID", "PUBLISHED", "SIGNS FROM", "ENDS", "REVOKED"},
	cells: func(v keyView) []any {
		return []any{v.ID, timestamp(v.Published), timestamp(v.SignsFrom), timestampOrDash(v.Ends), timestampOrDash(v.Revoked)}
	},
}

// listKeys prints the signing keys as they are now.
func (f format) listKeys(ctx context.Context, s shell, tenants *tenant.Registry) error {
	all, err := tenants.Keys.List(ctx)
	return keyTable.printAll(s.out, f, viewsOf(all, viewKey), err)
}

type keyListCmd struct{ format }

// Run prints the signing keys.
func (c keyListCmd) Run(s shell) error {
	return withTenants(s, func(ctx context.Context, tenants *tenant.Registry) error {
		return c.listKeys(ctx, s, tenants)
	})
}

type keyRotateCmd struct{ format }

// Run publishes a new signing key and prints all.
func (c keyRotateCmd) Run(s shell) error {
	return withTenants(s, func(ctx context.Context, tenants *tenant.Registry) error {
		if _, err := tenants.Keys.Rotate(ctx, s.actor("key rotate")); err != nil {
			return err
		}
		return c.listKeys(ctx, s, tenants)
	})
}

type keyRevokeCmd struct {
	format
	ID tenant.KeyID `arg:"" help:"The key's kid. 密钥的 kid。"`
}

// Run revokes the signing key and prints all.
func (c keyRevokeCmd) Run(s shell) error {
	return withTenants(s, func(ctx context.Context, tenants *tenant.Registry) error {
		if err := tenants.Keys.Revoke(ctx, s.actor("key revoke"), c.ID); err != nil {
			return err
		}
		return c.listKeys(ctx, s, tenants)
	})
}
