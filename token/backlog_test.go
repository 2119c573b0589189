package token

import (
	"slices"
	"testing"
	"time"

	"wxplatform/internal/dbtest"
)

func TestBacklogCountsWhatWaitsForKeepers(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		p.grant(s, wx)
		ms := p.now().UnixMilli()
		minute := time.Minute.Milliseconds()
		want := func(want Backlog) {
			t.Helper()
			got, err := s.Backlog(t.Context())
			got.DueFor, got.SuspectsPast = got.DueFor.Truncate(time.Minute), got.SuspectsPast.Truncate(time.Minute)
			if err != nil || got != want {
				t.Errorf("got %+v, %v, want %+v", got, err, want)
			}
		}
		want(Backlog{})
		for name, row := range map[string][4]int64{ // due, unsettled, retired
			"wx01": {ms - 3*minute, 0, 0},
			"wx02": {ms - 7*minute, ms - 7*minute, 0},
			"wx03": {ms + minute, ms - 2*minute, 0},
			"wx04": {ms + 60*minute, ms - 60*minute, 0}, // its refresh token is dead: it is tried once a day
			"wx05": {0, ms - 60*minute, 1},
			"wx06": {ms + minute, 0, 0},
		} {
			p.exec(`INSERT INTO tokens (kind, id, access, refresh, spare, due, unsettled_until, retired_at) VALUES ('authorizer', $1, $2, $2, $2, $3, $4, $5)`, name, []byte{}, row[0], row[1], row[2])
		}
		want(Backlog{Due: 2, DueFor: 7 * time.Minute, Suspects: 2, SuspectsPast: 7 * time.Minute})
		if other, err := p.replica(Component).Backlog(t.Context()); err != nil || other != (Backlog{}) {
			t.Errorf("got %+v, %v of the other kind, want nothing", other, err)
		}
	})
}

func TestRenewedReportsTheRemainingLifeOfTheOldToken(t *testing.T) {
	p := newPlatform(t, dbtest.SQLiteURL(t), "")
	s, wx := p.replica(Authorizer), &fakeWeChat{}
	var told []time.Duration
	s.Renewed = func(left time.Duration) { told = append(told, left.Round(time.Minute)) }
	bad := p.grant(s, wx)
	p.pass(time.Hour)
	p.renewed(s, wx)
	if _, err := s.Replace(t.Context(), id, bad, wx); err != nil { // known: nothing is asked
		t.Fatal(err)
	}
	p.pass(3 * time.Hour) // nobody renewed it, though it was in use
	if _, err := s.Get(t.Context(), id, wx); err != nil {
		t.Fatal(err)
	}
	p.pass(48 * time.Hour) // and here it was not
	if _, err := s.Get(t.Context(), id, wx); err != nil {
		t.Fatal(err)
	}
	if want := []time.Duration{time.Hour, -time.Hour}; !slices.Equal(told, want) {
		t.Errorf("got %v, want %v", told, want)
	}
}
