package authorizer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wxplatform/component"
	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/seal"
	"wxplatform/quota"
	"wxplatform/token"
	"wxplatform/wechat"
)

// keeping is a registry with a WeChat that answers every refresh, at once or when the test allows
// it.
type keeping struct {
	*Registry
	asks  atomic.Int64
	stall sync.Map     // refresh tokens, with a channel each
	told  atomic.Int64 // what quota/get says, with as many used
	codes atomic.Int64 // what every seventh refresh is refused with; 0 is nothing
}

func keep(t *testing.T, d *db.DB) *keeping {
	t.Helper()
	k := &keeping{}
	server := httptest.NewServer(http.HandlerFunc(k.answer))
	t.Cleanup(server.Close)
	k.Registry = replica(t, d, dbtest.Ring(t), server.URL)
	if err := k.component.Keep(ctx, component.Ticket{Value: seal.NewSecret("ticket"), Created: time.Now(), Received: time.Now()}); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *keeping) answer(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Refresh string `json:"authorizer_refresh_token"`
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	switch r.URL.Path {
	case "/cgi-bin/component/api_component_token":
		fmt.Fprint(w, `{"component_access_token":"c","expires_in":7200}`)
	case "/cgi-bin/openapi/quota/get":
		fmt.Fprintf(w, `{"errcode":0,"quota":{"daily_limit":%[1]d,"used":%[1]d,"remain":0}}`, k.told.Load())
	default:
		n := k.asks.Add(1)
		if wait, ok := k.stall.Load(body.Refresh); ok {
			<-wait.(chan struct{})
		}
		if code := k.codes.Load(); code != 0 && n%7 == 0 {
			fmt.Fprintf(w, `{"errcode":%d,"errmsg":"no"}`, code)
			return
		}
		fmt.Fprintf(w, `{"authorizer_access_token":"a%d","authorizer_refresh_token":%q,"expires_in":7200}`, n, body.Refresh)
	}
}

// due creates n authorizers whose tokens are in use and due.
func (k *keeping) due(t *testing.T, n int, used time.Duration) (ids []wechat.AppID) {
	t.Helper()
	for i := range n {
		id := wechat.AppID(fmt.Sprintf("wx%016x", i))
		err := k.db.Tx(ctx, func(tx *db.Tx) error {
			sent := time.Now().Add(-100 * time.Minute)
			_, err := k.Grant(ctx, tx, Grant{AppID: id, Answer: token.Answer{Access: seal.NewSecret("a"), Refresh: seal.NewSecret(string(id)), ExpiresIn: 2 * time.Hour}, Sent: sent})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	past := time.Now().Add(-time.Minute).UnixMilli()
	_, err := db.Exec(ctx, k.db, `UPDATE tokens SET unsettled_until = 0, due = $1, renew_early = $1, renew_late = $1, used_at = $2, warm = $3 WHERE kind = 'authorizer'`,
		past, time.Now().Add(-used).UnixMilli(), map[bool]int{true: 1}[used > 24*time.Hour])
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func (k *keeping) renewAll(t *testing.T) {
	t.Helper()
	if err := k.quota.Count(ctx); err != nil {
		t.Fatal(err)
	}
	if err := (keeper{k.Registry}).renewAllDue(ctx, quota.NewPace(), func(err error) { t.Log(err) }); err != nil {
		t.Fatal(err)
	}
}

// first and most are how many refreshes run at once at the slowest and at the fastest pace.
var first, most = quota.NewPace().AtOnce(), fastest().AtOnce()

func fastest() *quota.Pace {
	p := quota.NewPace()
	for range 10 {
		p.Went(1, 1)
	}
	return p
}

func TestRenewalsDoNotBeginWithABurst(t *testing.T) {
	k := keep(t, dbtest.SQLite(t))
	k.due(t, 300, time.Minute)
	stopped, stop := context.WithCancel(ctx)
	began, ended := time.Now(), make(chan struct{})
	go func() {
		defer close(ended)
		_ = (keeper{k.Registry}).renewAllDue(stopped, quota.NewPace(), func(error) {})
	}()
	k.atWeChat(t, int64(2*first+1))
	took := time.Since(began)
	stop()
	<-ended
	if least := 2 * quota.Slot; took < least {
		t.Errorf("got more than %d refreshes in %v though WeChat answers at once, want %d each %v", 2*first, took, first, quota.Slot)
	}
}

func TestFailedRenewalsDoNotDelayOthers(t *testing.T) {
	k := keep(t, dbtest.SQLite(t))
	k.due(t, 70, time.Minute)
	k.codes.Store(61003)
	k.renewAll(t)
	if n := k.asks.Load(); n != 70 {
		t.Errorf("got %d refreshes, want all 70 tried", n)
	}
}

func TestBeyondTheBudgetOnlyCallersRefresh(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		k := keep(t, d)
		ids := k.due(t, 20, time.Minute)
		k.quota.Budget = 10
		for range 10 {
			k.quota.Sent()
		}
		k.renewAll(t)
		if n := k.asks.Load(); n != 0 {
			t.Errorf("got %d renewals, want none", n)
		}
		if _, err := db.Exec(ctx, d, `UPDATE tokens SET expires_at = 1 WHERE kind = 'authorizer'`); err != nil {
			t.Fatal(err)
		}
		if got, err := k.token(ctx, ids[3]); err != nil || got.Access.IsZero() {
			t.Errorf("got %v, want a token for whoever calls", err)
		}
	})
}

func TestWarmTokensAreRenewedAtTheDaysPace(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		k := keep(t, d)
		k.due(t, 5, 3*24*time.Hour)
		k.quota.Budget = 1_000_000_000_000
		for range 3 {
			k.quota.Sent()
		}
		k.renewAll(t)
		if n := k.asks.Load(); n != 5 {
			t.Errorf("got %d renewals with a budget for all, want 5", n)
		}
		k.due(t, 5, 3*24*time.Hour)
		k.quota.Budget = 11 // of which 8 are spent, less than four fifths, but more than the pace allows until the last hour of the day
		k.renewAll(t)
		if passed := time.Since(wechat.Day(time.Now())).Hours() / 24; k.asks.Load() != 5 && passed < 0.9 {
			t.Errorf("got %d renewals, want none more before the day has gone that far", k.asks.Load()-5)
		}
	})
}

func TestWeChatsQuotaIsTheDefaultBudget(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		k := keep(t, d)
		k.due(t, 3, time.Minute)
		k.told.Store(500)
		if err := k.quota.Count(ctx); err != nil {
			t.Fatal(err)
		}
		(keeper{k.Registry}).askQuota(ctx)
		k.renewAll(t)
		if got, err := k.quota.Usage(ctx); err != nil || got != (quota.Usage{Limit: 500, Used: 500}) || k.asks.Load() != 0 {
			t.Errorf("got %+v, %v and %d renewals, want WeChat's numbers and none", got, err, k.asks.Load())
		}
		k.told.Store(0) // 0 is not a limit
		if _, err := db.Exec(ctx, d, `UPDATE refresh_days SET asked_at = 1, quota = 0`); err != nil {
			t.Fatal(err)
		}
		if err := k.quota.Count(ctx); err != nil {
			t.Fatal(err)
		}
		(keeper{k.Registry}).askQuota(ctx)
		k.renewAll(t)
		if k.asks.Load() != 3 {
			t.Errorf("got %d renewals, want all without a number", k.asks.Load())
		}
	})
}

// However many renewals wait for WeChat and for the database, a caller gets its token as fast as
// without them.
func TestCallersAreServedBeforeRenewals(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		k := keep(t, d)
		ids := k.due(t, most+1, time.Minute)
		caller, gate := ids[0], make(chan struct{})
		open := sync.OnceFunc(func() { close(gate) })
		t.Cleanup(open) // before the server's cleanup, which waits for all requests
		for _, id := range ids[1:] {
			k.stall.Store(string(id), gate)
		}
		if _, err := db.Exec(ctx, d, `UPDATE tokens SET expires_at = 1, due = 0 WHERE id = $1`, string(caller)); err != nil {
			t.Fatal(err)
		}
		background := db.Background(ctx)
		var renewals sync.WaitGroup
		renewals.Go(func() {
			// a busy machine's database may refuse some
			(keeper{k.Registry}).renewSome(background, ids[1:], most, func(error) { k.asks.Add(1) })
		})
		k.atWeChat(t, int64(most))
		if got, err := k.token(ctx, caller); err != nil || got.Access.IsZero() { // while they wait
			t.Errorf("got %v, want a token", err)
		}
		open()
		renewals.Wait()
	})
}

// While a keeper has as many requests in flight as it may and WeChat answers none, callers still
// have two thirds of the connections to WeChat.
func TestAKeeperUsesAtMostAThirdOfTheConnections(t *testing.T) {
	const callers = 340 // of 512
	k := keep(t, dbtest.SQLite(t))
	ids, gate := k.due(t, most+40, time.Minute), make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	t.Cleanup(open)
	for _, id := range append(ids, "caller") {
		k.stall.Store(string(id), gate)
	}
	background, stop := context.WithCancel(db.Background(ctx))
	var all sync.WaitGroup
	began := time.Now()
	all.Go(func() { _ = (keeper{k.Registry}).renewAllDue(background, fastest(), func(error) {}) })
	atWeChat := func(n int64) {
		t.Helper()
		k.atWeChat(t, n)
		// On a very busy machine the first calls of the keeper time out, and others take their places.
		if got := k.asks.Load(); got != n && time.Since(began) < wechat.CallPatience {
			t.Errorf("got %d calls at WeChat, want %d", got, n)
		}
	}
	atWeChat(int64(most))
	for range callers {
		all.Go(func() {
			if _, err := k.api.wechat.Do(ctx, wechat.Call{Method: "POST", Path: "/customservice", Timeout: time.Minute, Body: wechat.JSON(map[string]string{"authorizer_refresh_token": "caller"})}); err != nil {
				t.Error(err)
			}
		})
	}
	atWeChat(int64(most + callers))
	stop()
	open()
	all.Wait()
}

// atWeChat waits until WeChat was asked n times.
func (k *keeping) atWeChat(t *testing.T, n int64) {
	t.Helper()
	for end := time.Now().Add(time.Minute); k.asks.Load() < n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("got %d calls at WeChat, want %d", k.asks.Load(), n)
		}
	}
}

// They say nothing about WeChat, so the keeper neither slows down nor gives up because of them.
func TestTokensThatDoNotOpenDoNotSlowTheKeeper(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		k := keep(t, d)
		ids := k.due(t, 30, time.Minute)
		if _, err := db.Exec(ctx, d, `UPDATE tokens SET refresh = $1 WHERE kind = 'authorizer' AND id <> $2`, []byte("does not open"), string(ids[0])); err != nil {
			t.Fatal(err)
		}
		if n := (keeper{k.Registry}).renewSome(ctx, ids, 8, func(error) {}); n != len(ids) || k.asks.Load() != 1 {
			t.Errorf("got %d of %d, %d asks, want all counted and one asked for", n, len(ids), k.asks.Load())
		}
	})
}
