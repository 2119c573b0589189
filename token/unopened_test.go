package token

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/wechat"
)

// breaks stores a value in a sealed column of the row that does not open there.
func (p *platform) breaks(column string) {
	p.t.Helper()
	p.exec(`UPDATE tokens SET `+column+` = $1 WHERE id = $2`, p.ring.Seal(seal.NewSecret("of another row"), "tokens", column, "authorizer", "wxother"), id)
}

func (p *platform) health(s *Store, ids ...wechat.AppID) map[wechat.AppID]Health {
	p.t.Helper()
	all, err := s.Health(p.t.Context(), ids)
	if err != nil {
		p.t.Fatal(err)
	}
	return all
}

func TestAValueThatDoesNotOpenHidesNoOtherRow(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		p.grant(s, wx)
		p.exec(`INSERT INTO tokens (kind, id, access, refresh, spare) SELECT kind, 'wxcopied', access, refresh, spare FROM tokens WHERE id = $1`, id)
		all := p.health(s, id, "wxcopied")
		if all[id].Freshness != Fresh || all[id].Unopened || !all["wxcopied"].Unopened || all["wxcopied"].Freshness != Missing {
			t.Errorf("got %+v, want the first fresh and the copy without a token", all)
		}
		listed := map[wechat.AppID]seal.Secret{id: seal.NewSecret(wx.refresh), "wxcopied": seal.NewSecret(wx.refresh)}
		if news, err := s.NotStored(t.Context(), listed); err != nil || news[id] || !news["wxcopied"] {
			t.Errorf("got %v, %v, want news for the copy", news, err)
		}
	})
}

func TestAnAccessTokenThatDoesNotOpenIsRefreshed(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		wx := &fakeWeChat{}
		p.grant(p.replica(Authorizer), wx)
		p.breaks("access")
		s := p.replica(Authorizer)
		if got, err := s.Get(t.Context(), id, wx); err != nil || got.Access.Reveal() != "access 2" {
			t.Errorf("got %v, %v, want a new token", got, err)
		}
		if p.health(s, id)[id].Unopened {
			t.Error("got the row still broken")
		}
		p.newestStored(s, wx)
	})
}

func TestARowWhoseRefreshTokenDoesNotOpenIsLeftAlone(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		p.grant(s, wx)
		p.breaks("refresh")
		if got, err := s.Get(t.Context(), id, wx); err != nil || got.Access.Reveal() != "access 1" {
			t.Errorf("got %v, %v, want the access token used while it lives", got, err)
		}
		p.pass(time.Hour)
		p.due(s, string(id))
		var failure *Failure
		if err := s.Renew(t.Context(), id, wx); !errors.As(err, &failure) || !errors.Is(err, ErrUnopened) || !errors.Is(err, seal.ErrForged) {
			t.Errorf("got %v, want the failure recorded", err)
		}
		p.due(s, "")
		p.pass(90 * time.Minute)
		for _, replica := range []*Store{s, p.replica(Authorizer)} {
			if got, err := replica.Get(t.Context(), id, wx); err == nil {
				t.Errorf("got %v, want no token", got)
			}
		}
		wx.asked(t, 0)
	})
}

func TestARefreshTokenThatDoesNotOpenGivesWayToTheSpare(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		if taken, err := p.spare(s, wx.refresh+"?"); !taken || err != nil {
			t.Fatal(taken, err)
		}
		wx.revoke(wx.refresh + "?")
		p.breaks("refresh")
		if got, err := s.Replace(t.Context(), id, bad, wx); err != nil || got.Access.Reveal() != "access 2" {
			t.Errorf("got %v, %v, want a token by the spare", got, err)
		}
		if p.health(s, id)[id].Unopened {
			t.Error("got the row still broken")
		}
	})
}

func TestAListedRefreshTokenHealsARow(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(s, wx)
		p.breaks("refresh")
		if _, err := s.Replace(t.Context(), id, bad, wx); !errors.Is(err, ErrUnopened) {
			t.Errorf("got %v, want ErrUnopened", err)
		}
		if taken, err := p.spare(s, wx.refresh); !taken || err != nil {
			t.Errorf("got %v, %v, want the listed token taken", taken, err)
		}
		if _, err := s.Replace(t.Context(), id, bad, wx); err != nil || p.health(s, id)[id].Unopened {
			t.Errorf("got %v, want a token", err)
		}
	})
}

func TestANewAuthorizationHealsARow(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		p.grant(s, wx)
		for _, column := range sealedColumns {
			p.breaks(column)
			p.pass(10 * time.Minute)
			p.grant(s, wx)
			if got := p.health(s, id)[id]; got.Unopened || got.Freshness != Fresh {
				t.Errorf("%s: got %+v, want it healed", column, got)
			}
			p.newestStored(p.replica(Authorizer), wx)
		}
	})
}

// A process that lacks a key cannot tell whether a value is broken.
func TestAMissingKeyChangesNoRow(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		_, _, rotate := rotating(t, p)
		behind, wx := p.replica(Authorizer), &fakeWeChat{}
		bad := p.grant(behind, wx)
		old := p.ring
		rotate()
		if err := behind.db.AdoptKeys(t.Context(), p.ring); err != nil {
			t.Fatal(err)
		}
		ahead := p.replica(Authorizer)
		token, err := ahead.Replace(t.Context(), id, bad, wx)
		if err != nil {
			t.Fatal(err)
		}
		before := p.raw()
		p.ring = old
		if _, err := p.replica(Authorizer).Replace(t.Context(), id, token.Version, wx); !errors.Is(err, db.ErrMissingKey) {
			t.Errorf("got %v, want ErrMissingKey", err)
		}
		if after := p.raw(); after != before {
			t.Errorf("got %s, want the row as it was: %s", after, before)
		}
		wx.asked(t, 1)
	})
}

// A value that does not open is not lost: another process may have its key.
func TestAValueThatDoesNotOpenIsWrittenBack(t *testing.T) {
	each(t, func(t *testing.T, p *platform) {
		s, wx := p.replica(Authorizer), &fakeWeChat{}
		p.grant(s, wx)
		for _, column := range sealedColumns {
			p.breaks(column)
		}
		before := p.raw()
		_ = s.Renew(context.Background(), id, wx)
		clearBackOff(t, s)
		if after := p.raw(); after != before {
			t.Errorf("got %s, want %s", after, before)
		}
	})
}

// raw returns the sealed values of the row as SQL has them.
func (p *platform) raw() string {
	p.t.Helper()
	text, err := db.One(p.t.Context(), p.first, func(scan db.Scan) (string, error) {
		var access, refresh, spare []byte
		err := scan(&access, &refresh, &spare)
		return fmt.Sprintf("%x %x %x", access, refresh, spare), err
	}, `SELECT access, refresh, spare FROM tokens WHERE id = $1`, id)
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}
