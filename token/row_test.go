package token

import (
	"fmt"
	"testing"
	"time"

	"wxplatform/internal/seal"
)

// history changes one row as its holders do, at seconds after the start. Each ends with the newest
// token stored, or with a suspect row that is refreshed once more, alone (docs/design.md,
// "Custody").
type history struct {
	t *testing.T
	r row
}

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(seconds float64) instant {
	return instant{Times: DefaultTimes(), now: start.Add(time.Duration(seconds * float64(time.Second))), spread: 0.5}
}

// granted is a row whose first token, "first", was obtained an hour before the start and is clean.
func granted(t *testing.T) *history {
	h := &history{t: t}
	h.r.grant(answer("first"), at(-3600).now, at(-3600))
	if !h.r.unsettled.IsZero() || h.r.version == 0 {
		t.Fatalf("got %+v, want the first grant clean", h.r)
	}
	return h
}

func answer(name string) Answer {
	return Answer{Access: seal.NewSecret("access " + name), Refresh: seal.NewSecret("refresh " + name), ExpiresIn: 2 * time.Hour}
}

func (h *history) claim(seconds float64) claim { return h.r.claim(at(seconds), 0) }

func (h *history) stored(name string) {
	h.t.Helper()
	if got := h.r.access.Reveal(); got != "access "+name {
		h.t.Errorf("got %q stored, want that of %s", got, name)
	}
}

func (h *history) spare(name string) {
	h.t.Helper()
	want := "refresh " + name
	if name == "" {
		want = ""
	}
	if got := h.r.spare.Reveal(); got != want {
		h.t.Errorf("got the spare %q, want %q", got, want)
	}
}

// suspectUntil checks that the row is refreshed once more at that second and no sooner, and that
// this ends the suspicion.
func (h *history) suspectUntil(seconds float64) {
	h.t.Helper()
	if r := h.r; r.wanted(at(seconds - 1)) {
		h.t.Errorf("got a refresh at %v, want it to wait for what may still act", seconds-1)
	}
	h.refreshedAlone(seconds)
}

func (h *history) refreshedAlone(seconds float64) {
	h.t.Helper()
	if h.r.unsettled.IsZero() || !h.r.wanted(at(seconds)) {
		h.t.Fatalf("got no refresh at %v, want the suspect row refreshed once more", seconds)
	}
	h.r.succeed(h.claim(seconds), answer("last"), at(seconds+1))
	h.stored("last")
	h.clean()
}

func (h *history) clean() {
	h.t.Helper()
	if !h.r.unsettled.IsZero() || !h.r.spare.IsZero() || !h.r.lease.IsZero() {
		h.t.Errorf("got unsettled until %v, spare %v, lease %v, want the row clean", h.r.unsettled, !h.r.spare.IsZero(), h.r.lease)
	}
}

func TestARefreshAloneIsClean(t *testing.T) {
	h := granted(t)
	c := h.claim(0)
	h.r.succeed(c, answer("A"), at(1))
	h.stored("A")
	h.clean()
	if h.r.version != c.fence {
		t.Errorf("got version %d, want the fence %d", h.r.version, c.fence)
	}
}

func TestAHolderThatStalledAndStoresFirstLeavesTheRowSuspect(t *testing.T) {
	h := granted(t)
	a := h.claim(0)
	b := h.claim(13) // WeChat serves B, then A
	h.r.succeed(a, answer("A"), at(13.5))
	h.r.succeed(b, answer("B"), at(14))
	h.stored("B")
	h.spare("A")
	h.suspectUntil(77) // A's lease was over at 13, by a clock that may have been set: sent by 17 at the latest, acted on until 77
}

func TestALateSuccessIsNotStoredOverANewerOne(t *testing.T) {
	h := granted(t)
	a := h.claim(0)
	b := h.claim(13)
	h.r.succeed(b, answer("B"), at(14))
	h.spare("first")
	h.r.succeed(a, answer("A"), at(100))
	h.stored("B")
	h.spare("A")
	h.suspectUntil(100)
}

func TestAfterAVanishedHolderTheRowIsSuspectUntilItsRequestCannotAct(t *testing.T) {
	h := granted(t)
	h.claim(0) // is killed; its request lands 50 s late
	b := h.claim(12)
	h.r.succeed(b, answer("B"), at(13))
	h.stored("B")
	h.suspectUntil(76)
}

func TestAClaimedRowIsDueWhenItsLeaseEnds(t *testing.T) {
	h := granted(t)
	h.claim(0)
	if r := h.r; r.wanted(at(11)) {
		t.Error("got it claimed during the lease, want it left alone")
	}
	if got, want := h.r.due, at(12).now; got != want {
		t.Errorf("got it due at %v, want the lease's end %v", got, want)
	}
	if !h.r.wanted(at(12)) {
		t.Error("got it left alone, want it claimed when the lease is over")
	}
}

// A process that reads the clock for the first time cannot notice that it was set.
func TestAVanishedHolderCountsAsJustSentAfterTheClockWasSetForward(t *testing.T) {
	h := granted(t)
	h.claim(0)
	h.r.succeed(h.claim(600), answer("B"), at(601))
	h.stored("B")
	h.suspectUntil(664)
}

func TestAnUnsettledRowStaysUnsettledAfterTheClockWasSet(t *testing.T) {
	h := granted(t)
	h.r.fail(h.claim(0), unknown, at(8))
	jumped := at(3600)
	jumped.jumped = true
	h.r.succeed(h.r.claim(jumped, 0), answer("B"), at(3601))
	h.stored("B")
	h.suspectUntil(3664)
}

func TestAnExchangeIsUncleanAfterTheClockWasSet(t *testing.T) {
	h := granted(t)
	h.r.succeed(h.claim(-600), answer("A"), at(-599)) // by a clock that was set back, just after the exchange was sent at 0
	jumped := at(-598)
	jumped.jumped = true
	h.r.grant(answer("X"), at(0).now, jumped)
	h.stored("X")
	h.spare("A")
	h.refreshedAlone(-597)
}

func TestARefreshIsUncleanWhileATimedOutRequestMayAct(t *testing.T) {
	h := granted(t)
	a := h.claim(0)
	h.r.fail(a, unknown, at(8))
	b := h.claim(9)
	h.r.succeed(b, answer("B"), at(10))
	h.stored("B")
	h.suspectUntil(68)
}

func TestAnUnknownOutcomeMakesTheNextHoldersSuccessUnclean(t *testing.T) {
	h := granted(t)
	a := h.claim(0)
	b := h.claim(100)
	h.r.fail(a, unknown, at(110)) // A was paused
	h.r.succeed(b, answer("B"), at(111))
	h.stored("B")
	h.suspectUntil(170)
}

func TestASuccessAfterTheLeaseIsUnclean(t *testing.T) {
	h := granted(t)
	h.r.succeed(h.claim(0), answer("A"), at(12))
	h.stored("A")
	h.spare("first")
	h.suspectUntil(12)
}

func TestALateSuccessMakesASuccessOfTheSameMillisecondUnclean(t *testing.T) {
	h := granted(t)
	a := h.claim(0)
	h.r.succeed(h.claim(200), answer("B"), at(201))
	c := h.claim(264) // all that was sent before is settled
	h.r.succeed(a, answer("A"), at(264))
	h.r.succeed(c, answer("C"), at(265))
	h.stored("C")
	h.refreshedAlone(266)
}

func TestARepeatedCommitChangesNothing(t *testing.T) {
	h := granted(t)
	a := h.claim(0)
	h.r.succeed(a, answer("A"), at(1))
	before := h.r
	h.r.succeed(a, answer("A"), at(30))
	if h.r != before {
		t.Errorf("got %+v, want the row as it was", h.r)
	}
}

func TestARefreshDuringAnExchangeLeavesTheRowSuspect(t *testing.T) {
	h := granted(t)
	a := h.claim(1) // the exchange was sent at 0 and served first
	h.r.succeed(a, answer("A"), at(2))
	h.r.grant(answer("X"), at(0).now, at(3))
	h.stored("X")
	h.spare("A")
	h.refreshedAlone(4)
}

func TestAnExchangeMakesARefreshInFlightLate(t *testing.T) {
	h := granted(t)
	a := h.claim(0)
	h.r.grant(answer("X"), at(1).now, at(2))
	if !h.r.lease.IsZero() {
		t.Error("got the lease kept, want it ended")
	}
	h.r.succeed(a, answer("A"), at(3))
	h.stored("X")
	h.spare("A")
	h.suspectUntil(66)
}

func TestAnExchangeIsCleanOnlyALeaseAfterTheLastClaim(t *testing.T) {
	for seconds, clean := range map[float64]bool{11: false, 12: false, 13: true} {
		t.Run(fmt.Sprint(seconds), func(t *testing.T) {
			h := granted(t)
			h.r.succeed(h.claim(0), answer("A"), at(1))
			h.r.grant(answer("X"), at(seconds).now, at(seconds+1))
			h.stored("X")
			if got := h.r.unsettled.IsZero(); got != clean {
				t.Errorf("got clean %v, want %v", got, clean)
			}
		})
	}
}

func TestAnExchangeOfAnUnsettledRowIsUnclean(t *testing.T) {
	h := granted(t)
	h.r.fail(h.claim(0), unknown, at(8))
	h.r.grant(answer("X"), at(30).now, at(31))
	h.stored("X")
	h.spare("first")
	h.suspectUntil(68)
}

func TestAnExchangeAfterAVanishedHolderIsUnclean(t *testing.T) {
	h := granted(t)
	h.claim(0)
	h.r.grant(answer("X"), at(30).now, at(31))
	h.suspectUntil(95)
}

func TestExchangesStoredInReverseOrderLeaveTheRowSuspect(t *testing.T) {
	h := granted(t)
	h.r.grant(answer("X"), at(0).now, at(2))
	h.r.grant(answer("Y"), at(1).now, at(3))
	h.stored("Y")
	h.spare("X")
	h.refreshedAlone(4)
}

func TestAFenceAfterARestoreIsAboveAllEarlierFences(t *testing.T) {
	h := granted(t)
	dump := h.r
	h.r.succeed(h.claim(0), answer("A"), at(1))
	newest := h.r.version
	h.r = dump
	if c := h.claim(60); c.fence <= newest {
		t.Errorf("got fence %d, want it above %d", c.fence, newest)
	}
}

func TestARowOlderThanAKnownVersionIsSuspect(t *testing.T) {
	h := granted(t)
	dump := h.r
	h.r.succeed(h.claim(0), answer("A"), at(1))
	restored := at(100)
	restored.known = h.r.version
	repaired := h.r
	if repaired.repair(restored); repaired != h.r {
		t.Error("got the row changed that issued it")
	}
	h.r = dump
	b := h.claim(-1) // by a clock that is behind, so that the newest known is newer
	h.r.repair(restored)
	if h.r.fence < restored.known || !h.r.lease.IsZero() {
		t.Errorf("got fence %d and lease %v, want it raised to %d, and nobody to have the row", h.r.fence, h.r.lease, restored.known)
	}
	h.r.succeed(b, answer("B"), at(101))
	h.stored("B")
	h.suspectUntil(164)
}

func TestAFenceIsAboveTheStoredVersion(t *testing.T) {
	h := granted(t)
	dump := h.r
	a := h.claim(100)
	h.r = dump
	h.r.succeed(a, answer("A"), at(101))
	newest := h.r.version
	h.r.grant(answer("B"), at(-120).now, at(-120)) // the clock was set back, too
	if h.stored("B"); h.r.version <= newest {
		t.Errorf("got version %d after %d, want it above", h.r.version, newest)
	}
}

func TestAFenceIsAboveTheRejectedVersion(t *testing.T) {
	h := granted(t)
	newest := Version(at(500).now.UnixMilli()) // got before the restore, and before the clock was set back
	c := h.r.claim(at(0), newest)
	if c.fence != newest+1 {
		t.Errorf("got fence %d, want %d", c.fence, newest+1)
	}
}

func TestFencesIncreaseThoughTheClockDoesNot(t *testing.T) {
	h := granted(t)
	first := h.claim(0)
	if second := h.claim(-100); second.fence != first.fence+1 {
		t.Errorf("got fence %d after %d, want one more", second.fence, first.fence)
	}
}

func TestALeaseThatEndsTooFarAheadIsOver(t *testing.T) {
	h := granted(t)
	h.claim(0)
	if h.r.decide(need{}, at(9999).now, at(-120)) != claimable {
		t.Error("got a caller who waits for minutes, want the row claimed: the clock was set back")
	}
	h.r.succeed(h.claim(-120), answer("B"), at(-119))
	h.stored("B")
	h.suspectUntil(-120 + 64) // not two minutes later
}

func TestASuccessAfterTheClockWasSetBackIsUnclean(t *testing.T) {
	h := granted(t)
	h.r.succeed(h.claim(0), answer("A"), at(-120))
	h.stored("A")
	h.refreshedAlone(-119)
}

func TestNoWaitIsLongerBecauseTheClockWasSetBack(t *testing.T) {
	h := granted(t)
	h.r.fail(h.claim(7200), unknown, at(7200))
	h.r.force(1, at(7200))
	h.r.repair(at(0))
	if got := h.r.unsettled; got.After(at(64).now) {
		t.Errorf("got unsettled until %v, want %v at most", got, at(64).now)
	}
	if h.r.retry.After(at(0).now) {
		t.Errorf("got retry at %v, want it within reach", h.r.retry)
	}
}

func TestForcedRefreshesAreAllowedAfterTheClockWasSetBack(t *testing.T) {
	h := granted(t)
	rejected := need{newerThan: h.r.version, rejected: true}
	if h.r.decide(rejected, at(0).now, at(0)) != claimable { // as the first of five
		t.Fatal("got the first refused")
	}
	h.r.succeed(h.claim(0), answer("A"), at(1))
	for _, seconds := range []float64{-3600, -3000} { // the clock is set back by an hour, and goes on
		r := h.r
		r.repair(at(seconds))
		if r.decide(need{newerThan: r.version, rejected: true}, at(seconds).now, at(seconds)) != claimable {
			t.Errorf("at %v: got a rejected token not replaced, want callers not locked out for as long as the clock lags", seconds)
		}
	}
}

func TestALateHolderDoesNotEndAnothersLease(t *testing.T) {
	for name, end := range map[string]func(r *row, c claim){
		"succeeds": func(r *row, c claim) { r.succeed(c, answer("A"), at(14)) },
		"fails":    func(r *row, c claim) { r.fail(c, refused, at(14)) },
	} {
		h := granted(t)
		a := h.claim(0)
		h.claim(13)
		end(&h.r, a)
		if !h.r.held(at(14)) || h.r.failures != 0 {
			t.Errorf("%s: got held %v, %d failures, want the other's lease kept and nothing counted", name, h.r.held(at(14)), h.r.failures)
		}
	}
}

func TestATokenExpiresItsLifeAfterTheClaim(t *testing.T) {
	h := granted(t)
	h.r.succeed(h.claim(0), answer("A"), at(7))
	if got, want := h.r.expires, at(7200).now; got != want {
		t.Errorf("got it expiring at %v, want %v", got, want)
	}
	for left, alive := range map[float64]bool{9: true, 8: false} {
		if h.r.alive(at(7200-left).now, DefaultTimes()) != alive {
			t.Errorf("%v s before its end: got alive %v, want a call to fit", left, !alive)
		}
	}
	h.r.succeed(h.claim(100), answer("B"), at(0)) // the clock was set back
	if got, want := h.r.expires, at(7200).now; got != want {
		t.Errorf("got it expiring at %v, want %v", got, want)
	}
}

func TestTheSpareReplacesADeadRefreshToken(t *testing.T) {
	h := granted(t)
	h.r.addSpare(seal.NewSecret("refresh listed"), at(0))
	c := h.claim(1)
	c.refreshDead = true
	h.r.succeed(c, answer("A"), at(2))
	h.stored("A")
	if got := h.r.refresh.Reveal(); got != "refresh A" {
		t.Errorf("got %q, want the answer's", got)
	}
}

func TestADeadSpareReplacesTheFirstRefreshToken(t *testing.T) {
	h := granted(t)
	h.r.addSpare(seal.NewSecret("refresh listed"), at(0))
	c := h.claim(1)
	c.refreshDead = true
	h.r.fail(c, dead, at(2))
	if got := h.r.refresh.Reveal(); got != "refresh listed" || !h.r.spare.IsZero() {
		t.Errorf("got %q and spare %v, want the newer of the dead ones kept and room for another", got, !h.r.spare.IsZero())
	}
	if h.r.addSpare(seal.NewSecret("refresh listed"), at(3)) {
		t.Error("got the dead token taken for news, want it refused")
	}
}

func TestARefusalOfAReplacedRefreshTokenIsRetried(t *testing.T) {
	h := granted(t)
	a, b := h.claim(0), h.claim(13)
	h.r.succeed(a, answer("A"), at(14))
	if !h.r.fail(b, dead, at(15)) || h.r.failures != 0 {
		t.Error("got the row taken for dead, want A's refresh token tried")
	}
	h.suspectUntil(77)
}

func TestASpareStoredDuringARefusalIsTriedAtOnce(t *testing.T) {
	h := granted(t)
	a := h.claim(0)
	h.r.succeed(h.claim(13), answer("B"), at(14))
	c := h.claim(100)
	h.r.succeed(a, answer("A"), at(101))
	if !h.r.fail(c, dead, at(102)) {
		t.Error("got the row taken for dead, want A's refresh token tried")
	}
	if got := h.r.refresh.Reveal(); got != "refresh A" {
		t.Errorf("got %q, want that of the late success", got)
	}
	h.refreshedAlone(103)
}

func TestADeadRefreshTokenIsKeptUntilThereIsAnother(t *testing.T) {
	h := granted(t)
	h.r.fail(h.claim(0), dead, at(1))
	if got := h.r.refresh.Reveal(); got != "refresh first" {
		t.Errorf("got %q, want the row kept", got)
	}
	if r := h.r; r.wanted(at(3600)) || !r.wanted(at(2*86400)) {
		t.Error("got it asked for again within the hour, or never")
	}
	for range 5 {
		h.r.fail(h.claim(0), dead, at(1))
	}
	if r := h.r; r.wanted(at(86400)) || !r.wanted(at(86402)) {
		t.Error("got the sixth refusal followed by other than a day's rest")
	}
	if !h.r.addSpare(seal.NewSecret("refresh listed"), at(10)) || !h.r.wanted(at(11)) {
		t.Error("got the listed one left, want it tried at once")
	}
}

func TestAListedRefreshTokenOverwritesNothing(t *testing.T) {
	h := granted(t)
	a, b := h.claim(0), h.claim(13)
	h.r.succeed(b, answer("B"), at(14))
	h.r.succeed(a, answer("A"), at(15))
	if h.r.addSpare(seal.NewSecret("refresh listed"), at(16)) {
		t.Error("got the spare of a late success overwritten by an older list, want it kept")
	}
	h.spare("A")
	h.stored("B")
}

func TestAListedRefreshTokenMakesTheRowSuspect(t *testing.T) {
	h := granted(t)
	if !h.r.addSpare(seal.NewSecret("refresh listed"), at(0)) {
		t.Error("got false, want it taken")
	}
	if h.r.addSpare(seal.NewSecret("refresh first"), at(0)) || h.r.addSpare(seal.NewSecret("refresh listed"), at(0)) || h.r.addSpare(seal.Secret{}, at(0)) {
		t.Error("got what is known, or nothing, taken for news")
	}
	h.stored("first")
	h.refreshedAlone(1)
}

func TestAListedRefreshTokenFillsAnEmptyRow(t *testing.T) {
	var r row
	if !r.addSpare(seal.NewSecret("refresh listed"), at(0)) || !r.wanted(at(1)) {
		t.Errorf("got %+v, want it due with the listed token", r)
	}
}

func TestAGrantWithoutAnAccessTokenKeepsTheRefreshTokenAsSpare(t *testing.T) {
	h := granted(t)
	before := h.r.version
	h.r.grant(Answer{Refresh: seal.NewSecret("refresh listed")}, at(0).now, at(1))
	if got := h.r.refresh.Reveal(); got != "refresh first" || h.r.version <= before {
		t.Errorf("got %q, version %d, want the old one kept under a new version", got, h.r.version)
	}
	h.spare("listed")
	h.refreshedAlone(2)
	fresh := row{}
	fresh.grant(Answer{Refresh: seal.NewSecret("refresh listed")}, at(0).now, at(1))
	if got := fresh.refresh.Reveal(); got != "refresh listed" || !fresh.wanted(at(2)) {
		t.Errorf("got %q, want the listed one, due at once", got)
	}
}

func TestOnlyANewerRefreshTokenReplacesTheSpare(t *testing.T) {
	h := granted(t)
	a, b, c := h.claim(0), h.claim(13), h.claim(26)
	h.r.succeed(c, answer("C"), at(27))
	h.r.succeed(b, answer("B"), at(28))
	h.r.succeed(a, answer("A"), at(29))
	h.stored("C")
	h.spare("B")
}

func TestARefreshTokenThatDidNotChangeIsNoSpare(t *testing.T) {
	h := granted(t)
	same := answer("A")
	same.Refresh = h.r.refresh
	h.claim(0)
	h.r.succeed(h.claim(13), same, at(14))
	h.spare("")
}

func TestAnAnswerWithoutARefreshTokenKeepsTheOldOne(t *testing.T) {
	h := granted(t)
	h.r.succeed(h.claim(0), Answer{Access: seal.NewSecret("access A"), ExpiresIn: time.Hour}, at(1))
	if got := h.r.refresh.Reveal(); got != "refresh first" {
		t.Errorf("got %q, want the old one", got)
	}
}

func TestARetiredRowStoresNoResultOfARefreshInFlight(t *testing.T) {
	h := granted(t)
	a := h.claim(0)
	h.r.retire(at(1))
	h.r.succeed(a, answer("A"), at(2))
	if !h.r.access.IsZero() || h.r.wanted(at(86400)) || !h.r.due.IsZero() {
		t.Errorf("got access %v, due %v, want it never due", !h.r.access.IsZero(), h.r.due)
	}
	if got := h.r.decide(need{}, at(3).now, at(3)); got != ended {
		t.Errorf("got %d, want ended", got)
	}
	h.r.grant(answer("X"), at(400).now, at(401))
	h.stored("X")
	if got := h.r.decide(need{}, at(402).now, at(402)); got != usable {
		t.Errorf("got decision %d after a grant, want usable", got)
	}
	if h.r.due.IsZero() {
		t.Error("got the row never due after a grant, want it renewed")
	}
}

func TestACallerGetsOnlyANewerVersionThanItCannotUse(t *testing.T) {
	h := granted(t)
	old := h.r.version
	ahead := at(7200).now // a clock by which the token has expired
	cases := map[string]struct {
		w    need
		his  time.Time
		want decision
	}{
		"none is known":              {need{}, at(0).now, usable},
		"rejected":                   {need{newerThan: old, rejected: true}, at(0).now, claimable},
		"rejected, replaced already": {need{newerThan: old - 1, rejected: true}, at(0).now, usable},
		"expired by his own clock":   {need{newerThan: old}, ahead, claimable},
		"unknown, and expired":       {need{}, ahead, claimable},
		"newer than the row":         {need{newerThan: old + 7, rejected: true}, at(0).now, claimable},
	}
	for name, c := range cases {
		if r := h.r; r.decide(c.w, c.his, at(0)) != c.want {
			t.Errorf("%s: got another decision, want %d", name, c.want)
		}
	}
	h.r.fail(h.claim(0), unknown, at(8))
	if r := h.r; r.decide(need{newerThan: old, rejected: true}, at(10).now, at(10)) != claimable {
		t.Error("got a caller who waits for a suspect row, want it claimed at once")
	}
}

func TestCallersWaitForAHolder(t *testing.T) {
	h := granted(t)
	w := need{newerThan: h.r.version, rejected: true}
	c := h.claim(0)
	if r := h.r; r.decide(w, at(1).now, at(1)) != busy {
		t.Error("got the row claimed twice, want the second to wait")
	}
	h.r.succeed(c, answer("A"), at(1))
	if r := h.r; r.decide(w, at(2).now, at(2)) != usable {
		t.Error("got no token after the holder's success, want it")
	}
}

func TestCallersBackOffAfterAFailedRequest(t *testing.T) {
	h := granted(t)
	w := need{newerThan: h.r.version, rejected: true}
	now := 0.0
	for i, pause := range []float64{1, 2, 4, 8, 12, 12} {
		h.r.fail(h.claim(now), refused, at(now))
		if r := h.r; r.decide(w, at(0).now, at(now+pause-0.01)) != backingOff {
			t.Errorf("failure %d: got an ask before %v s, want rest", i+1, pause)
		}
		if r := h.r; r.decide(w, at(0).now, at(now+pause)) == backingOff {
			t.Errorf("failure %d: got rest after %v s, want an ask", i+1, pause)
		}
		now += pause
	}
	h.r.succeed(h.claim(now), answer("A"), at(now))
	if h.r.failures != 0 || !h.r.retry.IsZero() {
		t.Error("got failures kept after a success")
	}
}

func TestAFailureThatSaysNothingAboutTheRowIsNotCounted(t *testing.T) {
	h := granted(t)
	h.r.fail(h.claim(0), notAsked, at(1))
	if h.r.failures != 0 || !h.r.retry.IsZero() || !h.r.unsettled.IsZero() || !h.r.lease.IsZero() {
		t.Errorf("got %+v, want the row free and unmarked", h.r)
	}
}

func TestKeepersWaitAfterAFailure(t *testing.T) {
	h := granted(t)
	now := 7000.0
	for i, rest := range []float64{5, 10, 20, 40, 80, 160, 300, 300} {
		h.r.used = at(now).now
		h.r.fail(h.claim(now), refused, at(now))
		if r := h.r; r.wanted(at(now + rest - 1)) {
			t.Errorf("failure %d: got an ask before %v s, want rest", i+1, rest)
		}
		if r := h.r; !r.wanted(at(now + rest)) {
			t.Errorf("failure %d: got none after %v s, want an ask", i+1, rest)
		}
		now += rest
	}
}

func TestForcedRefreshesAreLimited(t *testing.T) {
	var r row
	for v := range Version(5) {
		if !r.force(v+1, at(float64(v))) {
			t.Errorf("got the refresh %d refused, want five", v+1)
		}
	}
	if r.force(6, at(5)) {
		t.Error("got a sixth at once, want it refused")
	}
	if !r.force(5, at(6)) {
		t.Error("got the last version counted again, want it free however often its replacement fails")
	}
	if r.force(6, at(119)) || !r.force(6, at(121)) {
		t.Error("got other than one more after two minutes")
	}
}

func TestOnlyTheRefreshOfALivingTokenIsForced(t *testing.T) {
	h := granted(t)
	h.r.forced = at(700).now
	w := need{newerThan: h.r.version, rejected: true}
	if r := h.r; r.decide(w, at(0).now, at(100)) != limited {
		t.Error("got a forced refresh beyond the limit")
	}
	h.r.forced = at(7900).now
	if r := h.r; r.decide(w, at(7200).now, at(7200)) != claimable {
		t.Error("got an expired token's refresh limited, want it claimed")
	}
}

func TestWhenATokenIsRenewed(t *testing.T) {
	h := granted(t)
	h.r.succeed(h.claim(0), answer("A"), at(0))
	left := func(at time.Time) float64 { return h.r.expires.Sub(at).Seconds() / 7200 }
	for spread, want := range map[float64][2]float64{0: {0.55, 2.0 / 24}, 0.999: {0.65, 5.0 / 24}} {
		m := at(0)
		m.spread = spread
		h.r.live(2*time.Hour, m.now, m)
		if early, late := left(h.r.early), left(h.r.late); early-want[0] > 0.001 || want[0]-early > 0.001 || late-want[1] > 0.001 || want[1]-late > 0.001 {
			t.Errorf("spread %v: got %v and %v of its life left, want %v", spread, early, late, want)
		}
	}
	for _, c := range []struct {
		unused float64
		want   time.Time
		warm   bool
	}{{60, h.r.early, false}, {3600, h.r.early, false}, {4000, h.r.late, false}, {86000, h.r.late, false}, {86401, h.r.late, true}, {604_799, h.r.late, true}, {604_801, time.Time{}, false}} {
		h.r.used = at(-c.unused).now
		if h.r.schedule(at(0)); h.r.due != c.want || h.r.warm != c.warm {
			t.Errorf("unused for %v s: got it due at %v, warm %v, want %v, %v", c.unused, h.r.due, h.r.warm, c.want, c.warm)
		}
	}
}

func TestAWarmTokenWaitsForTheBudget(t *testing.T) {
	h := granted(t)
	h.r.succeed(h.claim(0), answer("A"), at(0))
	h.r.used = at(7000 - 86400).now
	if h.r.schedule(at(6000)); h.r.warm || h.r.due.IsZero() {
		t.Fatal("got it warm, want it in use when it was scheduled")
	}
	if h.r.wanted(at(7100)) || !h.r.warm {
		t.Error("got it claimed though nobody called it for a day, want it left to the budget")
	}
	if !h.r.wanted(at(7100)) {
		t.Error("got it left for good, want it claimed by who listed it as warm")
	}
	h.r.fail(h.claim(7100), refused, at(7100))
	if r := h.r; r.warm || r.wanted(at(7100+86399)) || !r.wanted(at(7100+86400)) {
		t.Error("got a failed one tried again within the day or never, want it once a day")
	}
	h.r.unsettle(at(7100).now, at(7100))
	h.r.failures = 0
	if h.r.schedule(at(7100)); h.r.warm {
		t.Error("got a suspect one left to the budget, want it refreshed once more")
	}
}

func TestListedRefreshTokensAreNotUsedAllAtOnce(t *testing.T) {
	var first, last time.Time
	for i := range 100 {
		m, r := at(0), row{}
		m.spread = float64(i) / 100
		r.addSpare(seal.NewSecret("refresh listed"), m)
		if i == 0 {
			first = r.due
		}
		last = r.due
	}
	if first.Sub(at(0).now) > time.Second || last.Sub(first) != 99*72*time.Second {
		t.Errorf("got them due from %v to %v, want them over a life", first, last)
	}
}

func TestTimesMustIncrease(t *testing.T) {
	if err := DefaultTimes().check(); err != nil {
		t.Errorf("got %v, want the defaults accepted", err)
	}
	for i := range 5 {
		t5 := DefaultTimes()
		each := []*time.Duration{&t5.Call, &t5.Lease, &t5.Unsettled, &t5.Overlap, &t5.Life}
		if *each[i] = 0; t5.check() == nil {
			t.Errorf("got time %d of zero accepted", i)
		}
		if i > 0 {
			*each[i] = *each[i-1]
			if t5.check() == nil {
				t.Errorf("got time %d equal to the one before accepted", i)
			}
		}
	}
}

// WeChat documents a life of two hours. If an answer says seconds, each call would replace the
// token.
func TestAShortLivedTokenIsReplacedFiveTimesThenOnceInTwoMinutes(t *testing.T) {
	h := granted(t)
	brief := answer("brief")
	brief.ExpiresIn = 5 * time.Second
	replaced := 0
	for second := 0.0; second < 600; second += 10 {
		m := at(second)
		switch h.r.decide(need{newerThan: h.r.version}, m.now, m) {
		case claimable:
			if replaced++; replaced > 5+int(second)/120 {
				t.Fatalf("second %.0f: got it replaced %d times", second, replaced)
			}
			h.r.succeed(h.r.claim(m, h.r.version), brief, m)
		case limited:
		default:
			t.Fatalf("second %.0f: got neither the claim nor the limit", second)
		}
	}
	if replaced < 5 {
		t.Errorf("got it replaced %d times in ten minutes, want 5 at once", replaced)
	}
}

func TestKeepersRenewAShortLivedTokenOnceInTwoMinutes(t *testing.T) {
	h := granted(t)
	brief := answer("brief")
	brief.ExpiresIn = time.Second
	renewed := 0
	for second := 0.0; second < 3600; second += 2 {
		if m := at(second); h.r.renews(m) {
			renewed++
			h.r.succeed(h.r.claim(m, h.r.version), brief, m)
		}
	}
	if renewed > 30 {
		t.Errorf("got %d renewals in an hour, want one in two minutes at most", renewed)
	}
}

func TestATokenOfAMinuteIsNotShortLived(t *testing.T) {
	h := granted(t)
	minute := answer("minute")
	minute.ExpiresIn = time.Minute
	for second := 0.0; second < 600; second += 60 {
		m := at(second)
		if got := h.r.decide(need{newerThan: h.r.version}, m.now, m); got != claimable && second > 0 {
			t.Fatalf("second %.0f: got %d, want the claim", second, got)
		}
		h.r.succeed(h.r.claim(m, h.r.version), minute, m)
	}
}
