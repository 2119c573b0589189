// Package audit keeps the trail of changes that operators and tenants' clients make: who changed
// what, when, and from what to what.
//
// Record adds an entry to the transaction that makes the change, so that the change and its entry
// are committed together or not at all. Trail reads the entries, follows them, and deletes the
// oldest ones. Nothing changes an entry. While SQL is unavailable, everything here fails with
// db.ErrUnavailable, and so does the change.
package audit

import (
	"context"
	"strings"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/requestlog"
)

// ID numbers an entry. It is larger than the ID of every entry that was committed before, and at
// least the entry's time in Unix milliseconds.
type ID int64

// Owner identifies the tenant that a subject belongs to. It is opaque here; "" means that the
// subject is the operator's own.
type Owner string

// Action says what was done, such as "tenant.suspend". The part before the dot is the kind of the
// subject.
type Action string

// The actions.
const (
	TenantCreate  Action = "tenant.create"
	TenantSuspend Action = "tenant.suspend"
	TenantResume  Action = "tenant.resume"
	TenantLimit   Action = "tenant.limit"

	ClientCreate       Action = "client.create"
	ClientSet          Action = "client.set"
	ClientRotate       Action = "client.rotate"
	ClientEndOldSecret Action = "client.end-old-secret"
	ClientRevoke       Action = "client.revoke"

	KeyCreate Action = "key.create"
	KeyRevoke Action = "key.revoke"

	AuthorizerAssign   Action = "authorizer.assign"
	AuthorizerUnassign Action = "authorizer.unassign"
	AuthorizerRefresh  Action = "authorizer.refresh"
	AuthorizerAdopt    Action = "authorizer.adopt"
	AuthorizerReturn   Action = "authorizer.return"

	InvitationCreate Action = "invitation.create"
	InvitationCancel Action = "invitation.cancel"

	SealingKeyForget Action = "sealing-key.forget"
	SealingKeyGiveUp Action = "sealing-key.give-up"

	SettingsChange  Action = "settings.change"
	DatabaseMigrate Action = "database.migrate"
	DatabaseMove    Action = "database.move"
)

// Kind returns the kind of the action's subject.
func (a Action) Kind() string {
	kind, _, _ := strings.Cut(string(a), ".")
	return kind
}

// Change is what was done to a subject.
type Change struct {
	Action  Action
	Owner   Owner
	Subject string // its id; never a secret
	// Before and After have the values that the action may change.
	Before, After Values
}

// Entry is a change with who made it and when.
type Entry struct {
	ID        ID
	At        time.Time // by the database's clock, right before the commit
	By        Actor
	RequestID string // of the request that made the change; "" if it was not a request
	Change
}

// Record adds an entry to tx: by makes the change c. Like those of Begin, it is written right
// before the commit.
func Record(ctx context.Context, tx *db.Tx, by Actor, c Change) { Begin(ctx, tx, by).Add(c) }

// Batch is the entries of one transaction that makes many changes.
type Batch struct {
	by        Actor
	requestID string
	changes   []Change
}

// Begin returns a Batch of changes that by makes in tx. They are written right before the commit.
// If that fails, tx is rolled back.
func Begin(ctx context.Context, tx *db.Tx, by Actor) *Batch {
	b := &Batch{by: by, requestID: requestlog.ID(ctx)}
	tx.Last(func(ctx context.Context) error { return b.write(ctx, tx) })
	return b
}

// Add adds an entry.
func (b *Batch) Add(c Change) { b.changes = append(b.changes, c) }

// write writes the entries. They get their IDs under a lock that lasts until the commit. So the
// next transaction takes its IDs only when these entries can be read, and a reader that sees an ID
// can see all smaller ones, too.
func (b *Batch) write(ctx context.Context, tx *db.Tx) error {
	if len(b.changes) == 0 {
		return nil
	}
	last, now, err := lock(ctx, tx)
	if err != nil {
		return err
	}
	for _, c := range b.changes {
		last = ID(db.Next(int64(last), now))
		if err := insert(ctx, tx, Entry{last, now, b.by, b.requestID, c}); err != nil {
			return err
		}
	}
	return nil
}
