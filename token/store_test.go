package token

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"go.uber.org/goleak"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/mirror"
	"wxplatform/internal/seal"
	"wxplatform/internal/testenv"
	"wxplatform/wechat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testenv.Clean{M: m}) }

const id wechat.AppID = "wx00000000000000a1"

func TestAGrantedTokenIsStoredAndKnown(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		if _, err := s.Get(t.Context(), id, wx); !errors.Is(err, ErrUnknown) {
			t.Errorf("got %v before the grant, want ErrUnknown", err)
		}
		p.grant(s, wx)
		if _, ok := s.Known(id); !ok {
			t.Error("got nothing known after Publish, want the token")
		}
		for _, replica := range []*Store{s, p.replica(Authorizer)} {
			got, err := replica.Get(t.Context(), id, wx)
			if err != nil || got.Access.Reveal() != "access 1" || got.Version == 0 || time.Until(got.Expires) < time.Hour {
				t.Errorf("got %+v, %v, want the granted token", got, err)
			}
		}
		wx.asked(t, 0)
	})
}

func TestTheComponentTokenNeedsNoGrant(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Component), &fakeWeChat{silent: true}
		got, err := s.Get(t.Context(), id, wx)
		if err != nil || got.Access.Reveal() != "access 1" {
			t.Errorf("got %v, %v, want the first token", got, err)
		}
		next, err := s.Replace(t.Context(), id, got.Version, wx)
		if err != nil || next.Version <= got.Version {
			t.Errorf("got %v, %v, want a newer one", next, err)
		}
		wx.asked(t, 2)
	})
}

func TestARefreshIsSharedByAllCallers(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		wx := &fakeWeChat{takes: 50 * time.Millisecond}
		replicas := []*Store{p.replica(Authorizer), p.replica(Authorizer), p.replica(Authorizer)}
		bad := p.grant(replicas[0], wx)
		var callers sync.WaitGroup
		var versions sync.Map
		for i := range 90 {
			callers.Go(func() {
				got, err := replicas[i%len(replicas)].Replace(t.Context(), id, bad, wx)
				if err != nil || got.Version <= bad {
					t.Errorf("got %v, %v, want a newer token", got, err)
				}
				versions.Store(got.Version, true)
			})
		}
		callers.Wait()
		wx.asked(t, 1)
		n := 0
		versions.Range(func(any, any) bool { n++; return true })
		if n != 1 {
			t.Errorf("got %d versions, want all callers given the same", n)
		}
	})
}

func TestADueTokenIsRenewedOnceByManyKeepers(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		wx := &fakeWeChat{takes: 50 * time.Millisecond}
		replicas := []*Store{p.replica(Authorizer), p.replica(Authorizer), p.replica(Authorizer)}
		p.grant(replicas[0], wx)
		p.pass(time.Hour)
		var keepers sync.WaitGroup
		for _, s := range replicas {
			keepers.Go(func() {
				due, err := s.Due(t.Context(), 10)
				if err != nil || len(due) > 1 {
					t.Errorf("got %v, %v, want the one row at most", due, err)
				}
				for _, id := range due {
					if err := s.Renew(t.Context(), id, wx); err != nil {
						t.Errorf("got %v, want it renewed or left to another", err)
					}
				}
			})
		}
		keepers.Wait()
		wx.asked(t, 1)
		if due, _ := replicas[1].Due(t.Context(), 10); len(due) != 0 {
			t.Errorf("got %v due after the renewal, want nothing", due)
		}
	})
}

func TestCallersUseTheOldTokenDuringARenewal(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, other, wx := p.replica(Authorizer), p.replica(Authorizer), &fakeWeChat{}
		old := p.grant(s, wx)
		p.pass(time.Hour)
		wx.stall()
		done := make(chan error, 1)
		go func() { done <- s.Renew(t.Context(), id, wx) }()
		wx.waitFor(t, 1)
		for _, replica := range []*Store{s, other} {
			if got, err := replica.Get(t.Context(), id, wx); err != nil || got.Version != old {
				t.Errorf("got %v, %v, want the old token at once", got, err)
			}
		}
		wx.goOn()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got, _ := s.Get(t.Context(), id, wx); got.Version <= old {
			t.Error("got the old token after the renewal, want the new one")
		}
	})
}

func TestACancelledCallerDoesNotEndTheRequest(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		wx.stall()
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() { _, err := s.Replace(ctx, id, bad, wx); left <- err }()
		wx.waitFor(t, 1)
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the caller's cancel", err)
		}
		wx.goOn()
		got, err := s.Replace(t.Context(), id, bad, wx)
		if err != nil || got.Version <= bad {
			t.Errorf("got %v, %v, want what was asked for", got, err)
		}
		wx.asked(t, 1)
	})
}

func TestAWaitingCallerSeesTheEndOfALeaseWithoutRedis(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		p.redis = "redis://127.0.0.1:1"
		s, other, wx := p.replica(Authorizer), p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		wx.stall()
		var both sync.WaitGroup
		both.Go(func() { _, _ = s.Replace(t.Context(), id, bad, wx) })
		wx.waitFor(t, 1)
		both.Go(func() {
			if got, err := other.Replace(t.Context(), id, bad, wx); err != nil || got.Version <= bad {
				t.Errorf("got %v, %v, want the holder's token", got, err)
			}
		})
		for other.Counts().Waited == 0 {
			time.Sleep(time.Millisecond)
		}
		wx.goOn()
		both.Wait()
		wx.asked(t, 1)
	})
}

func TestAWaitingCallerGetsATokenSharedBeforeItIsStored(t *testing.T) {
	p := newPlatform(t, dbtest.SQLiteURL(t), "")
	s, wx := p.replica(Authorizer), &fakeWeChat{}
	bad := p.grant(s, wx)
	p.vanish(s)
	done := make(chan Token)
	go func() {
		got, err := s.Replace(t.Context(), id, bad, wx)
		if err != nil {
			t.Error(err)
		}
		done <- got
	}()
	for s.Counts().Waited == 0 {
		time.Sleep(time.Millisecond)
	}
	s.newest.Put(t.Context(), string(id), mirror.Versioned{Secret: seal.NewSecret("dead"), Version: int64(bad + 1), Expires: p.now()})
	s.newest.Put(t.Context(), string(id), mirror.Versioned{Secret: seal.NewSecret("shared"), Version: int64(bad + 2), Expires: p.now().Add(time.Hour)})
	if got := <-done; got.Version != bad+2 || s.Counts().Waited > 5 {
		t.Errorf("got version %d after %d waits, want what was shared, at once", got.Version, s.Counts().Waited)
	}
}

func TestCallersWaitForAVanishedHolderOnlyUntilItsLeaseEnds(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		p.vanish(s)
		p.pass(11 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if got, err := s.Replace(ctx, id, bad, wx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, %v during the lease, want the caller's own deadline", got, err)
		}
		p.pass(time.Second)
		if _, err := s.Replace(t.Context(), id, bad, wx); err != nil {
			t.Errorf("got %v after the lease, want a token", err)
		}
		p.suspect(s, true)
		if due, _ := s.Due(t.Context(), 10); len(due) != 0 {
			t.Error("got the suspect row due at once, want it to wait for what may still act")
		}
		p.pass(64 * time.Second)
		p.renewed(s, wx)
		p.suspect(s, false)
	})
}

func TestAKeeperNoticesAVanishedHolder(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		p.grant(s, wx)
		p.vanish(s)
		if due, _ := s.Due(t.Context(), 10); len(due) != 0 {
			t.Errorf("got %v due during the lease, want nothing", due)
		}
		p.pass(12 * time.Second)
		p.renewed(s, wx)
		p.suspect(s, true)
	})
}

// A stalls while B takes over, WeChat serves B and then A, and A stores first.
func TestAHolderThatStallsLosesNoNewerToken(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		a, b, wx := p.replica(Authorizer), p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(a, wx)
		stalled := &fakeWeChat{}
		stalled.stall()
		var late sync.WaitGroup
		late.Go(func() { _, _ = a.Replace(t.Context(), id, bad, stalled.over(wx)) })
		stalled.waitFor(t, 1)
		p.pass(13 * time.Second)
		gotB, err := b.Replace(t.Context(), id, bad, wx)
		if err != nil {
			t.Fatal(err)
		}
		stalled.goOn()
		late.Wait()
		if got, _ := a.Get(t.Context(), id, wx); got.Version != gotB.Version {
			t.Errorf("got version %d, want B's %d: an older one never replaces it", got.Version, gotB.Version)
		}
		p.suspect(b, true)
		p.pass(90 * time.Second)
		p.renewed(b, wx)
		p.suspect(b, false)
		p.newestStored(b, wx)
	})
}

func TestAnUnknownOutcomeLeavesTheRowSuspect(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		p.standsStill()
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		lost := p.wire(t, http.StatusBadGateway, "")
		if _, err := s.Replace(t.Context(), id, bad, failing(lost)); !wechat.MayHaveActed(err) {
			t.Errorf("got %v, want the wire's error", err)
		}
		if _, err := s.Replace(t.Context(), id, bad, wx); !errors.Is(err, ErrBackOff) || !wechat.MayHaveActed(err) {
			t.Errorf("got %v at once, want the last error without another request", err)
		}
		if _, err := p.replica(Authorizer).Replace(t.Context(), id, bad, wx); !errors.Is(err, ErrBackOff) {
			t.Errorf("got %v in another process, want ErrBackOff", err)
		}
		wx.asked(t, 0)
		p.pass(time.Second)
		if _, err := s.Replace(t.Context(), id, bad, wx); err != nil {
			t.Errorf("got %v a second later, want a token", err)
		}
		p.suspect(s, true)
		p.pass(time.Minute)
		p.renewed(s, wx)
		p.suspect(s, false)
	})
}

func TestARefusedOrUnsentRequestLeavesTheRowClean(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		for name, cause := range map[string]error{"refused": p.wire(t, 200, `{"errcode":45009,"errmsg":"quota"}`), "not sent": p.unreachable(t)} {
			p.pass(time.Minute)
			if _, err := s.Replace(t.Context(), id, bad, failing(cause)); !errors.Is(err, cause) {
				t.Errorf("%s: got %v, want %v", name, err, cause)
			}
		}
		p.suspect(s, false)
		if c := s.Counts(); c.Refused != 1 || c.Unsent != 1 || c.Unknown != 0 {
			t.Errorf("got %+v, want one refused and one unsent", c)
		}
	})
}

func TestAFailureThatSaysNothingAboutTheTokenCausesNoBackOff(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		cause := fmt.Errorf("%w: %w", ErrInconclusive, p.wire(t, 200, `{"errcode":42001,"errmsg":"component token expired"}`))
		if _, err := s.Replace(t.Context(), id, bad, failing(cause)); !wechat.IsRejectedToken(err) {
			t.Errorf("got %v, want the refusal", err)
		}
		if _, err := s.Replace(t.Context(), id, bad, wx); err != nil {
			t.Errorf("got %v at once, want a token", err)
		}
		p.suspect(s, false)
	})
}

func TestTheSpareIsTriedWhenTheRefreshTokenIsRefused(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		wx.revoke("refresh listed")
		if _, err := s.Replace(t.Context(), id, bad, wx); !errors.Is(err, ErrDead) {
			t.Errorf("got %v without a spare, want ErrDead", err)
		}
		if got, err := s.Get(t.Context(), id, wx); err != nil || got.Version != bad {
			t.Errorf("got %v, %v, want the row kept as it was", got, err)
		}
		if taken, err := p.spare(s, "refresh listed"); !taken || err != nil {
			t.Errorf("got %v, %v, want the listed one taken", taken, err)
		}
		if taken, _ := p.spare(s, "refresh listed"); taken {
			t.Error("got it taken twice")
		}
		if got, err := s.Replace(t.Context(), id, bad, wx); err != nil || got.Version <= bad {
			t.Errorf("got %v, %v, want a token by the spare", got, err)
		}
	})
}

func TestAnExchangeEndsARefreshInFlight(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		stalled := &fakeWeChat{}
		stalled.stall()
		var refresh sync.WaitGroup
		refresh.Go(func() {
			if got, err := s.Replace(t.Context(), id, bad, stalled.over(wx)); err != nil || got.Access.Reveal() != "access 2" {
				t.Errorf("got %v, %v, want the exchange's token", got, err)
			}
		})
		stalled.waitFor(t, 1)
		exchanged := p.grant(s, wx)
		stalled.goOn()
		refresh.Wait()
		if v, err := s.Version(t.Context(), s.db, id); err != nil || v != exchanged {
			t.Errorf("got version %d, %v, want the exchange's %d", v, err, exchanged)
		}
		p.suspect(s, true)
		p.pass(90 * time.Second)
		p.renewed(s, wx)
		p.newestStored(s, wx)
	})
}

func TestARolledBackGrantIsNeitherStoredNorShared(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		changed := errors.New("changed its mind")
		err := s.db.Tx(t.Context(), func(tx *db.Tx) error {
			now, _ := tx.Now(t.Context())
			if _, err := s.Grant(t.Context(), tx, id, now, wx.give()); err != nil {
				return err
			}
			return changed
		})
		if !errors.Is(err, changed) {
			t.Fatal(err)
		}
		if _, ok := s.Known(id); ok {
			t.Error("got a token shared before its commit")
		}
		if _, err := s.Get(t.Context(), id, wx); !errors.Is(err, ErrUnknown) {
			t.Errorf("got %v, want ErrUnknown", err)
		}
	})
}

func TestARetiredTokenIsNeverRequested(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		p.grant(s, wx)
		p.retire(s, id)
		p.retire(s, "wxnobody") // an unknown id is no error
		p.sqlGoes()
		if got, err := p.replica(Authorizer).Get(t.Context(), id, wx); !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("got %v, %v while SQL is unavailable, want nothing from Redis: it was told", got, err)
		}
		p.sqlReturns()
		fresh := p.replica(Authorizer)
		for _, replica := range []*Store{s, fresh} {
			if _, err := replica.Get(t.Context(), id, wx); !errors.Is(err, ErrRetired) {
				t.Errorf("got %v, want ErrRetired", err)
			}
		}
		p.pass(3 * time.Hour)
		if due, _ := s.Due(t.Context(), 10); len(due) != 0 {
			t.Errorf("got %v due, want it never due", due)
		}
		if err := s.Renew(t.Context(), id, wx); err != nil {
			t.Errorf("got %v, want nothing done", err)
		}
		wx.asked(t, 0)
		p.grant(s, wx)
		if _, err := fresh.Get(t.Context(), id, wx); err != nil {
			t.Errorf("got %v after another grant, want its token", err)
		}
	})
}

func TestAProcessThatStoodStillRepairsNoNewlySuspectRow(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		before := s.instantAt(p.now())
		p.pass(3 * time.Minute)
		if _, err := s.Replace(t.Context(), id, bad, failing(errors.New("cut off"))); err == nil {
			t.Fatal("got a token, want an outcome that nobody knows")
		}
		if err := s.repairSuspects(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		p.pass(59 * time.Second)
		p.due(s, "")
		p.pass(time.Second)
		p.due(s, string(id))
	})
}

func TestASuspectRowIsDueWithinAMinuteAfterTheClockWasSetBack(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		p.vanish(s)
		p.pass(13 * time.Second)
		if _, err := s.Replace(t.Context(), id, bad, wx); err != nil {
			t.Fatal(err)
		}
		p.suspect(s, true)
		p.pass(-10 * time.Minute)
		p.due(s, "")
		p.pass(65 * time.Second)
		p.renewed(s, wx)
		p.suspect(s, false)
	})
}

func TestAnAnswerThatSQLDidNotStoreIsSharedAndStoredLater(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, other, wx := p.replica(Authorizer), p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		got, err := s.Replace(t.Context(), id, bad, asks(func(ctx context.Context, refresh seal.Secret) (Answer, error) {
			p.sqlGoes()
			return wx.Send(ctx, refresh)
		}))
		if err != nil || got.Access.Reveal() != "access 2" || got.Version <= bad {
			t.Errorf("got %v, %v, want the new token shared at once", got, err)
		}
		if shared, err := other.Replace(t.Context(), id, bad, wx); err != nil || shared.Version != got.Version {
			t.Errorf("got %v, %v in another replica, want the same from Redis", shared, err)
		}
		p.sqlReturns()
		p.within(5*time.Second, func() bool { v, _ := s.Version(t.Context(), s.db, id); return v == got.Version })
		p.newestStored(s, wx)
		wx.asked(t, 1)
	})
}

func TestAnAnswerStoredLateDoesNotReplaceANewerOne(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, other, wx := p.replica(Authorizer), p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		got, err := s.Replace(t.Context(), id, bad, asks(func(ctx context.Context, refresh seal.Secret) (Answer, error) {
			p.sqlGoes()
			return wx.Send(ctx, refresh)
		}))
		if err != nil {
			t.Fatal(err)
		}
		p.sqlReturns()
		p.pass(13 * time.Second)
		newer, err := other.Replace(t.Context(), id, got.Version, wx)
		if err != nil || newer.Version <= got.Version {
			t.Errorf("got %v, %v, want a newer one", newer, err)
		}
		p.within(5*time.Second, func() bool { return s.storing.Idle() })
		if v, _ := s.Version(t.Context(), s.db, id); v != newer.Version {
			t.Errorf("got version %d, want %d", v, newer.Version)
		}
	})
}

func TestCloseStoresAnAnswerThatSQLDidNotStore(t *testing.T) {
	p := newPlatform(t, dbtest.SQLiteURL(t), "")
	s, wx := p.replica(Authorizer), &fakeWeChat{}
	bad := p.grant(s, wx)
	got, err := s.Replace(t.Context(), id, bad, asks(func(ctx context.Context, refresh seal.Secret) (Answer, error) {
		p.sqlGoes()
		return wx.Send(ctx, refresh)
	}))
	if err != nil {
		t.Fatal(err)
	}
	p.sqlReturns()
	if err := s.mirror.Close(); err != nil {
		t.Error(err)
	}
	if v, _ := s.Version(t.Context(), s.db, id); v != got.Version {
		t.Errorf("got version %d, want %d stored before the end", v, got.Version)
	}
}

func TestCloseWaitsForARequestAndStoresItsAnswer(t *testing.T) {
	p := newPlatform(t, dbtest.SQLiteURL(t), "")
	s, wx := p.replica(Authorizer), &fakeWeChat{}
	bad := p.grant(s, wx)
	wx.stall()
	var both sync.WaitGroup
	both.Go(func() {
		_, err := s.Replace(t.Context(), id, bad, asks(func(ctx context.Context, refresh seal.Secret) (Answer, error) {
			a, err := wx.Send(ctx, refresh)
			return a, errors.Join(err, ctx.Err())
		}))
		if err != nil {
			t.Errorf("got %v, want the request left to end", err)
		}
	})
	wx.waitFor(t, 1)
	both.Go(func() { _ = s.mirror.Close() })
	time.Sleep(50 * time.Millisecond)
	wx.goOn()
	both.Wait()
	p.newestStored(s, wx)
}

func TestWhileSQLIsUnavailableTheKnownTokenServesOnEveryReplica(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, other, wx := p.replica(Authorizer), p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		p.sqlGoes()
		for _, replica := range []*Store{s, other} {
			if got, err := replica.Get(t.Context(), id, wx); err != nil || got.Version != bad {
				t.Errorf("got %v, %v, want the last known", got, err)
			}
			if _, err := replica.Replace(t.Context(), id, bad, wx); !errors.Is(err, db.ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable: nothing is refreshed that could not be stored", err)
			}
		}
		p.sqlReturns()
		wx.asked(t, 0)
	})
}

func TestAnOlderRowDoesNotReplaceANewerKnownToken(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		p.grant(s, wx)
		newer := mirror.Versioned{Secret: seal.NewSecret("access newer"), Version: int64(p.now().Add(time.Hour).UnixMilli()), Expires: p.now().Add(time.Hour)}
		s.newest.Put(t.Context(), string(id), newer)
		if _, err := s.read(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		got, err := s.Get(t.Context(), id, wx)
		if err != nil || int64(got.Version) != newer.Version {
			t.Errorf("got %v, %v, want what is newer than SQL's", got, err)
		}
		next, err := s.Replace(t.Context(), id, got.Version, wx)
		if err != nil || next.Version != got.Version+1 {
			t.Errorf("got version %d, %v, want one above what was rejected", next.Version, err)
		}
	})
}

func TestAnOlderRowDoesNotServeAfterTheKnownTokenExpired(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		old := p.grant(s, wx)
		s.newest.Put(t.Context(), string(id), mirror.Versioned{Secret: seal.NewSecret("expired"), Version: int64(old + 1), Expires: p.now()})
		if got, err := s.Get(t.Context(), id, wx); err != nil || got.Version <= old+1 {
			t.Errorf("got %v, %v, want a newer one: SQL's was replaced at WeChat", got, err)
		}
		wx.asked(t, 1)
	})
}

func TestACallerGetsAKnownNewerTokenInsteadOfTheAnswer(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		newer := Version(p.now().Add(time.Hour).UnixMilli())
		got, err := s.Replace(t.Context(), id, bad, asks(func(ctx context.Context, refresh seal.Secret) (Answer, error) {
			s.newest.Put(ctx, string(id), mirror.Versioned{Secret: seal.NewSecret("newer"), Version: int64(newer), Expires: p.now().Add(time.Hour)})
			return wx.Send(ctx, refresh)
		}))
		if err != nil || got.Version != newer {
			t.Errorf("got %v, %v, want the newest that is known", got, err)
		}
	})
}

func TestBackOffRepeatsOnlyTheErrorOfTheLastClaim(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, other := p.replica(Authorizer), p.replica(Authorizer)
		bad := p.grant(s, &fakeWeChat{})
		_, err := s.Replace(t.Context(), id, bad, failing(ErrDead))
		if !errors.Is(err, ErrDead) {
			t.Fatal(err)
		}
		p.pass(time.Minute)
		_, _ = other.Replace(t.Context(), id, bad, failing(p.unreachable(t)))
		if _, err := s.Replace(t.Context(), id, bad, failing(ErrDead)); !errors.Is(err, ErrBackOff) || errors.Is(err, ErrDead) {
			t.Errorf("got %v, want a rest without an error of the past", err)
		}
	})
}

func TestAProcessWhoseClockIsAheadStillGetsATokenWithinTheLimit(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		old := p.grant(s, wx)
		s.clock = func() time.Time { return p.now().Add(3 * time.Hour) }
		got, err := s.Get(t.Context(), id, wx)
		if err != nil || got.Version <= old {
			t.Errorf("got %v, %v, want it claimed although it lives by the database's clock", got, err)
		}
		for range 20 {
			if got, err = s.Get(t.Context(), id, wx); err != nil || got.Access.IsZero() {
				t.Fatalf("got %v, %v, want a token all the same", got, err)
			}
		}
		wx.asked(t, 5) // and no more: the clock is wrong, not the tokens
	})
}

func TestARejectedTokenIsReplacedFiveTimesInTenMinutes(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		version := p.grant(s, wx)
		for range 5 {
			got, err := s.Replace(t.Context(), id, version, wx)
			if err != nil {
				t.Fatal(err)
			}
			version = got.Version
		}
		if _, err := s.Replace(t.Context(), id, version, wx); !errors.Is(err, ErrLimited) {
			t.Errorf("got %v, want ErrLimited", err)
		}
		if got, err := s.Replace(t.Context(), id, version-1, wx); err != nil || got.Version != version {
			t.Errorf("got %v, %v for an older one, want the newer one unasked", got, err)
		}
		wx.asked(t, 5)
	})
}

func TestAnExpiredTokenIsReplacedOnDemand(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		old := p.grant(s, wx)
		p.pass(48 * time.Hour)
		if due, err := s.Due(t.Context(), 10); err != nil || len(due) != 1 {
			t.Errorf("got %v, %v, want it looked at", due, err)
		}
		if err := s.Renew(t.Context(), id, wx); err != nil {
			t.Fatal(err)
		}
		if due, err := s.Due(t.Context(), 10); err != nil || len(due) != 0 {
			t.Errorf("got %v, %v, want it left to lapse: nobody called for long", due, err)
		}
		wx.asked(t, 0)
		if got, err := s.Get(t.Context(), id, wx); err != nil || got.Version <= old {
			t.Errorf("got %v, %v, want a new one on demand", got, err)
		}
		wx.asked(t, 1)
	})
}

func TestUsesAreWrittenToSQLEveryFiveMinutes(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		p.grant(s, wx)
		p.pass(73 * time.Minute)
		p.due(s, string(id)) // its early time has passed
		if err := s.Renew(t.Context(), id, wx); err != nil {
			t.Fatal(err)
		}
		wx.asked(t, 0) // not called within the hour before
		p.due(s, "")
		if _, ok := s.Known(id); !ok {
			t.Fatal("got nothing known")
		}
		p.pass(5 * time.Minute)
		p.due(s, string(id)) // called since
		p.renewed(s, wx)
		before := p.used()
		s.Known(id)
		p.pass(time.Minute)
		p.due(s, "")
		if p.used() != before {
			t.Error("got the use written at once, want it once a few minutes")
		}
		p.pass(5 * time.Minute)
		p.due(s, "")
		if p.used() <= before {
			t.Error("got the use never written")
		}
	})
}

func TestAUseAnsweredFromSQLIsWritten(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		p.grant(s, wx)
		before := p.used()
		fresh := p.replica(Authorizer)
		if _, err := fresh.Get(t.Context(), id, wx); err != nil {
			t.Fatal(err)
		}
		fresh.newest.TakeUsed() // as if it did not stay in the process
		p.due(fresh, "")
		if p.used() <= before {
			t.Error("got the use never written")
		}
	})
}

func TestUsesThatSQLDidNotStoreAreWrittenLater(t *testing.T) {
	p := newPlatform(t, dbtest.SQLiteURL(t), "")
	s, wx := p.replica(Authorizer), &fakeWeChat{}
	p.grant(s, wx)
	before := p.used()
	s.Known(id)
	p.sqlGoes()
	if _, err := s.Due(t.Context(), 10); !errors.Is(err, db.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	p.sqlReturns()
	p.pass(6 * time.Minute)
	p.due(s, "")
	if p.used() <= before {
		t.Error("got the use lost, want it written when SQL is back")
	}
}

// Replicas that keep running while an older dump is restored, as in a failover to a standby that
// lags, know what the row has lost.
func TestARestoredRowIsSuspectOnceItsTokenIsUsed(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		p.exec(`CREATE TABLE dump AS SELECT * FROM tokens`)
		if _, err := s.Replace(t.Context(), id, bad, wx); err != nil {
			t.Fatal(err)
		}
		p.due(s, "")
		p.suspect(s, false)
		p.exec(`DELETE FROM tokens`)
		p.exec(`INSERT INTO tokens SELECT * FROM dump`)
		p.pass(6 * time.Minute)
		s.Known(id)
		p.due(s, "")
		p.suspect(s, true)
		p.pass(64 * time.Second)
		p.renewed(s, wx)
		p.suspect(s, false)
		p.newestStored(s, wx)
	})
}

func TestDueListsTheMostUrgentFirst(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s := p.replica(Authorizer)
		for id, row := range map[string][3]int{"a-later": {1, 2000, 0}, "b-sooner": {2, 1000, 0}, "c-suspect": {3, 3000, 1}, "d-not-due": {0, 1, 1}} {
			p.exec(`INSERT INTO tokens (kind, id, access, refresh, spare, due, expires_at, unsettled_until) VALUES ('authorizer', $1, $2, $2, $2, $3, $4, $5)`,
				id, []byte{}, row[0], row[1], row[2])
		}
		p.due(s, "c-suspect b-sooner a-later")
		if due, err := s.Due(t.Context(), 1); err != nil || len(due) != 1 {
			t.Errorf("got %v, %v, want one", due, err)
		}
	})
}

// An owner with very many due rows delays nobody, and within an owner what expires first comes
// first.
func TestDueIsFairBetweenOwners(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s := p.replica(Authorizer)
		now := p.now().UnixMilli()
		for i := range 1200 {
			owner, id := "huge", fmt.Sprintf("wxhuge%010d", i)
			if i >= 1000 {
				owner, id = fmt.Sprint("small", i), fmt.Sprintf("wxsmall%09d", i)
			}
			p.exec(`INSERT INTO tokens (kind, id, owner, access, refresh, spare, due, expires_at) VALUES ('authorizer', $1, $2, $3, $3, $3, $4, $5)`,
				id, owner, []byte{}, now-2000+int64(i), now+time.Hour.Milliseconds()+int64(i))
		}
		got, err := s.Due(t.Context(), 201)
		if err != nil || len(got) != 201 || got[0] != "wxhuge0000000000" {
			t.Fatalf("got %d, first %v, %v, want the one that expires first of all", len(got), got[:1], err)
		}
		for _, id := range got[1:] {
			if !strings.HasPrefix(string(id), "wxsmall") {
				t.Fatalf("got %s among the first 201, want each owner's first before anybody's second", id)
			}
		}
	})
}

func TestSuspectAndOverdueRowsAlternate(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s := p.replica(Authorizer)
		now, minute := p.now().UnixMilli(), time.Minute.Milliseconds()
		for id, row := range map[string][2]int64{ // expires, unsettled
			"a-imported": {0, now}, "b-early": {now + 60*minute, 0}, "c-late": {now + 20*minute, 0}, "d-later": {now + 24*minute, 0}, "e-suspect": {now + 70*minute, now}, "f-suspect": {now + 80*minute, now},
		} {
			p.exec(`INSERT INTO tokens (kind, id, access, refresh, spare, due, expires_at, unsettled_until) VALUES ('authorizer', $1, $2, $2, $2, $3, $4, $5)`,
				id, []byte{}, now-minute, row[0], row[1])
		}
		p.due(s, "e-suspect c-late f-suspect d-later b-early a-imported")
	})
}

func TestSetOwnerReplacesTheOwner(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		p.grant(s, wx)
		for _, owner := range []Owner{"one", "two", ""} {
			if err := s.SetOwner(t.Context(), s.db, id, owner); err != nil {
				t.Fatal(err)
			}
			bad, _ := s.Version(t.Context(), s.db, id)
			p.pass(time.Hour)
			if _, err := s.Replace(t.Context(), id, bad, wx); err != nil { // which saves the row
				t.Fatal(err)
			}
			if got, err := db.One(t.Context(), s.db, db.Value[Owner], `SELECT owner FROM tokens WHERE id = $1`, id); err != nil || got != owner {
				t.Errorf("got %q, %v, want %q", got, err, owner)
			}
		}
	})
}

// If ranking a backlog takes too long, only the rows that are due for longest are ranked.
func TestDueListsPartOfABacklogThatIsTooLargeToRank(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		p.grant(s, wx)
		p.pass(time.Hour)
		slow := int64(rankedLeast) // statements that look at more than so many rows are given up
		s.db.Gate = func(_ context.Context, _ string, args []any) db.Fate {
			if len(args) == 6 && slices.ContainsFunc(args, func(arg any) bool { n, is := arg.(int); return is && int64(n) > slow }) {
				return db.Refused
			}
			return db.Done
		}
		p.due(s, string(id))
		slow = 0
		if due, err := s.Due(t.Context(), 10); !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("got %v, %v, want it said that nothing could be listed", due, err)
		}
	})
}

func TestAWarmTokenIsInUseAgainAfterACall(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		p.grant(s, wx)
		warm := func(want int) {
			t.Helper()
			if got, err := s.Warm(t.Context(), 10); err != nil || len(got) != want {
				t.Errorf("got %v, %v as warm, want %d", got, err, want)
			}
		}
		p.exec(`UPDATE tokens SET used_at = $1`, p.now().Add(-25*time.Hour).UnixMilli())
		p.pass(110 * time.Minute)
		p.due(s, string(id)) // the grant assumed that it would be used
		if err := s.Renew(t.Context(), id, wx); err != nil {
			t.Fatal(err)
		}
		wx.asked(t, 0)
		p.due(s, "")
		warm(1)
		if b, err := s.Backlog(t.Context()); err != nil || b.Due != 0 {
			t.Errorf("got %+v, %v, want what waits for the budget not called late", b, err)
		}
		if err := s.Renew(t.Context(), id, wx); err != nil {
			t.Fatal(err)
		}
		wx.asked(t, 1)
		warm(0)
		p.pass(110 * time.Minute)
		warm(1)
		if _, err := s.Get(t.Context(), id, wx); err != nil {
			t.Fatal(err)
		}
		p.due(s, string(id)) // which writes the use to SQL
		warm(0)
	})
}

func TestAClaimThatTookTooLongSendsNothing(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		p.grant(s, wx)
		_, err := (&attempt{Store: s, asker: wx}).send(t.Context(), seal.Secret{}, time.Now().Add(-s.times.Lease+s.times.Call-time.Millisecond))
		if !errors.Is(err, ErrInconclusive) || !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("got %v, want nothing sent", err)
		}
		wx.asked(t, 0)
	})
}

func TestAClaimThatTookTooLongIsRepeatedOnce(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		fits := s.times.Lease
		s.times.Lease = s.times.Call // no claim is quick enough for that
		if _, err := s.Replace(t.Context(), id, bad, wx); !errors.Is(err, errTooLate) {
			t.Errorf("got %v where every claim takes too long, want errTooLate", err)
		}
		wx.asked(t, 0)
		late := 0
		_, err := s.Replace(t.Context(), id, bad, preparing{wx, func() {
			if late++; late == 2 {
				s.times.Lease = fits
			}
		}})
		if err != nil || late != 2 {
			t.Errorf("got %v after %d claims, want a token by the second", err, late)
		}
		wx.asked(t, 1)
	})
}

func TestAnAnswerWithoutAnAccessTokenIsAFailure(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		if _, err := s.Replace(t.Context(), id, bad, asks(func(context.Context, seal.Secret) (Answer, error) { return Answer{}, nil })); !errors.Is(err, errNoAccess) {
			t.Errorf("got %v, want errNoAccess", err)
		}
		p.suspect(s, true)
	})
}

func TestASealedTokenDoesNotOpenInAnotherRow(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		p.grant(s, wx)
		p.exec(`UPDATE tokens SET id = 'wxmoved' WHERE id = $1`, id)
		if _, err := p.replica(Authorizer).Get(t.Context(), "wxmoved", wx); !errors.Is(err, seal.ErrForged) {
			t.Errorf("got %v, want ErrForged", err)
		}
	})
}

func TestAMissedNotificationIsReadWhileTheOldTokenServes(t *testing.T) {
	p := newPlatform(t, dbtest.SQLiteURL(t), "")
	s, wx := p.replica(Authorizer), &fakeWeChat{}
	p.redis = "redis://127.0.0.1:1"
	other := p.replica(Authorizer) // it publishes nothing
	p.grant(s, wx)
	p.exec(`ALTER TABLE meta RENAME TO gone`)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.mirror.Run(ctx) }()
	defer func() { cancel(); <-done }()
	p.within(time.Minute, s.mirror.SQLUnavailable)
	newer := p.grant(other, wx)
	p.exec(`ALTER TABLE gone RENAME TO meta`)
	p.within(5*time.Second, func() bool { got, ok := s.Known(id); return ok && got.Version == newer })
	wx.asked(t, 0)
}

func TestKnownAllocatesNothing(t *testing.T) {
	p := newPlatform(t, dbtest.SQLiteURL(t), "")
	s, wx := p.replica(Authorizer), &fakeWeChat{}
	p.grant(s, wx)
	if n := testing.AllocsPerRun(1000, func() { s.Known(id) }); n > 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}

func TestTimesOutOfOrderAreRefused(t *testing.T) {
	times := DefaultTimes()
	times.Call = times.Lease
	if _, err := New(Authorizer, nil, nil, nil, times); err == nil {
		t.Error("got a store, want an error")
	}
}

func BenchmarkHit(b *testing.B) {
	d := dbtest.SQLite(b)
	ring := dbtest.Ring(b)
	m, err := mirror.Open(b.Context(), seal.Secret{}, d, ring)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	s, err := New(Component, d, m, ring, DefaultTimes())
	if err != nil {
		b.Fatal(err)
	}
	wx := &fakeWeChat{silent: true}
	ask := wx
	if _, err := s.Get(b.Context(), id, ask); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_, _ = s.Get(b.Context(), id, ask)
	}
}

// platform is one database and one Redis with replicas, which share a clock.
type platform struct {
	t      *testing.T
	url    string
	redis  string
	ring   *seal.Ring
	offset atomic.Int64
	still  time.Time // unless zero, only pass moves the clock
	first  *db.DB
}

// each runs test on SQLite with an in-process Redis, and on PostgreSQL and a Redis server
// together, if they are configured.
func each(t *testing.T, test func(t *testing.T, p *platform)) {
	t.Helper()
	t.Parallel()
	t.Run("sqlite+miniredis", func(t *testing.T) { t.Parallel(); test(t, newPlatform(t, dbtest.SQLiteURL(t), "")) })
	redis := dbtest.RedisURLs(t)
	engine, url := "postgres", dbtest.PostgresURL
	if testenv.Get("TEST_POSTGRES_URL") == "" {
		t.Log("without PostgreSQL: TEST_POSTGRES_URL is not set; make test brings one up")
		if engine, url = "sqlite", dbtest.SQLiteURL; len(redis) == 1 {
			return
		}
	}
	t.Run(engine+"+redis", func(t *testing.T) { t.Parallel(); test(t, newPlatform(t, url(t), redis[len(redis)-1])) })
}

func newPlatform(t *testing.T, url, redis string) *platform {
	if redis == "" {
		redis = "redis://" + miniredis.RunT(t).Addr()
	}
	redis += "?read_timeout=1s" // a busy machine is not a Redis that failed
	return &platform{t: t, url: url, redis: redis, ring: dbtest.Ring(t)}
}

func (p *platform) now() time.Time {
	if !p.still.IsZero() {
		return p.still.Add(time.Duration(p.offset.Load()))
	}
	return time.Now().Add(time.Duration(p.offset.Load()))
}

func (p *platform) pass(d time.Duration) { p.offset.Add(int64(d)) }

// standsStill stops the clock: only pass moves it. Call it before replica.
func (p *platform) standsStill() { p.still = time.Now() }

// replica returns a store with its own connections and caches, as another process has.
func (p *platform) replica(kind Kind) *Store {
	p.t.Helper()
	d := dbtest.Open(p.t, p.url)
	d.Clock, d.Own = p.now, p.now
	if p.first == nil {
		p.first = d
	}
	m, err := mirror.Open(p.t.Context(), seal.NewSecret(p.redis), d, p.ring)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = m.Close() })
	s, err := New(kind, d, m, p.ring, DefaultTimes())
	if err != nil {
		p.t.Fatal(err)
	}
	s.clock = p.now
	return s
}

func (p *platform) grant(s *Store, wx *fakeWeChat) Version {
	p.t.Helper()
	var publish Publish
	err := s.db.Tx(p.t.Context(), func(tx *db.Tx) error {
		now, err := tx.Now(p.t.Context())
		if err == nil {
			publish, err = s.Grant(p.t.Context(), tx, id, now, wx.give())
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	publish(p.t.Context())
	p.pass(20 * time.Second) // long enough after the exchange for a clean refresh
	v, err := s.Version(p.t.Context(), s.db, id)
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

func (p *platform) retire(s *Store, id wechat.AppID) {
	p.t.Helper()
	var publish Publish
	err := s.db.Tx(p.t.Context(), func(tx *db.Tx) (err error) {
		publish, err = s.Retire(p.t.Context(), tx, id)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	publish(p.t.Context())
}

func (p *platform) spare(s *Store, refresh string) (taken bool, err error) {
	err = s.db.Tx(p.t.Context(), func(tx *db.Tx) error {
		taken, err = s.AddSpare(p.t.Context(), tx, id, seal.NewSecret(refresh))
		return err
	})
	return taken, err
}

// vanish claims the row as a process does that is killed before it can send.
func (p *platform) vanish(s *Store) {
	p.t.Helper()
	if err := s.change(p.t.Context(), id, func(r *row, m instant) error { r.claim(m, 0); return nil }); err != nil {
		p.t.Fatal(err)
	}
}

func (p *platform) suspect(s *Store, want bool) {
	p.t.Helper()
	r, err := s.table.load(p.t.Context(), id)
	if err != nil || !r.unsettled.IsZero() != want {
		p.t.Errorf("got suspect %v, %v, want %v", !r.unsettled.IsZero(), err, want)
	}
}

func (p *platform) used() int64 {
	p.t.Helper()
	v, err := db.One(p.t.Context(), p.first, db.Value[int64], `SELECT used_at FROM tokens WHERE id = $1`, id)
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

func (p *platform) due(s *Store, want string) {
	p.t.Helper()
	got, err := s.Due(p.t.Context(), 10)
	if text := strings.Trim(fmt.Sprint(got), "[]"); err != nil || text != want {
		p.t.Errorf("got %q due, %v, want %q", text, err, want)
	}
}

// renewed checks that the row is due now and that a keeper renews it.
func (p *platform) renewed(s *Store, wx *fakeWeChat) {
	p.t.Helper()
	p.due(s, string(id))
	before := wx.count()
	if err := s.Renew(p.t.Context(), id, wx); err != nil || wx.count() != before+1 {
		p.t.Errorf("got %v after %d requests, want one", err, wx.count()-before)
	}
}

func (p *platform) newestStored(s *Store, wx *fakeWeChat) {
	p.t.Helper()
	r, err := s.table.load(p.t.Context(), id)
	if want := wx.newest(); err != nil || r.access.Reveal() != want {
		p.t.Errorf("got %q, %v stored, want %q", r.access.Reveal(), err, want)
	}
}

func (p *platform) exec(text string, args ...any) {
	p.t.Helper()
	if _, err := db.Exec(p.t.Context(), p.first, text, args...); err != nil {
		p.t.Error(err)
	}
}

// While SQL is unavailable its table does not exist, which is an error like any other.
func (p *platform) sqlGoes()    { p.exec(`ALTER TABLE tokens RENAME TO gone`) }
func (p *platform) sqlReturns() { p.exec(`ALTER TABLE gone RENAME TO tokens`) }

func (p *platform) within(d time.Duration, ok func() bool) {
	p.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	p.t.Errorf("got nothing within %v", d)
}

// wire returns the error that the real client makes of an answer.
func (p *platform) wire(t *testing.T, status int, body string) error {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	defer server.Close()
	return p.call(t, server.URL)
}

// unreachable returns the error of the real client if nothing listens.
func (p *platform) unreachable(t *testing.T) error {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	return p.call(t, server.URL)
}

func (p *platform) call(t *testing.T, base string) error {
	client := wechat.NewClient(base, wechat.Observer{})
	defer client.CloseIdle()
	_, err := client.Do(t.Context(), wechat.Call{Method: http.MethodPost, Path: "/cgi-bin/component/api_authorizer_token"})
	if err == nil {
		t.Fatal("got no error, want one of the wire")
	}
	return err
}

// asks is an Asker that has nothing to prepare or to conclude.
type asks func(ctx context.Context, refresh seal.Secret) (Answer, error)

func (a asks) Prepare(context.Context) error { return nil }

func (a asks) Send(ctx context.Context, refresh seal.Secret) (Answer, error) { return a(ctx, refresh) }

func (a asks) Conclude(_ context.Context, err error) error { return err }

// preparing calls prepare before each claim.
type preparing struct {
	Asker
	prepare func()
}

func (p preparing) Prepare(ctx context.Context) error {
	p.prepare()
	return p.Asker.Prepare(ctx)
}

func failing(err error) asks {
	return func(context.Context, seal.Secret) (Answer, error) { return Answer{}, err }
}

// fakeWeChat gives tokens. Each has its own refresh token, and the last two of these are accepted.
type fakeWeChat struct {
	takes  time.Duration
	silent bool // gives no refresh token, as for the component token

	mu      sync.Mutex
	given   int
	asks    int
	refresh string
	before  string
	gate    chan struct{}
}

func (w *fakeWeChat) give() Answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.given++
	a := Answer{Access: seal.NewSecret(fmt.Sprint("access ", w.given)), ExpiresIn: 2 * time.Hour}
	if !w.silent {
		w.before, w.refresh = w.refresh, fmt.Sprint("refresh ", w.given)
		a.Refresh = seal.NewSecret(w.refresh)
	}
	return a
}

func (w *fakeWeChat) Prepare(context.Context) error { return nil }

func (w *fakeWeChat) Conclude(_ context.Context, err error) error { return err }

func (w *fakeWeChat) Send(_ context.Context, refresh seal.Secret) (Answer, error) {
	w.mu.Lock()
	w.asks++
	gate := w.gate
	w.mu.Unlock()
	if gate != nil {
		<-gate
	}
	time.Sleep(w.takes)
	w.mu.Lock()
	known := w.silent || refresh.Reveal() == w.refresh || refresh.Reveal() == w.before
	w.mu.Unlock()
	if !known {
		return Answer{}, fmt.Errorf("%w: 61023", ErrDead)
	}
	return w.give(), nil
}

// over sends the request to behind once this one lets it through.
func (w *fakeWeChat) over(behind *fakeWeChat) asks {
	return func(ctx context.Context, refresh seal.Secret) (Answer, error) {
		w.mu.Lock()
		w.asks++
		gate := w.gate
		w.mu.Unlock()
		<-gate
		return behind.Send(ctx, refresh)
	}
}

func (w *fakeWeChat) stall() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gate = make(chan struct{})
}

func (w *fakeWeChat) goOn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.gate)
	w.gate = nil
}

func (w *fakeWeChat) revoke(newest string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before, w.refresh = "", newest
}

func (w *fakeWeChat) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asks
}

func (w *fakeWeChat) newest() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprint("access ", w.given)
}

func (w *fakeWeChat) asked(t *testing.T, want int) {
	t.Helper()
	if got := w.count(); got != want {
		t.Errorf("got %d requests, want %d", got, want)
	}
}

func (w *fakeWeChat) waitFor(t *testing.T, asks int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); w.count() < asks; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("got no request")
		}
	}
}

func clearBackOff(t *testing.T, s *Store) {
	t.Helper()
	if err := s.db.Tx(t.Context(), func(tx *db.Tx) error { return s.ClearBackOff(t.Context(), tx, id) }); err != nil {
		t.Fatal(err)
	}
}

// WeChat gives a rotated refresh token once, also in an answer whose access token cannot be read.
func TestARefreshTokenOfAnIncompleteAnswerIsTriedAfterARefusal(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		halves := func(context.Context, seal.Secret) (Answer, error) {
			return Answer{Refresh: seal.NewSecret("rotated")}, nil
		}
		if _, err := s.Replace(t.Context(), id, bad, asks(halves)); err == nil {
			t.Fatal("got a token, want none in half an answer")
		}
		clearBackOff(t, s)
		var tried []string
		ask := func(_ context.Context, refresh seal.Secret) (Answer, error) {
			tried = append(tried, refresh.Reveal())
			if refresh.Reveal() != "rotated" {
				return Answer{}, ErrDead
			}
			return Answer{Access: seal.NewSecret("newer"), ExpiresIn: time.Hour}, nil
		}
		got, err := s.Replace(t.Context(), id, bad, asks(ask))
		if err != nil || got.Access.Reveal() != "newer" || len(tried) != 2 {
			t.Errorf("got %v, %v by %q, want the token by the rotated one", got, err, tried)
		}
	})
}
