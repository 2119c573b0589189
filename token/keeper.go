package token

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"wxplatform/internal/db"
	"wxplatform/wechat"
)

// Due lists up to n ids that a keeper should Renew, the most urgent first, and fairly between their
// owners. It claims nothing. From time to time it first records which tokens were used.
func (s *Store) Due(ctx context.Context, n int) ([]wechat.AppID, error) {
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return nil, err
	}
	if err := s.saveUses(ctx, now); err != nil {
		return nil, err
	}
	if err := s.repairSuspects(ctx, s.instantAt(now)); err != nil {
		return nil, err
	}
	return s.table.due(ctx, now, s.times.overdue(), false, n)
}

// Warm lists up to n ids as Due does, of tokens used within a week but not within a day: a keeper
// may Renew them if nothing is more urgent and the budget allows it.
func (s *Store) Warm(ctx context.Context, n int) ([]wechat.AppID, error) {
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return nil, err
	}
	return s.table.due(ctx, now, s.times.overdue(), true, n)
}

// saveUses writes uses to SQL, at most every few minutes. If SQL fails, it keeps them for the next
// time.
func (s *Store) saveUses(ctx context.Context, now time.Time) error {
	noted, due := s.uses.take(now, s.times.useResolution())
	if !due {
		return nil
	}
	for _, id := range s.newest.TakeUsed() {
		noted = append(noted, wechat.AppID(id))
	}
	for some := range slices.Chunk(noted, usesAtOnce) {
		if err := s.saveSome(ctx, now, some); err != nil {
			s.uses.note(noted...)
			return err
		}
	}
	return nil
}

// saveSome writes some uses, and repairs rows that were restored from an older dump: they never
// issued the version that this process knows.
func (s *Store) saveSome(ctx context.Context, now time.Time, some []wechat.AppID) error {
	known := make(map[wechat.AppID]Version, len(some))
	for _, id := range some {
		known[id] = s.version(id)
	}
	list, err := json.Marshal(known)
	if err != nil {
		return err
	}
	if err := s.table.touch(ctx, now, string(list)); err != nil {
		return err
	}
	restored, err := s.table.restored(ctx, string(list))
	return errors.Join(err, s.repair(ctx, restored))
}

// repairSuspects repairs suspect rows that are due later than possible because the clock was set
// back. Nobody else looks at them before they are due. repair checks each again under its lock: if
// this process was paused since it read the time, a row that became suspect meanwhile looks like
// one of them.
func (s *Store) repairSuspects(ctx context.Context, m instant) error {
	suspects, err := s.table.suspects(ctx, m.settles(), repairsAtOnce)
	return errors.Join(err, s.repair(ctx, suspects))
}

const repairsAtOnce = 500

// repair repairs rows that no caller asks for.
func (s *Store) repair(ctx context.Context, ids []wechat.AppID) (err error) {
	for _, id := range ids {
		err = errors.Join(err, s.change(ctx, id, func(r *row, m instant) error {
			r.schedule(m)
			return nil
		}))
	}
	return err
}

// Backlog counts the work that waits for keepers. Both counts stop at BacklogMost.
type Backlog struct {
	Due          int
	DueFor       time.Duration // how long the row due longest has waited
	Suspects     int           // rows whose token may not be the newest, and that keepers look at soon
	SuspectsPast time.Duration // how long the first of them could have been refreshed; negative: none can yet
}

// BacklogMost limits the cost of reading a large backlog.
const BacklogMost = 10_000

// soon is how long keepers may leave a suspect row alone for Backlog to count it. One that waits
// longer has another problem: its refresh token is dead, or its quota is used up.
const soon = 10 * time.Minute

// Backlog reads the indexes of due and of suspect rows, for metrics.
func (s *Store) Backlog(ctx context.Context) (Backlog, error) {
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return Backlog{}, err
	}
	due, err := s.table.oldestDue(ctx, now, BacklogMost)
	if err != nil {
		return Backlog{}, err
	}
	suspect, err := s.table.oldestSuspect(ctx, now.Add(soon), BacklogMost)
	return Backlog{Due: due.count, DueFor: due.age(now), Suspects: suspect.count, SuspectsPast: suspect.age(now)}, err
}
