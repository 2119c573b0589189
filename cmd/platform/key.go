package main

import (
	"context"
	"fmt"
	"time"

	"wxplatform/tenant"
)

type keyCmd struct {
	List   keyListCmd   `cmd:"" help:"List signing keys. 列出签名密钥。"`
	Rotate keyRotateCmd `cmd:"" help:"Publish a new key, which signs 10 minutes later; the old one stays published until its last JWT has expired. 轮换。"`
	Revoke keyRevokeCmd `cmd:"" help:"End a key and every JWT that it signed, within a second. 吊销。"`

	Sealing keySealingCmd `cmd:"" help:"List the sealing keys, and which may still have sealed something. 列出封存密钥。"`
}

type keyView struct {
	ID        tenant.KeyID `json:"kid"`
	Published time.Time    `json:"published_at"`
	SignsFrom time.Time    `json:"signs_from"`
	Ends      *time.Time   `json:"ends_at"`
	Revoked   *time.Time   `json:"revoked_at"`
}

func (f format) keys(ctx context.Context, s stage, o office) error {
	all, err := o.tenants.ListKeys(ctx)
	if err != nil {
		return err
	}
	views, rows := []keyView{}, []string{}
	for _, k := range all {
		views = append(views, keyView{k.ID, k.Published.UTC(), k.SignsFrom.UTC(), moment(k.Ends), moment(k.Revoked)})
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s", k.ID, stamp(k.Published), stamp(k.SignsFrom), stamp(k.Ends), stamp(k.Revoked)))
	}
	return f.print(s.out, views, "KID\tPUBLISHED\tSIGNS FROM\tENDS\tREVOKED", rows)
}

type keyListCmd struct{ format }

// Run lists them.
func (c keyListCmd) Run(s stage) error {
	return withOffice(s, func(ctx context.Context, o office) error { return c.keys(ctx, s, o) })
}

type keyRotateCmd struct{ format }

// Run publishes a new key.
func (c keyRotateCmd) Run(s stage) error {
	return withOffice(s, func(ctx context.Context, o office) error {
		if _, err := o.tenants.Rotate(ctx); err != nil {
			return err
		}
		return c.keys(ctx, s, o)
	})
}

type keyRevokeCmd struct {
	format
	ID tenant.KeyID `arg:"" help:"The kid. 密钥的 kid。"`
}

// Run revokes it.
func (c keyRevokeCmd) Run(s stage) error {
	return withOffice(s, func(ctx context.Context, o office) error {
		if err := o.tenants.RevokeKey(ctx, c.ID); err != nil {
			return err
		}
		return c.keys(ctx, s, o)
	})
}
