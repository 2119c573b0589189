package token

import (
	"errors"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

// Times are the time limits of custody (docs/design.md, "Custody"). They must increase in this
// order.
type Times struct {
	Call      time.Duration // a request takes at most this long
	Lease     time.Duration // a holder has the row for this long, and sends only if a call still fits
	Unsettled time.Duration // a request of unknown outcome may act for this long
	Overlap   time.Duration // WeChat lets a replaced token live for this long
	Life      time.Duration // of a token, usually; each answer gives its own
}

// DefaultTimes returns the times used in production.
func DefaultTimes() Times {
	return Times{Call: 8 * time.Second, Lease: 12 * time.Second, Unsettled: time.Minute, Overlap: 5 * time.Minute, Life: 2 * time.Hour}
}

func (t Times) check() error {
	if 0 < t.Call && t.Call < t.Lease && t.Lease < t.Unsettled && t.Unsettled < t.Overlap && t.Overlap < t.Life {
		return nil
	}
	return errors.New("times of custody: want call < lease < unsettled < overlap < life")
}

// patience limits how long callers wait for one token: two leases of others, the component token
// that a request needs, and two requests.
func (t Times) patience() time.Duration { return 4*(t.Lease+t.Call) + 10*time.Second }

const (
	forcedRefreshes = 5 // of one row
	forcedWithin    = 10 * time.Minute
	forcedEach      = forcedWithin / forcedRefreshes
	longestRetry    = 12 * time.Second
	longestRest     = 5 * time.Minute
	longestBar      = 25 * time.Hour // WeChat's quotas are daily
	firstRest       = 5 * time.Second
	tick            = time.Millisecond // the resolution of the database's clock
)

// A token that was called within steadyUse (half a life) is in steady use, within inUse (12 lives)
// in use, and within warmUse (84 lives) warm: it is renewed if the budget allows. With a life of
// two hours these are an hour, a day and a week.
func (t Times) steadyUse() time.Duration { return t.Life / 2 }
func (t Times) inUse() time.Duration     { return 12 * t.Life }
func (t Times) warmUse() time.Duration   { return 84 * t.Life }

// overdue is how long before its expiry a token in use should already have been renewed, whatever
// its jitter.
func (t Times) overdue() time.Duration { return t.Life * 5 / 24 }

// shortLife limits short lives. A token with a shorter one would be replaced with every call.
func (t Times) shortLife() time.Duration { return t.Life / 120 }

// useResolution is how precisely uses are recorded.
func (t Times) useResolution() time.Duration { return t.Life / 24 }

// row is what SQL stores of one token. Its methods are all the rules of custody. They depend only
// on the row and an instant, and do no I/O.
type row struct {
	fence     Version   // the last one issued
	version   Version   // the fence of what is stored
	claimed   time.Time // when the last fence was issued
	lease     time.Time // until when a holder has the row; zero: no holder
	unsettled time.Time // until when a request of unknown outcome may act; if set, the row is suspect

	access     seal.Secret
	refresh    seal.Secret
	spare      seal.Secret // tried when refresh is refused
	spareFence Version
	unopened   unopened // of access, refresh and spare: then the field is empty
	expires    time.Time

	early, late time.Time // when to renew the token if it is in steady use, or in use
	due         time.Time // when keepers look at the row; zero: never
	warm        bool      // due only if the budget allows
	failures    int
	retry       time.Time // callers do not ask before this
	barred      time.Time // nobody asks before this: WeChat said that it is useless
	used        time.Time
	forced      time.Time // end of the used allowance of forced refreshes; see force
	forcedFor   Version   // the last version that counted
	retired     time.Time
}

// instant is when something happens to a row, by the database's clock, with what the rules need to
// know besides the row.
type instant struct {
	Times
	now    time.Time
	jumped bool    // the clock was set a moment ago, so no elapsed time can be trusted
	known  Version // the newest version that this process knows
	spread float64
}

// claim is what a holder gets from a row.
type claim struct {
	fence       Version
	at          time.Time // by the database's clock
	refresh     seal.Secret
	spare       seal.Secret
	refreshDead bool // WeChat refused refresh permanently
	spareDead   bool // and spare too

	left  time.Duration // how long the old token had to live at the claim
	inUse bool          // so it should have been renewed ahead of time
}

// repair repairs a row after the database was changed from outside. If its clock was set back, no
// wait lasts longer than it would have.
//
// If an older dump was restored, this process knows a version that the row never issued. The lost
// row knew what was in flight, and this one does not, so it becomes suspect, and a holder is late.
func (r *row) repair(m instant) {
	if r.fence < m.known {
		r.fence, r.lease = m.known, time.Time{}
		r.unsettle(m.settles(), m)
	}
	if most := m.settles(); r.unsettled.After(most) {
		r.unsettled = most
	}
	if r.retry.After(m.now.Add(longestRetry)) {
		r.retry = m.now
	}
	if r.barred.After(m.now.Add(longestBar)) {
		r.barred = m.now
	}
	if r.forced.After(m.now.Add(forcedWithin)) {
		r.forced = m.now
	}
}

// settles returns the latest time at which a request sent by now may still act.
func (m instant) settles() time.Time { return m.now.Add(m.Lease - m.Call + m.Unsettled) }

// held reports whether a holder has the row. A lease that ends later than one given now would is
// over: the clock was set back.
func (r *row) held(m instant) bool {
	return m.now.Before(r.lease) && r.lease.Sub(m.now) <= m.Lease
}

// issue issues the next fence. It is greater than every earlier one, and than bad, the version that
// a caller rejects: after the restore of an older dump, bad may be newer than the row. The stored
// version may be newer than the last fence too, from a holder that claimed before the restore.
func (r *row) issue(m instant, bad Version) Version {
	r.fence = max(Version(db.Next(int64(max(r.fence, r.version)), m.now)), bad+1)
	r.claimed = m.now
	return r.fence
}

// claim gives the row to a caller until the lease ends. The row is due then, so that a keeper
// notices a holder that vanished. If the clock was set forward, a request that may still act seems
// settled. So an unsettled row stays unsettled, and is refreshed once more after this.
func (r *row) claim(m instant, bad Version) claim {
	c := claim{at: m.now, refresh: r.refresh, spare: r.spare}
	c.left, c.inUse = r.left(m)
	r.endLease(m)
	if m.jumped && !r.unsettled.IsZero() {
		r.unsettle(m.settles(), m)
	}
	c.fence = r.issue(m, bad)
	r.lease = m.now.Add(m.Lease)
	r.due = r.lease
	return c
}

// endLease ends the lease of a holder that went silent. WeChat may still act on its request, as if
// it had been sent just now: the clock may have been set unnoticed, so nobody knows how long ago
// the lease ended.
func (r *row) endLease(m instant) {
	if r.lease.IsZero() {
		return
	}
	r.lease = time.Time{}
	r.unsettle(m.settles(), m)
}

// unsettle makes the row suspect. The holder of the last claim always sees it, even if it claimed
// in the same millisecond.
func (r *row) unsettle(until time.Time, m instant) {
	r.unsettled = later(later(r.unsettled, until), earlier(r.claimed, m.now).Add(tick))
}

// succeed applies the answer to the request of c. A newer answer is stored. Of an older one only
// the refresh token is kept, as the spare. An answer is clean, and ends all suspicion, only if
// nothing can have acted at WeChat after it.
func (r *row) succeed(c claim, a Answer, m instant) {
	if c.fence == r.version {
		return // stored by a commit that seemed to fail
	}
	late := c.fence != r.fence || !r.held(m)
	clean := !late && !r.unsettled.After(r.claimed)
	r.useSpare(c)
	if c.fence < r.version {
		r.keep(a.Refresh, c.fence)
	} else {
		r.replace(c.fence, a, c.at, clean, m)
	}
	if late {
		r.unsettle(m.now, m)
	}
	r.release(c)
	r.schedule(m)
}

// replace stores a as version. Unless the answer is clean, the refresh token that it replaces
// becomes the spare.
func (r *row) replace(version Version, a Answer, asked time.Time, clean bool, m instant) {
	old, oldVersion := r.refresh, r.version
	r.version, r.access = version, a.Access
	if !a.Refresh.IsZero() {
		r.refresh = a.Refresh
	}
	if r.spare.Equal(r.refresh) {
		r.spare, r.spareFence = seal.Secret{}, 0
	}
	if clean {
		r.unsettled, r.spare, r.spareFence, r.unopened.spare = time.Time{}, seal.Secret{}, 0, ""
	} else {
		r.keep(old, oldVersion)
	}
	r.failures, r.retry, r.barred = 0, time.Time{}, time.Time{}
	r.live(a.ExpiresIn, asked, m)
}

// live sets when the token expires and when to renew it: with 55–65 % of its life left if it is
// in steady use, otherwise with 1/12 to 5/24 left (10–25 minutes of two hours).
func (r *row) live(life time.Duration, asked time.Time, m instant) {
	r.expires = earlier(asked, m.now).Add(life)
	r.early = r.expires.Add(-part(life, 0.55+0.10*m.spread))
	r.late = r.expires.Add(-part(life, (2+3*m.spread)/24))
	if life < m.shortLife() {
		r.early, r.late = m.now.Add(forcedEach), m.now.Add(forcedEach)
	}
}

// shortLived reports whether the stored token's life was so short that its refreshes count as
// forced.
func (r *row) shortLived(m instant) bool {
	return r.version == r.fence && !r.access.IsZero() && r.expires.Sub(r.claimed) < m.shortLife()
}

func part(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * share).Truncate(tick)
}

// keep stores refresh as the spare, unless it is known already or the spare is newer. A token from
// WeChat's list has no fence, so it never replaces a spare.
func (r *row) keep(refresh seal.Secret, fence Version) bool {
	known := refresh.IsZero() || refresh.Equal(r.refresh) || refresh.Equal(r.spare)
	if known || !r.spare.IsZero() && fence <= r.spareFence {
		return false
	}
	r.spare, r.spareFence = refresh, fence
	return true
}

// useSpare replaces a refresh token that WeChat refused permanently by the spare.
func (r *row) useSpare(c claim) {
	if c.refused(r.refresh) && !r.spare.IsZero() {
		r.refresh, r.spare, r.spareFence = r.spare, seal.Secret{}, 0
	}
}

// refused reports whether WeChat permanently refused refresh under this claim.
func (c claim) refused(refresh seal.Secret) bool {
	return c.refreshDead && refresh.Equal(c.refresh) || c.spareDead && refresh.Equal(c.spare)
}

func (r *row) release(c claim) {
	if c.fence == r.fence {
		r.lease = time.Time{}
	}
}

// left returns how long the row's token still lives, and whether it is in use, so that a keeper
// should renew it.
func (r *row) left(m instant) (time.Duration, bool) {
	return r.expires.Sub(m.now), !r.access.IsZero() && m.now.Sub(r.used) < m.inUse()
}

// fail applies a request that got no answer. It reports whether the row has a refresh token that
// was not refused: then the row may be asked for again at once.
func (r *row) fail(c claim, how outcome, m instant) (another bool) {
	if how == unknown {
		r.unsettle(m.now.Add(m.Unsettled), m)
	}
	if how == dead {
		c.refreshDead, c.spareDead = true, true
	}
	r.useSpare(c)
	if another = how == dead && !c.refused(r.refresh); another {
		how = notAsked
	}
	last := c.fence == r.fence
	r.release(c)
	if last && how != notAsked {
		r.failed(how, m)
	}
	r.schedule(m)
	return another
}

// failed counts a failure, and sets when callers and keepers try again.
func (r *row) failed(how outcome, m instant) {
	r.failures++
	r.retry = m.now.Add(wait(time.Second, r.failures, min(longestRetry, m.Lease)))
	r.due = m.now.Add(r.rest(how, m))
}

// bar stops all requests for the row until a time, after the request of c failed.
func (r *row) bar(c claim, until time.Time, m instant) {
	if c.fence != r.fence {
		return
	}
	r.barred = until
	r.schedule(m)
}

// clearBackOff allows a request for the row at once, whatever failed before.
func (r *row) clearBackOff(m instant) {
	r.retry, r.barred = time.Time{}, time.Time{}
	if r.failures > 0 && !r.due.IsZero() {
		r.due = earlier(r.due, m.now)
	}
	r.schedule(m)
}

// rest returns how long keepers leave a row alone after a failure. A row that no caller waits for
// is tried once a day. So is one with a dead refresh token, but sooner at first: the refusal's
// meaning is recorded elsewhere, after the row, and if the process dies in between, nobody looks
// for another refresh token.
func (r *row) rest(how outcome, m instant) time.Duration {
	switch {
	case how == dead:
		return wait(m.steadyUse(), r.failures, m.inUse())
	case r.next(m).IsZero(), r.onlyWarm(m):
		return m.inUse()
	}
	return part(wait(firstRest, r.failures, min(longestRest, m.useResolution())), 0.5+m.spread)
}

// wait returns first, doubled with each failure after the first, up to most.
func wait(first time.Duration, failures int, most time.Duration) time.Duration {
	for ; failures > 1 && first < most; failures-- {
		first *= 2
	}
	return min(first, most)
}

// next returns when the row needs a refresh, whatever happened to the last one; zero means never.
func (r *row) next(m instant) time.Time {
	switch {
	case !r.retired.IsZero(), r.version == 0 && r.refresh.IsZero():
		return time.Time{}
	case !r.lease.IsZero():
		return r.lease
	case !r.unsettled.IsZero():
		return r.unsettled
	case r.access.IsZero():
		return m.now
	case m.now.Sub(r.used) < m.steadyUse()+m.useResolution():
		return r.early
	case m.now.Sub(r.used) < m.warmUse():
		return r.late
	default:
		return time.Time{}
	}
}

// onlyWarm reports whether next is set only for a warm token, which nobody called for a day.
func (r *row) onlyWarm(m instant) bool {
	unused := m.now.Sub(r.used)
	return r.lease.IsZero() && r.unsettled.IsZero() && !r.access.IsZero() && m.inUse() <= unused && unused < m.warmUse()
}

// schedule sets when keepers look at the row. After a failure they do so when its rest is over, and
// no sooner.
func (r *row) schedule(m instant) {
	next := r.next(m)
	if r.failures > 0 && r.retired.IsZero() {
		next = later(next, r.due)
	}
	if !next.IsZero() {
		next = later(next, r.barred)
	}
	r.due, r.warm = next, !next.IsZero() && r.failures == 0 && r.onlyWarm(m)
}

// renews reports whether a keeper should renew the row now. A short-lived token counts against the
// allowance of forced refreshes.
func (r *row) renews(m instant) bool {
	return r.wanted(m) && (!r.shortLived(m) || r.force(r.version, m))
}

// wanted reports whether a keeper should claim the row now. It first corrects a due time that was
// only a guess. A row that turns out to be warm waits until Warm lists it.
func (r *row) wanted(m instant) bool {
	was := r.warm
	r.schedule(m)
	return !r.due.IsZero() && !r.due.After(m.now) && !r.held(m) && (was || !r.warm)
}

// alive reports whether the access token may be used at the given time. One that expires before a
// call could end may not.
func (r *row) alive(at time.Time, t Times) bool {
	return !r.access.IsZero() && at.Before(r.expires.Add(-t.Call))
}

// need is what a caller or a keeper needs: a token newer than a version, because WeChat rejected
// that version, or because it has expired by the caller's own clock; or a renewal ahead of time.
type need struct {
	newerThan Version
	rejected  bool
	ahead     bool
}

// decision is what a caller gets from a row.
type decision int

const (
	ended      decision = iota // the row is retired: no request can be made
	usable                     // the row's token meets the need
	busy                       // another holder has the row
	backingOff                 // the last request failed a moment ago
	limited                    // too many forced refreshes
	claimable                  // the caller may claim the row, suspect or not
)

// serves reports whether the row's token meets the need of a caller with the given clock.
func (r *row) serves(n need, clock time.Time, t Times) bool {
	return r.version > n.newerThan && r.alive(clock, t)
}

// decide returns what a caller with the given clock gets. It counts a forced refresh: that of a
// token that is still alive by the database's clock, or that was short-lived from the start.
func (r *row) decide(n need, clock time.Time, m instant) decision {
	switch {
	case r.serves(n, clock, m.Times):
		return usable
	case !r.retired.IsZero():
		return ended
	case r.held(m):
		return busy
	case m.now.Before(r.retry), m.now.Before(r.barred):
		return backingOff
	case (r.alive(m.now, m.Times) || r.shortLived(m)) && !r.force(max(n.newerThan, r.version), m):
		return limited
	default:
		return claimable
	}
}

// mayClaim reports whether the row may be claimed now for n.
func (r *row) mayClaim(n need, clock time.Time, m instant) bool {
	if n.ahead {
		return r.renews(m)
	}
	return r.decide(n, clock, m) == claimable
}

// force allows five forced refreshes in ten minutes. One timestamp holds the allowance: each
// refresh moves it by two minutes. A version counts once, however often its replacement fails.
func (r *row) force(version Version, m instant) bool {
	if version == r.forcedFor {
		return true
	}
	moved := later(r.forced, m.now).Add(forcedEach)
	if moved.Sub(m.now) > forcedWithin {
		return false
	}
	r.forced, r.forcedFor = moved, version
	return true
}

// grant stores the answer to an exchange, which no claim asked for; sent is by the database's
// clock. It ends any lease, so the result of a refresh in flight is late.
//
// The answer is clean only if no refresh can have been in flight when the exchange was sent, as far
// as clocks can tell. An answer without an access token comes from WeChat's list: if the row has a
// refresh token, this one becomes the spare.
func (r *row) grant(a Answer, sent time.Time, m instant) {
	clean := sent.Sub(r.claimed) > m.Lease && !m.jumped
	r.endLease(m) // a lease that was held leaves something unsettled
	clean = clean && r.unsettled.Before(sent) && !a.Access.IsZero()
	version := r.issue(m, 0)
	switch {
	case !a.Access.IsZero():
		r.replace(version, a, sent, clean, m)
	case r.refresh.IsZero():
		r.version, r.refresh = version, a.Refresh
	default:
		r.version = version
		r.keep(a.Refresh, 0)
	}
	if !clean {
		r.unsettle(m.now, m)
	}
	r.used, r.retired, r.failures, r.retry, r.barred = m.now, time.Time{}, 0, time.Time{}, time.Time{}
	r.schedule(m)
}

// addSpare takes a refresh token from WeChat's list. It overwrites nothing and makes the row
// suspect. It reports false if the row has this token already, or has a spare. If there is no
// access token, no caller waits for the row, and a whole list may come at once: the request is made
// within a life, not all at the same time. A bar stays: a used-up quota holds for every refresh
// token.
func (r *row) addSpare(refresh seal.Secret, m instant) bool {
	if r.refresh.IsZero() && !refresh.IsZero() {
		r.refresh = refresh
	} else if !r.keep(refresh, 0) {
		return false
	}
	r.unsettle(m.now, m)
	r.failures, r.retry = 0, time.Time{}
	r.schedule(m)
	if r.access.IsZero() && !r.due.IsZero() {
		r.due = later(r.due, m.now.Add(part(m.Life, m.spread)))
	}
	return true
}

// retire removes the access token. The result of a refresh in flight is late, and the row is never
// due until a grant.
func (r *row) retire(m instant) {
	r.endLease(m)
	r.version = r.issue(m, 0)
	r.access, r.expires, r.retired = seal.Secret{}, time.Time{}, m.now
	r.unopened.access = ""
	r.schedule(m)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
