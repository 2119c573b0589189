package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"wxplatform/authorizer"
	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/wechat"
)

// damages are ways in which a stored value stops opening. other is a value of another row.
var damages = map[string]func(value, other []byte) []byte{
	"flipped":     func(value, _ []byte) []byte { return flip(value, len(value)-1) },
	"unknown key": func(value, _ []byte) []byte { return flip(value, 0) },
	"cut":         func(value, _ []byte) []byte { return value[:len(value)/2] },
	"short":       func([]byte, []byte) []byte { return []byte("x") },
	"swapped":     func(_, other []byte) []byte { return other },
}

func flip(value []byte, at int) []byte {
	value = slices.Clone(value)
	value[at] ^= 1
	return value
}

// tokenCells returns the sealed values of the account's token.
func (w *world) tokenCells(id wechat.AppID) map[string]sealedCell {
	w.t.Helper()
	found := map[string]sealedCell{}
	for _, c := range w.cells() {
		if c.table == "tokens (authorizer)" && c.key == string(id) {
			found[c.column] = c
		}
	}
	return found
}

// breaks replaces a sealed value of the account's token by one that does not open there.
func (w *world) breaks(id wechat.AppID, column string) {
	w.t.Helper()
	w.exec(`UPDATE tokens SET `+column+` = $1 WHERE id = $2`, w.platform.ring.Seal(seal.NewSecret("of another row"), "tokens", column, "authorizer", "wxother"), id)
}

func TestATokenThatDoesNotOpenHidesNoOtherAccount(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		w.lived()
		w.exec(`UPDATE tokens SET spare = (SELECT spare FROM tokens WHERE id = $1) WHERE id = $2`, service, official)
		ours, others := w.tokenCells(service), w.tokenCells(official)
		for name, damage := range damages {
			for column, cell := range ours {
				w.put(cell, damage(cell.value, others[column].value))
				if column == "spare" && name == "swapped" {
					w.put(cell, others["access"].value)
				}
				states := w.states()
				w.put(cell, cell.value)
				if states[service] != "degraded" {
					w.t.Errorf("%s %s: got %v, want the account degraded", column, name, states)
				}
			}
		}
		w.exec(`UPDATE tokens SET spare = $1 WHERE id = $2`, []byte{}, official)
		if states := w.states(); states[service] != "healthy" || states[official] != "healthy" {
			w.t.Errorf("got %v, want both healthy", states)
		}
	})
}

// states returns the states of the tenant's accounts, which the operator must see too.
func (w *world) states() map[wechat.AppID]string {
	w.t.Helper()
	var list struct {
		Authorizers []struct {
			AppID wechat.AppID
			State string
		}
	}
	if answer := w.ask("GET", "/v1/authorizers", ""); answer.status != 200 || json.Unmarshal(answer.body, &list) != nil || len(list.Authorizers) != 2 {
		w.t.Fatalf("got %d %s, want both accounts", answer.status, answer.body)
	}
	var operators []struct {
		AppID wechat.AppID
		State string
	}
	w.command(&operators, "authorizer", "list")
	states := map[wechat.AppID]string{}
	for i, one := range list.Authorizers {
		states[one.AppID] = one.State
		if len(operators) != 2 || operators[i] != one {
			w.t.Errorf("got %v for the operator, want %v", operators, list)
		}
	}
	return states
}

func TestARefreshTokenThatDoesNotOpenIsReplacedFromWeChatsList(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		w.grant(service, "1")
		w.grant(official, "1")
		w.settles()
		w.breaks(service, "refresh")
		w.renewal(service)
		w.renewal(official)
		w.eventually("the other account to be renewed", func() bool {
			return w.number(`SELECT COUNT(*) FROM tokens WHERE unsettled_until = 0 AND id = $1`, official) == 1
		})
		w.eventually("an alarm that names the value", func() bool {
			return strings.Contains(w.log.String(), `"value":"refresh authorizer `+string(service)+`"`)
		})
		w.open(kfAccount)
		w.ok(w.shut(kfAccount)) // with the access token, which lives
		w.eventually("WeChat's list to be searched", func() bool {
			return w.number(`SELECT COUNT(*) FROM authorizers WHERE sought_at > 0`) == 0 && len(w.opens("tokens (authorizer)")) == 0
		})
		w.renewal(service)
		w.becomes(service, "healthy")
		w.breaks(service, "refresh")
		w.grant(service, "1")
		w.settles()
		w.becomes(service, "healthy")
		w.open(kfAccount)
		w.ok(w.shut(kfAccount))
		if stuck := w.opens("tokens (authorizer)"); len(stuck) > 0 {
			w.t.Errorf("got %q, want the row healed", stuck)
		}
	})
}

// The operator's order to refresh such an account must not end with a riddle.
func TestAnOrderedRefreshSaysThatATokenDoesNotOpenAndWhatHealsIt(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		w.grant(service, "1")
		w.settles()
		w.endedBefore() // or the platform may heal the row first
		w.breaks(service, "refresh")
		for range 2 { // the second finds the failure of the first
			var errOut bytes.Buffer
			code := run(shell{anyContext, &bytes.Buffer{}, &errOut, w.lookup, noEnvironment}, []string{"authorizer", "refresh", string(service)})
			said := errOut.String()
			if code != 1 || !strings.Contains(said, "the stored refresh token does not open") || !strings.Contains(said, "`platform reconcile`") || !han.MatchString(said) {
				w.t.Errorf("got status %d, %q, want why, and what heals it", code, said)
			}
		}
		if err := fresh(w.t, w).explainRefresh(anyContext, service, authorizer.ErrNoToken); !strings.Contains(err.Error(), "`platform reconcile`") {
			w.t.Errorf("got %v where another process has noted the failure, want what heals it", err)
		}
		var found, shown any
		w.command(&found, "reconcile")
		w.command(&shown, "authorizer", "refresh", string(service))
		if got := w.started(w.env["PLATFORM_SEALING_KEYS"]); got != "" { // it counts what does not open
			w.t.Errorf("got %q, want a start", got)
		}
	})
}

// Many broken rows at the head of the queue are each looked at once.
func TestManyRowsThatDoNotOpenDelayNoOther(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		w.grant(service, "1")
		w.settles()
		const rows = 300
		for i := range rows {
			w.patiently("a row", func() error {
				return w.platform.db.Tx(anyContext, func(tx *db.Tx) error {
					id := fmt.Sprintf("wx%016x", i+1)
					_, adding := db.Exec(anyContext, tx, `INSERT INTO authorizers (appid, created_at, profile_at) VALUES ($1, 1, 1)`, id)
					_, storing := db.Exec(anyContext, tx, `
						INSERT INTO tokens (kind, id, access, refresh, spare, fence, version, expires_at, unsettled_until, due, used_at)
						VALUES ('authorizer', $1, $2, $2, $3, 1, 1, 1, 1, 0, 1)`, id, []byte("does not open"), []byte{})
					return errors.Join(adding, storing)
				})
			})
		}
		w.exec(`UPDATE tokens SET due = 1 WHERE version = 1 AND due = 0 AND id LIKE 'wx00000000%'`)
		w.renewal(service)
		w.eventually("the account behind them to be renewed", func() bool {
			return w.number(`SELECT COUNT(*) FROM tokens WHERE unsettled_until = 0 AND id = $1`, service) == 1
		})
		w.eventually("all to be noted", func() bool {
			return w.number(`SELECT COUNT(*) FROM authorizers WHERE state <> 'healthy'`) == rows // or revoked: WeChat does not list them
		})
		if n := w.number(`SELECT MAX(failures) FROM tokens`); n != 1 {
			w.t.Errorf("got %d failures of a row, want each looked at once", n)
		}
	})
}

func TestASigningKeyThatDoesNotOpenIsReplaced(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		w.grant(service, "1")
		w.exec(`UPDATE signing_keys SET private = $1`, []byte("does not open"))
		w.exec(`UPDATE meta SET changes = changes + 1`)
		w.eventually("the change to be seen", func() bool {
			_, err := w.getJWT(anyContext)
			return err == nil && w.number(`SELECT COUNT(*) FROM signing_keys`) == 2
		})
		if answer := w.ask("GET", "/v1/authorizers", ""); answer.status != 200 {
			w.t.Errorf("got %d, want the new JWT to be valid", answer.status)
		}
	})
}

func TestATicketThatDoesNotOpenIsReplacedByTheNext(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		w.exec(`UPDATE tickets SET ticket = $1`, []byte("does not open"))
		c, err := loadConfig(w.lookup, needsAll)
		if err != nil {
			w.t.Fatal(err)
		}
		p, err := assemble(anyContext, c, w.log)
		if err != nil {
			w.t.Fatal(err)
		}
		defer func() { _ = p.close() }()
		if err := p.prepare(anyContext); err != nil || !p.component.Newest().Value.IsZero() {
			w.t.Errorf("got %v, want a start without a ticket", err)
		}
		w.command(&[]struct{}{}, "authorizer", "list")
		w.must(w.ticket(anyContext))
		w.eventually("the ticket to be replaced", func() bool { return p.component.Refresh(anyContext) == nil })
	})
}

func TestAnEventThatDoesNotOpenIsDroppedAndItsAccountAskedAbout(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		w.grant(service, "1")
		w.settles()
		for i := range 3 {
			w.exec(`INSERT INTO events (hash, account, body, received_at, due) VALUES ($1, $2, $3, 1, 1)`, fmt.Sprint("broken", i), service, []byte("does not open"))
		}
		w.eventually("the events to be dropped", func() bool { n, err := w.platform.inbox.Waiting(anyContext); return err == nil && n == 0 })
		if n := w.number(`SELECT COUNT(*) FROM authorizers WHERE check_at > 0 AND appid = $1`, service); n != 1 {
			w.t.Error("got no check of the account")
		}
		if n := w.number(`SELECT MAX(attempts) FROM events WHERE hash LIKE 'broken%'`); n != 1 {
			w.t.Errorf("got %d attempts, want one", n)
		}
	})
}
