package token

import (
	"errors"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

// Times bound custody (docs/design.md, "Custody"). They only hold in their order.
type Times struct {
	Call      time.Duration // an ask takes at most this long
	Lease     time.Duration // a holder has the row for this long, and sends only if a call still fits
	Unsettled time.Duration // a request of unknown outcome may act for this long
	Overlap   time.Duration // WeChat lets a replaced token live for this long
	Life      time.Duration // of a token, as a rule; each answer says its own
}

// DefaultTimes are those of production.
func DefaultTimes() Times {
	return Times{Call: 8 * time.Second, Lease: 12 * time.Second, Unsettled: time.Minute, Overlap: 5 * time.Minute, Life: 2 * time.Hour}
}

func (t Times) check() error {
	if 0 < t.Call && t.Call < t.Lease && t.Lease < t.Unsettled && t.Unsettled < t.Overlap && t.Overlap < t.Life {
		return nil
	}
	return errors.New("times of custody: want call < lease < unsettled < overlap < life")
}

// patience bounds how long callers wait for one token: two leases of others, the component token that
// a request needs, and two requests.
func (t Times) patience() time.Duration { return 4*(t.Lease+t.Call) + 10*time.Second }

const (
	forcedRefreshes = 5 // of one row
	forcedWithin    = 10 * time.Minute
	forcedEach      = forcedWithin / forcedRefreshes
	longestRetry    = 12 * time.Second
	longestRest     = 5 * time.Minute
	longestBar      = 25 * time.Hour // WeChat's quotas are those of a day
	firstRest       = 5 * time.Second
	tick            = time.Millisecond // the grain of the database's clock
)

// A token that was called within half a life is in steady use, one within twelve lives in use, one within 84 lives is warm: worth its renewal if the budget allows (an hour, a day and a week where a token lives for two hours).
func (t Times) lately() time.Duration { return t.Life / 2 }
func (t Times) idle() time.Duration   { return 12 * t.Life }
func (t Times) cold() time.Duration   { return 84 * t.Life }

// late is how long before its expiry a token in use should have been renewed, whatever its jitter.
func (t Times) late() time.Duration { return t.Life * 5 / 24 }

// brief is the life below which an answer's word on how long its token lives is not believed: taken
// at its word, such a token would be replaced with every call.
func (t Times) brief() time.Duration { return t.Life / 120 }

// Uses are noted no finer than this.
func (t Times) grain() time.Duration { return t.Life / 24 }

// row is what SQL keeps of one token. Its methods are all the rules of custody, as functions of it and a moment; they neither read nor send anything.
type row struct {
	fence     Version   // the last one issued
	version   Version   // the fence of what is stored
	claimed   time.Time // when the last fence was issued
	lease     time.Time // until when a holder has the row; zero: there is none
	unsettled time.Time // until when a request that nobody knows the end of may act. Set, it makes the row suspect

	access     seal.Secret
	refresh    seal.Secret
	spare      seal.Secret // tried when refresh is refused
	spareFence Version
	expires    time.Time

	early, late time.Time // when to renew the token if it was called lately, or is in use at all
	due         time.Time // when keepers look at the row; zero: never
	warm        bool      // due only if the budget allows
	failures    int
	retry       time.Time // before this callers do not ask again
	barred      time.Time // before this nobody does, for WeChat said that it is of no use
	used        time.Time
	forced      time.Time // until when the allowance of forced refreshes is used up, less a burst
	forcedFor   Version   // the last version that counted
	retired     time.Time
}

// instant is when something happens to a row: by the database's clock, with the times that hold, and a number in [0, 1) that spreads what would else happen at once.
type instant struct {
	Times
	now    time.Time
	jumped bool    // the clock was set a moment ago, so that nothing can be told by how long ago it was
	known  Version // the newest that this process knows
	spread float64
}

// claim is what a holder took away from a row.
type claim struct {
	fence   Version
	at      time.Time // by the database's clock
	refresh seal.Secret
	spare   seal.Secret
	refused bool // WeChat refused refresh for good
	spent   bool // and spare too

	left  time.Duration // that the old token had to live when it was claimed
	inUse bool          // so that it should have been renewed ahead
}

// mend undoes what a database's clock that was set back would make last: nothing waits for longer than it would have.
// And it notices the restore of an older dump: the row never issued a version that is known. What was known of it and what was under way is lost with the row that did, so this one is suspect, and whoever has it is late.
func (r *row) mend(m instant) {
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

// settles is the latest time until which anything that was sent by now may act.
func (m instant) settles() time.Time { return m.now.Add(m.Lease - m.Call + m.Unsettled) }

// held reports whether somebody has the row. A lease that ends later than any given now could is over: the clock was set back.
func (r *row) held(m instant) bool {
	return m.now.Before(r.lease) && r.lease.Sub(m.now) <= m.Lease
}

// issue makes the next fence, above all that went before it and above bad, the version that a caller found of no use: after the restore of an old dump that may be newer than the row.
// What is stored may be newer than the last fence, by a holder who claimed before the restore.
func (r *row) issue(m instant, bad Version) Version {
	r.fence = max(Version(db.Next(int64(max(r.fence, r.version)), m.now)), bad+1)
	r.claimed = m.now
	return r.fence
}

// claim gives the row to a caller until the lease ends. Then it is due, so that a holder who vanished is noticed.
// Where the clock was set forward, what may still happen at WeChat seems past. So what is unsettled stays that, and the row is refreshed once more after this.
func (r *row) claim(m instant, bad Version) claim {
	r.endLease(m)
	if m.jumped && !r.unsettled.IsZero() {
		r.unsettle(m.settles(), m)
	}
	fence := r.issue(m, bad)
	r.lease = m.now.Add(m.Lease)
	r.due = r.lease
	return claim{fence: fence, at: m.now, refresh: r.refresh, spare: r.spare}
}

// endLease takes the row from a holder of whom nothing was heard. WeChat may still act on what he sent, as if he had sent it now: how long ago his lease ended says nothing, for the clock may have been set since, and nobody need have noticed.
func (r *row) endLease(m instant) {
	if r.lease.IsZero() {
		return
	}
	r.lease = time.Time{}
	r.unsettle(m.settles(), m)
}

// unsettle makes the row suspect. It always shows to whoever claimed before, be it in the same millisecond.
func (r *row) unsettle(until time.Time, m instant) {
	r.unsettled = later(later(r.unsettled, until), earlier(r.claimed, m.now).Add(tick))
}

// succeed takes an answer to the ask of c. A newer one is stored; an older one is not, but its refresh token is kept. It is clean, and ends all suspicion, only if nothing can have acted at WeChat after it.
func (r *row) succeed(c claim, a Answer, m instant) {
	if c.fence == r.version {
		return // stored by a commit that seemed to fail
	}
	late := c.fence != r.fence || !r.held(m)
	clean := !late && !r.unsettled.After(r.claimed)
	r.promote(c)
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

// replace stores a as version. Unless that is clean, the refresh token that it replaces becomes the spare.
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
		r.unsettled, r.spare, r.spareFence = time.Time{}, seal.Secret{}, 0
	} else {
		r.keep(old, oldVersion)
	}
	r.failures, r.retry, r.barred = 0, time.Time{}, time.Time{}
	r.live(a.ExpiresIn, asked, m)
}

// live sets when the token expires and is to be renewed: 55–65 % of its life ahead if it was called lately, else 1/12 to 5/24 (10–25 minutes of two hours).
func (r *row) live(life time.Duration, asked time.Time, m instant) {
	r.expires = earlier(asked, m.now).Add(life)
	r.early = r.expires.Add(-part(life, 0.55+0.10*m.spread))
	r.late = r.expires.Add(-part(life, (2+3*m.spread)/24))
	if life < m.brief() {
		r.early, r.late = m.now.Add(forcedEach), m.now.Add(forcedEach)
	}
}

// brief reports whether the stored token was given a life so short that its refreshes count as forced.
func (r *row) brief(m instant) bool {
	return r.version == r.fence && !r.access.IsZero() && r.expires.Sub(r.claimed) < m.brief()
}

func part(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * share).Truncate(tick)
}

// keep makes refresh the spare, unless it is known already or the spare is a newer one. A listed one has no fence, so it only ever fills an empty place.
func (r *row) keep(refresh seal.Secret, fence Version) bool {
	known := refresh.IsZero() || refresh.Equal(r.refresh) || refresh.Equal(r.spare)
	if known || !r.spare.IsZero() && fence <= r.spareFence {
		return false
	}
	r.spare, r.spareFence = refresh, fence
	return true
}

// promote gives the spare the place of a refresh token that WeChat refused for good.
func (r *row) promote(c claim) {
	if c.killed(r.refresh) && !r.spare.IsZero() {
		r.refresh, r.spare, r.spareFence = r.spare, seal.Secret{}, 0
	}
}

// killed reports whether WeChat refused refresh for good under this claim.
func (c claim) killed(refresh seal.Secret) bool {
	return c.refused && refresh.Equal(c.refresh) || c.spent && refresh.Equal(c.spare)
}

func (r *row) release(c claim) {
	if c.fence == r.fence {
		r.lease = time.Time{}
	}
}

// left is how long the row's token still lives, and whether it is in use: a keeper should see to it.
func (r *row) left(m instant) (time.Duration, bool) {
	return r.expires.Sub(m.now), !r.access.IsZero() && m.now.Sub(r.used) < m.idle()
}

// fail takes the end of an ask that gave no answer. It reports whether the row has another refresh token than those that were refused: then nothing is dead, and it may be asked again at once.
func (r *row) fail(c claim, how outcome, m instant) (another bool) {
	if how == unknown {
		r.unsettle(m.now.Add(m.Unsettled), m)
	}
	if how == dead {
		c.refused, c.spent = true, true
	}
	r.promote(c)
	if another = how == dead && !c.killed(r.refresh); another {
		how = notAsked
	}
	last := c.fence == r.fence
	r.release(c)
	if last && how != notAsked {
		r.failures++
		r.retry = m.now.Add(wait(time.Second, r.failures, min(longestRetry, m.Lease)))
		r.due = m.now.Add(r.rest(how, m))
	}
	r.schedule(m)
	return another
}

// bar keeps the row from being asked for before a time, after the ask of c failed.
func (r *row) bar(c claim, until time.Time, m instant) {
	if c.fence != r.fence {
		return
	}
	r.barred = until
	r.schedule(m)
}

// hasten lets the row be asked for at once, whatever failed before.
func (r *row) hasten(m instant) {
	r.retry, r.barred = time.Time{}, time.Time{}
	if r.failures > 0 && !r.due.IsZero() {
		r.due = earlier(r.due, m.now)
	}
	r.schedule(m)
}

// rest is how long keepers leave a row alone whose ask failed. One that nobody waits for is tried once a day; a dead refresh token too, unless another is found before,
// but sooner at first: what its refusal means is noted elsewhere, after the row, and a process that dies between the two leaves nobody looking for another one.
func (r *row) rest(how outcome, m instant) time.Duration {
	switch {
	case how == dead:
		return wait(m.lately(), r.failures, m.idle())
	case r.next(m).IsZero(), r.onlyWarm(m):
		return m.idle()
	}
	return part(wait(firstRest, r.failures, min(longestRest, m.grain())), 0.5+m.spread)
}

// wait doubles first with each failure, up to most.
func wait(first time.Duration, failures int, most time.Duration) time.Duration {
	for ; failures > 1 && first < most; failures-- {
		first *= 2
	}
	return min(first, most)
}

// next is when the row wants a refresh, whatever became of the last one; zero is never.
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
	case m.now.Sub(r.used) < m.lately()+m.grain():
		return r.early
	case m.now.Sub(r.used) < m.cold():
		return r.late
	default:
		return time.Time{}
	}
}

// onlyWarm reports whether next is only that of a token which nobody called for a day.
func (r *row) onlyWarm(m instant) bool {
	unused := m.now.Sub(r.used)
	return r.lease.IsZero() && r.unsettled.IsZero() && !r.access.IsZero() && m.idle() <= unused && unused < m.cold()
}

// schedule sets when keepers look at the row. After a failure that is not before its rest is over, but then for certain.
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

// renews is wanted, within the allowance of forced refreshes where the row's token is a brief one.
func (r *row) renews(m instant) bool {
	return r.wanted(m) && (!r.brief(m) || r.force(r.version, m))
}

// wanted reports whether a keeper should claim the row now, after it has put right a due time that was only a guess. One that turns out to be warm only now waits until it is listed as that.
func (r *row) wanted(m instant) bool {
	was := r.warm
	r.schedule(m)
	return !r.due.IsZero() && !r.due.After(m.now) && !r.held(m) && (was || !r.warm)
}

// alive reports whether the access token may be used at the time given. One that expires within a call's time may not.
func (r *row) alive(at time.Time, t Times) bool {
	return !r.access.IsZero() && at.Before(r.expires.Add(-t.Call))
}

// need is what a caller or a keeper needs: a token newer than a version, because WeChat rejected that
// version, or because it has expired by the caller's own clock; or a renewal ahead of time.
type need struct {
	newerThan Version
	rejected  bool
	ahead     bool
}

// decision is what a caller gets from a row.
type decision int

const (
	ended      decision = iota // the row is retired: there is nothing to ask with
	usable                     // the row's token will do
	busy                       // somebody else is asking
	backingOff                 // the last ask failed a moment ago
	limited                    // too many forced refreshes
	claimable                  // the caller may claim the row, suspect or not
)

// serves reports whether the row's token meets the need of a caller with the given clock.
func (r *row) serves(n need, clock time.Time, t Times) bool {
	return r.version > n.newerThan && r.alive(clock, t)
}

// decide says what a caller with the given clock gets. It counts a refresh that is forced: one of a
// token that still lives by the database's clock, or whose life was brief from the start.
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
	case (r.alive(m.now, m.Times) || r.brief(m)) && !r.force(max(n.newerThan, r.version), m):
		return limited
	default:
		return claimable
	}
}

// mayClaim reports whether the row may be claimed now for a need.
func (r *row) mayClaim(n need, clock time.Time, m instant) bool {
	if n.ahead {
		return r.renews(m)
	}
	return r.decide(n, clock, m) == claimable
}

// force allows five refreshes in ten minutes, kept as one timestamp that each moves by two minutes. A version counts once, however often its replacement fails.
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

// grant takes an answer that no claim asked for: an exchange, sent at the time given by the database's clock. It ends whatever lease is set, so that a refresh under way is late by that alone.
// It is clean only if no refresh can have been under way when it was sent, as far as clocks can tell. An answer without an access token comes from WeChat's list, so where there is a refresh token already its own is only the spare.
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

// offer takes a refresh token from WeChat's list. It overwrites nothing and makes the row suspect, and reports false for one that is no news.
// Where there is no access token nobody waits for the row, and a whole list may come at once: it is asked for within a life, not all at the same time.
// Whatever bars the row goes on: a quota that is used up is so for every refresh token.
func (r *row) offer(refresh seal.Secret, m instant) bool {
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

// retire takes the access token away: whatever is under way is late, and the row is never due until a grant.
func (r *row) retire(m instant) {
	r.endLease(m)
	r.version = r.issue(m, 0)
	r.access, r.expires, r.retired = seal.Secret{}, time.Time{}, m.now
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
