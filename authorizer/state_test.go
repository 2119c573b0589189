package authorizer

import (
	"testing"
	"time"

	"wxplatform/token"
)

var (
	dead        = effect{state: Degraded, reason: "61023", seek: true}
	busy        = effect{state: Degraded, reason: "busy"}
	quotaUsedUp = effect{state: Quota, reason: "45009"}
)

func at(s int) time.Time { return time.Unix(int64(s), 0) }

var healthy = condition{State: Healthy, Since: at(1)}

func TestAFailureKeepsTheTimeItBegan(t *testing.T) {
	c := healthy.failed(busy, 7, at(10))
	if c != (condition{State: Degraded, Reason: "busy", Since: at(10), Version: 7}) {
		t.Errorf("got %+v", c)
	}
	c = c.failed(quotaUsedUp, 7, at(20))
	if c.State != Quota || c.Since != at(20) {
		t.Errorf("got %+v, want quota since 20", c)
	}
	if again := c.failed(quotaUsedUp, 7, at(30)); again != c {
		t.Errorf("got %+v, want nothing new", again)
	}
	if c = c.succeeded(at(40)); c != (condition{State: Healthy, Since: at(40)}) {
		t.Errorf("got %+v, want healthy and nothing left", c)
	}
	if again := c.succeeded(at(50)); again != c {
		t.Errorf("got %+v, want nothing new", again)
	}
}

func TestASearchBeginsWithTheFirstRefusal(t *testing.T) {
	c := healthy.failed(dead, 7, at(10))
	if c.State != Degraded || c.Sought != at(10) || c.Next != at(10) {
		t.Fatalf("got %+v, want another refresh token looked for", c)
	}
	if again := c.failed(dead, 7, at(20)); again != c {
		t.Errorf("got %+v, want the first refusal kept, or no walk would ever be late enough", again)
	}
	if again := c.failed(busy, 7, at(20)); again != c {
		t.Errorf("got %+v, want the reason kept", again)
	}
	if c = c.withoutSearch(); !c.Sought.IsZero() || !c.Next.IsZero() || c.State != Degraded {
		t.Errorf("got %+v, want nothing looked for, and the state kept until a success", c)
	}
	if c = c.failed(dead, 7, at(30)); c.Sought != at(30) || c.Since != at(10) {
		t.Errorf("got %+v, want a new search", c)
	}
}

func TestOnlyAWalkBegunAfterTheRefusalEndsASearch(t *testing.T) {
	c := healthy.failed(dead, 7, at(10))
	for name, got := range map[string]condition{
		"begun before":                    c.listed(at(9), 7, at(60)),
		"begun in the same millisecond":   c.listed(at(10), 7, at(60)),
		"the token is another one by now": c.listed(at(11), 8, at(60)),
		"nothing was looked for":          c.withoutSearch().listed(at(11), 7, at(60)).failed(dead, 7, at(10)),
	} {
		if got != c {
			t.Errorf("%s: got %+v, want nothing concluded", name, got)
		}
	}
	got := c.listed(at(11), 7, at(60))
	if got.State != Reauthorize || got.Since != at(60) || got.Next != at(60).Add(24*time.Hour) || !got.Sought.IsZero() || got.Reason == "" {
		t.Errorf("got %+v, want it to authorize again, and a try tomorrow", got)
	}
	if after := got.withoutSearch(); after != got {
		t.Errorf("got %+v after a listed refresh token, want the try tomorrow kept", after)
	}
}

func TestOnlyASuccessOrTheMerchantEndsReauthorize(t *testing.T) {
	c := healthy.failed(passwordChanged, 7, at(10))
	for _, v := range []effect{dead, busy, quotaUsedUp, passwordChanged, {}} {
		if got := c.failed(v, 8, at(20)); got != c {
			t.Errorf("%+v: got %+v, want it kept", v, got)
		}
	}
	if got := c.succeeded(at(20)); got.State != Healthy {
		t.Errorf("got %+v, want healthy", got)
	}
}

func TestOnlyTheMerchantEndsRevoked(t *testing.T) {
	c := healthy.failed(dead, 7, at(5)).withdrawn(at(10))
	if c != (condition{State: Revoked, Reason: c.Reason, Since: at(10)}) {
		t.Errorf("got %+v, want nothing looked for any more", c)
	}
	for _, got := range []condition{c.failed(passwordChanged, 7, at(20)), c.failed(dead, 7, at(20)), c.succeeded(at(20)), c.listed(at(20), 7, at(20)), c.withdrawn(at(20))} {
		if got != c {
			t.Errorf("got %+v, want it kept", got)
		}
	}
}

func TestAccountsMissingInAList(t *testing.T) {
	l := lastListed{state: Healthy, listed: at(10), authorized: at(10), created: at(10)}
	if !l.missing(at(20)) {
		t.Error("got it there, want it missing")
	}
	seen, new, again, gone := l, l, l, l
	seen.listed, new.created, again.authorized, gone.state = at(20), at(21), at(21), Revoked
	for name, l := range map[string]lastListed{"seen": seen, "new": new, "authorized since": again, "withdrawn": gone} {
		if l.missing(at(20)) {
			t.Errorf("%s: got it missing", name)
		}
	}
}

func TestNextAttemptIsTheEarliest(t *testing.T) {
	for _, c := range []struct {
		a    Authorizer
		h    token.Health
		walk time.Time
		want time.Time
	}{
		{a: Authorizer{State: Healthy, Next: at(1)}, h: token.Health{Retry: at(1)}},
		{a: Authorizer{State: Revoked}, h: token.Health{Retry: at(1)}},
		{a: Authorizer{State: Degraded}, h: token.Health{Retry: at(9)}, walk: at(1), want: at(9)},
		{a: Authorizer{State: Degraded, Sought: at(4), Next: at(5)}, h: token.Health{Retry: at(9)}, walk: at(1), want: at(5)},
		{a: Authorizer{State: Degraded, Sought: at(4), Next: at(5)}, h: token.Health{Retry: at(9)}, walk: at(7), want: at(7)},
		{a: Authorizer{State: Degraded, Sought: at(4), Next: at(5)}, h: token.Health{Retry: at(9)}, walk: at(11), want: at(9)},
		{a: Authorizer{State: Reauthorize, Next: at(7)}, h: token.Health{Retry: at(9)}, want: at(7)},
		{a: Authorizer{State: Quota}},
	} {
		if got := c.a.nextAttempt(c.h, c.walk); got != c.want {
			t.Errorf("%+v %+v: got %v, want %v", c.a, c.h, got, c.want)
		}
	}
}
