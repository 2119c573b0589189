package authorizer

import (
	"context"
	"errors"
	"testing"
	"time"

	"wxplatform/audit"
	"wxplatform/component"
	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/mirror"
	"wxplatform/internal/seal"
	"wxplatform/quota"
	"wxplatform/token"
	"wxplatform/wechat"
)

const (
	id     = wechat.AppID("wx5a3e1c0b7d2f4801")
	tester = audit.Actor("operator:tester@host")
)

var ctx = context.Background()

// registry is a registry without a WeChat, with one authorizer.
func registry(t *testing.T, d *db.DB) *Registry {
	t.Helper()
	r := replica(t, d, dbtest.Ring(t), nobody)
	authorize(t, r)
	return r
}

const nobody = "http://127.0.0.1:1" // listens there

func replica(t *testing.T, d *db.DB, ring *seal.Ring, url string) *Registry {
	t.Helper()
	m, err := mirror.Open(ctx, seal.Secret{}, d, ring)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	client := wechat.NewClient(url, wechat.Observer{})
	t.Cleanup(client.CloseIdle)
	r, _ := wire(t, d, m, ring, client)
	return r
}

// wire makes a registry over d and m, as serve does, and the tokens of its component.
func wire(t *testing.T, d *db.DB, m *mirror.Mirror, ring *seal.Ring, client *wechat.Client) (*Registry, *token.Store) {
	t.Helper()
	var stores []*token.Store
	for _, kind := range []token.Kind{token.Component, token.Authorizer} {
		s, err := token.New(kind, d, m, ring, token.DefaultTimes())
		if err != nil {
			t.Fatal(err)
		}
		stores = append(stores, s)
	}
	c := component.New(dbtest.Component, seal.NewSecret("s"), d, ring, stores[0], mirror.NewNewest(m, "ticket", 1), client)
	return New(d, m, c, stores[1], quota.New(d), client), stores[0]
}

func authorize(t *testing.T, r *Registry) token.Version {
	t.Helper()
	err := r.db.Tx(ctx, func(tx *db.Tx) error {
		_, err := r.Grant(ctx, tx, Grant{AppID: id, Answer: token.Answer{Access: seal.NewSecret("a"), Refresh: seal.NewSecret("r"), ExpiresIn: time.Hour}, Sent: time.Now()})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.version(t)
}

func (r *Registry) version(t *testing.T) token.Version {
	t.Helper()
	version, err := r.tokens.Version(ctx, r.db, id)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func (r *Registry) is(t *testing.T, want State) {
	t.Helper()
	c, err := r.table.condition(ctx, id)
	if err != nil || c.State != want {
		t.Errorf("got %+v, %v, want %s", c, err, want)
	}
}

func TestAFailureOfAnOlderTokenIsIgnored(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := registry(t, d)
		old, err := r.tokens.Version(ctx, d, id)
		if err != nil {
			t.Fatal(err)
		}
		newer := authorize(t, r)
		before := d.Changes()
		if err := r.states.note(ctx, id, passwordChanged, old); err != nil {
			t.Fatal(err)
		}
		if r.is(t, Healthy); d.Changes() != before {
			t.Error("got it blocked for a moment, want nothing written")
		}
		if err := r.states.note(ctx, id, passwordChanged, newer); err != nil {
			t.Fatal(err)
		}
		r.is(t, Reauthorize)
		authorize(t, r)
		r.is(t, Healthy)
		if c, err := r.table.condition(ctx, id); err != nil || !c.Next.IsZero() || c.Version != 0 {
			t.Errorf("got %+v, %v, want nothing left of it", c, err)
		}
	})
}

func TestATokenStoredWhileAFailureIsNotedEndsIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := registry(t, d)
		version, err := r.tokens.Version(ctx, d, id)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.states.note(ctx, id, busy, version); err != nil {
			t.Fatal(err)
		}
		if err := r.states.unlessRecovered(ctx, id, version); err != nil {
			t.Fatal(err)
		}
		r.is(t, Degraded)
		err = d.Tx(ctx, func(tx *db.Tx) error { // another replica got it, and found nothing to recover from
			_, err := r.tokens.Grant(ctx, tx, id, time.Now(), token.Answer{Access: seal.NewSecret("b"), ExpiresIn: time.Hour})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.states.unlessRecovered(ctx, id, version); err != nil {
			t.Fatal(err)
		}
		r.is(t, Healthy)
	})
}

func TestOnlyStatesThatBlockCallsAreAnnounced(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := registry(t, d)
		version, err := r.tokens.Version(ctx, d, id)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			v         effect
			announced bool
		}{{busy, false}, {quotaUsedUp, false}, {dead, false}, {passwordChanged, true}, {passwordChanged, false}} {
			before := d.Changes()
			if err := r.states.note(ctx, id, c.v, version); err != nil {
				t.Fatal(err)
			}
			if got := d.Changes() != before; got != c.announced {
				t.Errorf("%+v: got it announced %v, want %v", c.v, got, c.announced)
			}
		}
		before := d.Changes()
		if err := r.states.recovered(ctx, id); err != nil || d.Changes() == before {
			t.Errorf("got %v, and a recovery not announced", err)
		}
	})
}

func TestARecoveryThatWasNotNotedIsFound(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := registry(t, d)
		version, err := r.tokens.Version(ctx, d, id)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.states.note(ctx, id, passwordChanged, version); err != nil {
			t.Fatal(err)
		}
		if err := (keeper{r}).recoverDue(ctx); err != nil {
			t.Fatal(err)
		}
		r.is(t, Reauthorize)
		renewed, err := r.tokens.Replace(ctx, id, version, answers{})
		if err != nil || renewed.Version <= version {
			t.Fatalf("got version %d after %d, %v, want a newer one, that the process which got it did not live to note", renewed.Version, version, err)
		}
		if err := (keeper{r}).recoverDue(ctx); err != nil {
			t.Fatal(err)
		}
		r.is(t, Healthy)
	})
}

// The operator who orders a refresh sees its result, whichever process was quicker.
func TestAnOrderedRefreshIsNotedThoughAnotherProcessMadeIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := registry(t, d)
		version, err := r.tokens.Version(ctx, d, id)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.states.note(ctx, id, quotaUsedUp, version); err != nil {
			t.Fatal(err)
		}
		if _, err := r.tokens.Replace(ctx, id, version, answers{}); err != nil {
			t.Fatal(err)
		}
		r.is(t, Quota)
		if err := r.newToken(ctx, id, version); err != nil {
			t.Fatal(err)
		}
		r.is(t, Healthy)
	})
}

// answers is a token.Asker that gets a token and dies before it notes that.
type answers struct{}

func (answers) Prepare(context.Context) error { return nil }

func (answers) Send(context.Context, seal.Secret) (token.Answer, error) {
	return token.Answer{Access: seal.NewSecret("b"), ExpiresIn: time.Hour}, nil
}

func (answers) Conclude(_ context.Context, err error) error { return err }

func TestNothingIsNotedForAnUnknownAccount(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := registry(t, d)
		if err := r.states.note(ctx, "wx00000000000000ff", passwordChanged, 0); !errors.Is(err, ErrUnknown) {
			t.Errorf("got %v, want ErrUnknown and no row", err)
		}
	})
}

func TestAWithdrawalIsIgnoredIfTheMerchantAuthorizedMeanwhile(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := registry(t, d)
		old, err := r.tokens.Version(ctx, d, id)
		if err != nil {
			t.Fatal(err)
		}
		newer := authorize(t, r)
		if err := r.states.revoke(ctx, leased(t, r), old); err != nil {
			t.Fatal(err)
		}
		r.is(t, Healthy)
		lost := leased(t, r)
		c := leased(t, r)
		for _, late := range []error{r.states.revoke(ctx, lost, newer), checks{r}.Finish(ctx, lost), checks{r}.Postpone(ctx, lost, time.Hour)} {
			if late != nil {
				t.Fatal(late)
			}
		}
		r.is(t, Healthy) // another process took the check meanwhile, and asks WeChat itself
		if err := r.states.revoke(ctx, c, newer); err != nil {
			t.Fatal(err)
		}
		r.is(t, Revoked)
	})
}

// WeChat may say 61003 of an account that has just authorized, also if an older withdrawal is due
// to be checked.
func TestACheckWaitsAMinuteAfterANewAuthorization(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := registry(t, d)
		held := leased(t, r)
		now := d.Clock()
		version := authorize(t, r)
		if err := r.states.revoke(ctx, held, version); err != nil {
			t.Fatal(err)
		}
		r.is(t, Healthy)
		for after, want := range map[time.Duration]int{checkLease: 0, afterAuthorization - time.Millisecond: 0, afterAuthorization: 1} {
			if due, err := r.table.dueChecks(ctx, now.Add(after), 10); err != nil || len(due) != want {
				t.Errorf("%v later: got %v, %v, want %d due", after, due, err, want)
			}
		}
		later := now.Add(time.Hour)
		if err := (checks{r}).Postpone(ctx, check{AppID: id, At: now.Add(afterAuthorization)}, time.Hour); err != nil {
			t.Fatal(err)
		}
		authorize(t, r)
		if due, err := r.table.dueChecks(ctx, later, 10); err != nil || len(due) != 1 || due[0].At.Before(later.Truncate(time.Millisecond)) {
			t.Errorf("got %v, %v, want a check that is due later kept where it is", due, err)
		}
	})
}

func TestAWithdrawalThatWasRolledBackIsNotPublished(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := registry(t, d)
		known, err := r.token(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		c := leased(t, r)
		runsAgain(d, func() { authorize(t, r) })
		if err := r.states.revoke(ctx, c, known.Version); err != nil {
			t.Fatal(err)
		}
		r.is(t, Healthy)
		if _, ok := r.tokens.Known(id); !ok {
			t.Error("got the token of a healthy account given up")
		}
	})
}

// runsAgain has d roll back its next transaction and run it again, after meanwhile.
func runsAgain(d *db.DB, meanwhile func()) {
	d.Gate = func(_ context.Context, text string, args []any) db.Fate {
		switch {
		case text != "":
			return db.Done
		case len(args) == 0:
			return db.Again
		}
		d.Gate = nil
		meanwhile()
		return db.Done
	}
}

// WeChat may have answered the last check before the merchant withdrew.
func TestAWithdrawalDuringTheLastCheckIsChecked(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := registry(t, d)
		last := leased(t, r)
		last.Done = len(askAgain)
		if _, err := db.Exec(ctx, d, `UPDATE authorizers SET checks = $1`, last.Done); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(r.Withdrawn(ctx, id), checks{r}.Finish(ctx, last)); err != nil {
			t.Fatal(err)
		}
		due, err := r.table.dueChecks(ctx, last.At, 10)
		if err != nil || len(due) != 1 || due[0].Done != 0 {
			t.Fatalf("got %v, %v, want a check that begins anew when the lease ends", due, err)
		}
		again, ok, err := checks{r}.Lease(ctx, due[0])
		if err := errors.Join(err, checks{r}.Finish(ctx, again)); err != nil || !ok {
			t.Fatalf("got a lease %v, %v", ok, err)
		}
		if due, err := r.table.dueChecks(ctx, again.At, 10); err != nil || len(due) != 0 {
			t.Errorf("got %v, %v, want the check finished", due, err)
		}
	})
}

// leased takes a check of id that is due, a minute after the one before.
func leased(t *testing.T, r *Registry) check {
	t.Helper()
	if _, err := db.Exec(ctx, r.db, `UPDATE authorizers SET check_at = 1`); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if r.db.Clock != nil {
		now = r.db.Clock().Add(time.Minute)
	}
	r.db.Clock = func() time.Time { return now }
	c, ok, err := checks{r}.Lease(ctx, check{AppID: id, At: time.UnixMilli(1)})
	if err != nil || !ok || !c.At.Equal(now.Add(checkLease).Truncate(time.Millisecond)) {
		t.Fatalf("got a lease until %v, %v, %v, want one from now", c.At, ok, err)
	}
	return c
}

func TestAReturnThatWasRolledBackDoesNotCount(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r, wx := cannedWeChat(t, d)
		wx.says("api_get_authorizer_info", `{"authorizer_info":{"user_name":"gh_1"},"authorization_info":{"authorizer_appid":"`+string(id)+`"}}`)
		if err := r.states.revoke(ctx, leased(t, r), r.version(t)); err != nil {
			t.Fatal(err)
		}
		begun := d.Clock().Add(time.Minute)
		if _, _, err := r.PermissionSets(ctx, id); err != nil { // so that the component token is known
			t.Fatal(err)
		}
		runsAgain(d, func() { authorize(t, r) })
		returned, err := r.WeChatList().Return(ctx, tester, Listing{id, seal.NewSecret("listed")}, begun)
		if err != nil || returned {
			t.Errorf("got returned %v, %v, want the merchant's own authorization to count alone", returned, err)
		}
		r.is(t, Healthy)
	})
}
