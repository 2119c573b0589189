package token

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

// rotating makes p's replicas seal under an old key. rotate gives replicas that start later a newer
// key too.
func rotating(t *testing.T, p *platform) (old, both *seal.Ring, rotate func()) {
	t.Helper()
	oldKey, youngKey := seal.NewKey(), seal.NewKey()
	old, both = ring(t, oldKey), ring(t, youngKey+","+oldKey)
	p.ring = old
	return old, both, func() { p.ring = both }
}

func ring(t *testing.T, keys string) *seal.Ring {
	t.Helper()
	r, err := seal.NewRing(seal.NewSecret(keys))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestResealKeepsARowThatWasRefreshedMeanwhile(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		_, _, rotate := rotating(t, p)
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		rotate()
		resealer := p.replica(Authorizer)
		table := resealer.table.sealedTable()
		rows, err := table.Read(t.Context(), resealer.db, "", 10)
		if err != nil || len(rows) != 1 {
			t.Fatalf("got %d rows, %v, want the one", len(rows), err)
		}
		if _, err := s.Replace(t.Context(), id, bad, wx); err != nil {
			t.Fatal(err)
		}
		var fresh [][]byte
		for i, sealed := range rows[0].Sealed {
			b, err := p.ring.Reseal(sealed, rows[0].Places[i]...)
			if err != nil {
				t.Fatal(err)
			}
			fresh = append(fresh, b)
		}
		err = resealer.db.Tx(t.Context(), func(tx *db.Tx) error {
			mine, err := table.Replace(t.Context(), tx, rows[0], fresh)
			if mine {
				t.Error("got the row replaced by what it was before the refresh")
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		p.newestStored(resealer, wx)
	})
}

func TestResealDuringRefreshesLosesNoToken(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		_, both, rotate := rotating(t, p)
		before, wx := p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(before, wx)
		for i := range 40 {
			p.exec(`INSERT INTO tokens (kind, id, access, refresh, spare) VALUES ($1, $2, $3, $4, $5)`, Authorizer, fmt.Sprintf("wx%016x", i+1000),
				[]byte{}, before.table.ring.Seal(seal.NewSecret("r"), "other place: stuck for ever"), []byte{})
		}
		rotate()
		after := p.replica(Authorizer)
		var working sync.WaitGroup
		stop := make(chan struct{})
		working.Go(func() { // a replica that was not restarted yet, and one that was, refresh in turn
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				s := []*Store{before, after}[i%2]
				if got, err := s.Replace(t.Context(), id, bad, wx); err == nil {
					bad = got.Version
				}
				p.pass(3 * time.Minute)
			}
		})
		resealer := p.replica(Authorizer)
		for range 30 {
			for page := (db.Page{Most: 7}); ; {
				done, err := resealer.Reseal(t.Context(), page)
				if err != nil {
					t.Fatal(err)
				}
				if page.After = done.Next; done.Next == "" {
					break
				}
			}
		}
		close(stop)
		working.Wait()
		p.newestStored(after, wx)
		done, err := resealer.Reseal(t.Context(), db.Page{Most: 100})
		if err != nil || len(done.Stuck) != 40 || !strings.HasPrefix(done.Stuck[0], "wx") {
			t.Errorf("got %d rows stuck, %v, want the 40 that do not open, named", len(done.Stuck), err)
		}
		if young := both.Keys()[0]; done.Under[young] == 0 || done.Under[young]+done.Under[both.Keys()[1]] < 42 {
			t.Errorf("got %v, want the token under the newest key and the rest counted", done.Under)
		}
	})
}

func TestASecondResealChangesNothing(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		old, both, rotate := rotating(t, p)
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		p.grant(s, wx)
		rotate()
		s = p.replica(Authorizer)
		count, err := s.Reseal(t.Context(), db.Page{Most: 10, CountOnly: true})
		if err != nil || count.Moved != 0 || count.Under[old.Keys()[0]] != 2 {
			t.Errorf("got %+v, %v, want two values counted and none moved", count, err)
		}
		for _, want := range []int{2, 0} {
			done, err := s.Reseal(t.Context(), db.Page{Most: 10})
			if err != nil || done.Moved != want || done.Under[both.Keys()[0]] != 2 || len(done.Under) != 1 {
				t.Errorf("got %+v, %v, want %d values moved to the newest key", done, err, want)
			}
		}
		p.newestStored(s, wx)
	})
}
