package token

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wxplatform/internal/seal"
	"wxplatform/wechat"
)

func TestHealthOfAToken(t *testing.T) {
	h := granted(t)
	for left, want := range map[int]Freshness{2000: Fresh, 500: Expiring, 9: Expiring, 8: Expired} {
		if got := h.r.health(h.r.expires.Add(-time.Duration(left)*time.Second), DefaultTimes()); got.Freshness != want || got.Expires != h.r.expires || !got.Retry.IsZero() {
			t.Errorf("%d s before its end: got %+v, want %s", left, got, want)
		}
	}
	h.r.fail(h.claim(7200), refused, at(7200))
	if got := h.r.health(at(7200).now, DefaultTimes()); got.Retry != h.r.due || got.Retry.IsZero() {
		t.Errorf("got %+v, want when it is asked for again", got)
	}
	if got := (&row{}).health(at(0).now, DefaultTimes()); got.Freshness != Missing {
		t.Errorf("got %+v, want none", got)
	}
}

func TestNobodyAsksBeforeNotBefore(t *testing.T) {
	h := granted(t)
	c := h.claim(7200)
	h.r.fail(c, refused, at(7200))
	h.r.bar(c, at(20_000).now, at(7200))
	for s, free := range map[float64]bool{19_999: false, 20_000: true} {
		r := h.r
		r.repair(at(s))
		if got := r.decide(need{newerThan: r.version}, at(s).now, at(s)) == claimable; got != free {
			t.Errorf("at %v: got callers free %v, want %v", s, got, free)
		}
		if got := r.wanted(at(s)); got != free {
			t.Errorf("at %v: got keepers free %v, want %v", s, got, free)
		}
	}
	offered := h.r
	offered.addSpare(seal.NewSecret("listed"), at(7300))
	if offered.wanted(at(7300)) {
		t.Error("got a refresh token of the list to end the bar, want the quota's end to")
	}
	set := h.r
	set.repair(at(20_000 - 26*3600)) // the clock was set back
	if set.decide(need{newerThan: set.version}, at(7200).now, at(20_000-26*3600)) == backingOff {
		t.Error("got a bar that lasts longer because the clock was set back")
	}
	eager := h.r
	eager.clearBackOff(at(7300))
	if !eager.wanted(at(7300)) || eager.decide(need{newerThan: eager.version}, at(7300).now, at(7300)) != claimable {
		t.Error("got it still barred, want the operator to be obeyed")
	}
	again := h.r
	again.succeed(again.claim(at(20_000), again.version), answer("B"), at(20_000))
	if !again.barred.IsZero() {
		t.Error("got the bar kept after a success")
	}
}

func TestNotBeforeOfALateHolderIsIgnored(t *testing.T) {
	h := granted(t)
	a := h.claim(0)
	h.claim(13)
	h.r.bar(a, at(20_000).now, at(14))
	if !h.r.barred.IsZero() {
		t.Error("got another's claim barred")
	}
}

// counting is an Asker that counts its calls, and whose Prepare and Send may fail.
type counting struct {
	*fakeWeChat
	unprepared, again         error
	prepared, sent, concluded atomic.Int64
	end                       error
}

func (c *counting) Prepare(context.Context) error {
	c.prepared.Add(1)
	return c.unprepared
}

func (c *counting) Send(ctx context.Context, refresh seal.Secret) (Answer, error) {
	if c.sent.Add(1) == 1 && c.again != nil {
		return Answer{}, c.again
	}
	return c.fakeWeChat.Send(ctx, refresh)
}

func (c *counting) Conclude(_ context.Context, err error) error {
	c.concluded.Add(1)
	c.end = err
	return err
}

func TestAFailedPrepareClaimsNothing(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		version := p.grant(s, wx)
		asker := &counting{fakeWeChat: wx, unprepared: errors.New("paused")}
		fresh := p.replica(Authorizer)
		if got, err := fresh.Get(t.Context(), id, asker); err != nil || got.Version != version || asker.prepared.Load() != 0 {
			t.Errorf("got %v, %v after %d preparations, want the stored token and none", got, err, asker.prepared.Load())
		}
		before, err := s.table.load(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fresh.Replace(t.Context(), id, version, asker); !errors.Is(err, asker.unprepared) || asker.end != err {
			t.Errorf("got %v, and %v concluded, want the reason", err, asker.end)
		}
		if err := fresh.Renew(t.Context(), id, asker); !errors.Is(err, asker.unprepared) {
			t.Errorf("got %v for a renewal, want the reason", err)
		}
		if after, err := s.table.load(t.Context(), id); err != nil || after.fence != before.fence || asker.sent.Load() != 0 {
			t.Errorf("got %d requests and fence %d after %d, %v, want nothing claimed", asker.sent.Load(), after.fence, before.fence, err)
		}
	})
}

func TestPrepareIsNotCalledWhileAnotherHoldsTheRow(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		version := p.grant(s, wx)
		p.vanish(s)
		asker := &counting{fakeWeChat: wx}
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if got, err := s.Replace(t.Context(), id, version, asker); err != nil || got.Version <= version {
				t.Errorf("got %v, %v, want a newer token", got, err)
			}
		})
		for s.Counts().Waited == 0 {
			time.Sleep(time.Millisecond)
		}
		if n := asker.prepared.Load(); n != 0 {
			t.Errorf("got %d preparations, want none before the lease ends", n)
		}
		p.pass(13 * time.Second)
		waiting.Wait()
		wx.asked(t, 1)
	})
}

func TestARequestThatIsRetriedAtOnceIsNoFailure(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		version := p.grant(s, wx)
		asker := &counting{fakeWeChat: wx, again: fmt.Errorf("%w: the component token was rejected", ErrRetry)}
		got, err := s.Replace(t.Context(), id, version, asker)
		if err != nil || got.Version <= version {
			t.Errorf("got %v, %v, want a newer token", got, err)
		}
		if p, n, c := asker.prepared.Load(), asker.sent.Load(), asker.concluded.Load(); p != 2 || n != 2 || c != 1 {
			t.Errorf("got %d preparations, %d requests, %d conclusions, want 2, 2 and 1", p, n, c)
		}
		if counts := s.Counts(); counts.NotAsked != 1 || counts.Refused+counts.Unknown != 0 {
			t.Errorf("got %+v, want the first one not counted as a failure", counts)
		}
	})
}

func TestNotStoredReportsRefreshTokensThatTheRowLacks(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		p.grant(s, wx)
		stored, err := s.table.load(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			refresh seal.Secret
			want    bool
		}{"its own": {stored.refresh, false}, "another": {seal.NewSecret("another"), true}, "none": {seal.Secret{}, false}} {
			news, err := s.NotStored(t.Context(), map[wechat.AppID]seal.Secret{id: c.refresh, "wx00000000000000ee": seal.NewSecret("x")})
			if err != nil || news[id] != c.want || !news["wx00000000000000ee"] {
				t.Errorf("%s: got %v, %v, want %v, and a stranger's to be news", name, news, err, c.want)
			}
		}
		health, err := s.Health(t.Context(), []wechat.AppID{id, "wx00000000000000ee"})
		if err != nil || len(health) != 1 || health[id].Version != stored.version {
			t.Errorf("got %v, %v, want the one that is there", health, err)
		}
		if none, err := s.Health(t.Context(), nil); err != nil || len(none) != 0 {
			t.Errorf("got %v, %v, want nothing of nobody", none, err)
		}
	})
}

func TestAFailureHasTheStoredVersion(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		version := p.grant(s, wx)
		until := p.now().Add(time.Hour)
		sent := 0
		ask := func(context.Context, seal.Secret) (Answer, error) {
			sent++
			return Answer{}, &NotBefore{until, ErrDead}
		}
		var failure *Failure
		if _, err := s.Replace(t.Context(), id, version, asks(ask)); !errors.As(err, &failure) || failure.Version != version {
			t.Errorf("got %v, want a failure of version %d", err, version)
		}
		p.pass(time.Minute)
		if _, err := s.Replace(t.Context(), id, version, asks(ask)); !errors.Is(err, ErrBackOff) || sent != 1 {
			t.Errorf("got %v and %d asks, want nothing before the time", err, sent)
		}
		clearBackOff(t, s)
		if _, err := s.Replace(t.Context(), id, version, asks(ask)); errors.Is(err, ErrBackOff) || sent != 2 {
			t.Errorf("got %v and %d asks, want one for the operator", err, sent)
		}
	})
}
