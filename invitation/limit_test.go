package invitation

import (
	"errors"
	"strings"
	"testing"
	"time"

	"wxplatform/internal/seal"
	"wxplatform/quota"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// taken counts how many calls are allowed at noon, of so many attempts.
func taken(t *testing.T, l *limit, of int, by func(n int) Invitation) (allowed int) {
	t.Helper()
	for n := range of {
		err := l.take(by(n), noon)
		tooMany := (*LimitError)(nil)
		switch {
		case err == nil:
			allowed++
		case !errors.As(err, &tooMany) || tooMany.Wait <= 0:
			t.Fatalf("got %v, want a LimitError that says how long to wait", err)
		}
	}
	return allowed
}

func TestInvitationsTenantsAndTheComponentAreLimited(t *testing.T) {
	one := Invitation{hash: "one", Tenant: "t1"}
	many := func(owners int) func(int) Invitation {
		return func(n int) Invitation {
			return Invitation{hash: "i" + string(rune(n)), Tenant: tenant.ID("t" + string(rune('a'+n%owners)))}
		}
	}
	l := newLimit(queryAuth, exchangesEach)
	if got := taken(t, l, 1000, func(int) Invitation { return one }); got != exchangesEach.Burst {
		t.Errorf("got %d calls by one invitation, want %d", got, exchangesEach.Burst)
	}
	if err := l.take(Invitation{hash: "other", Tenant: "t1"}, noon); err != nil {
		t.Errorf("got %v, want one invitation's excess to take nothing from the others of its tenant", err)
	}
	if got := taken(t, newLimit(queryAuth, exchangesEach), 1000, many(1)); got != tenantRate.Burst {
		t.Errorf("got %d calls by one tenant, want %d", got, tenantRate.Burst)
	}
	if got := taken(t, newLimit(queryAuth, exchangesEach), 10_000, many(20)); got != componentRate.Burst {
		t.Errorf("got %d calls by all, want %d", got, componentRate.Burst)
	}
	l.Done(wechat.DayQuota, true, noon)
	pause := (*quota.PauseError)(nil)
	if err := l.take(Invitation{hash: "third", Tenant: "t3"}, noon.Add(time.Second)); !errors.As(err, &pause) {
		t.Errorf("got %v, want a PauseError after 45009", err)
	}
}

func TestWhichCodesOfBrowsersAreSent(t *testing.T) {
	for name, c := range map[string]struct {
		Status
		used
		want error
	}{
		"the first":                          {Pending, used{}, nil},
		"the fifth of a browser":             {Pending, used{byCookie: 4, byBrowsers: 9}, nil},
		"the sixth":                          {Pending, used{byCookie: 5, byBrowsers: 5}, ErrTries},
		"after it was cancelled":             {Cancelled, used{}, ErrEnded},
		"after it was cancelled, and events": {Cancelled, used{byEvents: 1}, ErrEnded},
		"after it expired":                   {Expired, used{}, ErrEnded},
		"after a browser ended it":           {Authorized, used{byBrowsers: 1}, ErrEnded},
		"of the consent that the event told": {Authorized, used{byEvents: 1}, nil},
		"the same, not bound":                {NotBound, used{byEvents: 1}, nil},
		"one more of it":                     {Authorized, used{byEvents: 1, byBrowsers: 1}, ErrEnded},
	} {
		if got := (Invitation{Status: c.Status}).mayExchange(c.used); !errors.Is(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestWhatCanBeAnAuthCode(t *testing.T) {
	for code, want := range map[string]bool{
		"queryauthcode@@@Ab3_-xyz": true, "Cx_Dk6qiBE0Dmx4EmlT3oRfArPvwSQ-oa3NL_fwHM7VI08r52wazoZX2Rhpz1dEw": true,
		strings.Repeat("x", 512): true, strings.Repeat("x", 513): false, "": false, "short": false,
		"queryauthcode@@@ x": false, "queryauthcode@@@\x00": false, "queryauthcode@@@授权": false, "queryauthcode@@@'--": false,
	} {
		if got := plausible(seal.NewSecret(code)); got != want {
			t.Errorf("%q: got %v, want %v", code, got, want)
		}
	}
}

func TestACookieProvesOneInvitation(t *testing.T) {
	id, other := seal.NewSecret("ID"), seal.NewSecret("OTHER")
	proof := newProof(id)
	if !proves(proof, id) || newProof(id).Equal(proof) {
		t.Error("got a cookie that proves nothing, or one that all browsers share")
	}
	for name, wrong := range map[string]seal.Secret{
		"none": {}, "made up": seal.NewSecret("x"), "with an empty MAC": seal.NewSecret("x."), "another invitation's": newProof(other),
		"changed": seal.NewSecret("A" + proof.Reveal()),
	} {
		if proves(wrong, id) {
			t.Errorf("%s: got it accepted", name)
		}
	}
}
