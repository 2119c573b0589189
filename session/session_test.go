package session

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"wxplatform/authorizer"
	"wxplatform/wechat"
)

func TestWhatBecameOfASessionWhoseCloseWasLost(t *testing.T) {
	sent := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		now  Session
		same bool
		sent time.Time
		want finding
		err  error
	}{
		"nobody serves":              {Session{}, false, sent, ended, nil},
		"nobody, at no known time":   {Session{}, false, time.Time{}, ended, nil},
		"the same, older":            {Session{"a@b", sent.Add(-time.Hour)}, true, sent, stillOpen, nil},
		"another's, older":           {Session{"c@b", sent.Add(-time.Hour)}, false, sent, 0, ErrServedByAnother},
		"the same, newer":            {Session{"a@b", sent.Add(time.Minute)}, true, sent, ended, nil},
		"another's, newer":           {Session{"c@b", sent.Add(time.Minute)}, false, sent, ended, nil},
		"begun as the close was":     {Session{"a@b", sent.Add(4 * time.Second)}, true, sent, 0, ErrUnknownOutcome},
		"ended as the close was":     {Session{"a@b", sent.Add(-4 * time.Second)}, true, sent, 0, ErrUnknownOutcome},
		"WeChat's clock is not told": {Session{"a@b", sent.Add(-time.Hour)}, true, time.Time{}, 0, ErrUnknownOutcome},
		"its beginning is not told":  {Session{"a@b", time.Time{}}, true, sent, 0, ErrUnknownOutcome},
	} {
		if got, err := c.now.became(c.same, c.sent); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: got %d, %v, want %d, %v", name, got, err, c.want, c.err)
		}
	}
}

func TestAKFAccountHasTwoNames(t *testing.T) {
	shop := authorizer.Profile{Alias: "TestShop", UserName: "gh_1a2b3c4d5e6f"}
	for _, c := range []struct {
		one, other wechat.KFAccount
		of         authorizer.Profile
		same       bool
	}{
		{"kf2001@TestShop", "kf2001@gh_1a2b3c4d5e6f", shop, true},
		{"kf2001@gh_1a2b3c4d5e6f", "KF2001@testshop", shop, true},
		{"kf2001@TestShop", "kf2001@TESTSHOP", authorizer.Profile{}, true},
		{"kf2001@TestShop", "kf2002@gh_1a2b3c4d5e6f", shop, false},
		{"kf2001@TestShop", "kf2001@gh_ffffffffffff", shop, false},
		{"kf2001@other", "kf2001@gh_1a2b3c4d5e6f", shop, false},
		{"kf2001@TestShop", "kf2001@gh_1a2b3c4d5e6f", authorizer.Profile{}, false},
		{"kf2001@TestShop", "kf2001@", authorizer.Profile{Alias: "TestShop"}, false},
		{"kf2001", "kf2001@gh_1a2b3c4d5e6f", authorizer.Profile{UserName: "gh_1a2b3c4d5e6f"}, false},
	} {
		if got := sameKFAccount(c.of, c.one, c.other); got != c.same {
			t.Errorf("%s and %s: got the same %v, want %v", c.one, c.other, got, c.same)
		}
	}
}

func TestAnImpossibleCreatetimeIsNotUsed(t *testing.T) {
	now := time.Now()
	for text, want := range map[string]int64{
		`{"createtime":1400000000}`:    1400000000,
		`{"createtime":"1400000000"}`:  1400000000,
		`{"createtime":0}`:             0,
		`{}`:                           0,
		`{"createtime":-1}`:            0,
		`{"createtime":1200000000}`:    0, // 2008
		`{"createtime":1400000000000}`: 0, // milliseconds
		fmt.Sprintf(`{"createtime":%d}`, now.Unix()+3600):    now.Unix() + 3600,
		fmt.Sprintf(`{"createtime":%d}`, now.Unix()+25*3600): 0,
		`{"createtime":"yesterday"}`:                         0,
	} {
		o, _ := wechat.ParseObject([]byte(text))
		got := created(o)
		if got.IsZero() != (want == 0) || want != 0 && got.Unix() != want {
			t.Errorf("%s: got %v, want %d", text, got, want)
		}
	}
}

// getsession settles a lost close, so a cut or contradictory answer must not pass as the end of a
// session.
func TestOnlyAWholeAnswerThatAgreesWithItselfIsASession(t *testing.T) {
	for text, want := range map[string]wechat.KFAccount{
		`{"kf_account":"a@b","createtime":1500000000}`:                         "a@b",
		`{"errcode":0,"errmsg":"ok","createtime":"0","kf_account":""}`:         "",
		"\xef\xbb\xbf{\"kf_account\":\"a\x14@b\"}\n":                           "a@b",
		`{"kf_account":"a@b","createtime":1500000000,"kf_account":"a@b"}`:      "a@b",
		`{"kf_account":"","x":{"kf_account":"a@b"}}`:                           "",
		`{"kf_account":"","crea`:                                               unread,
		`{"kf_account":""`:                                                     unread,
		`{"kf_account":"","createtime":}`:                                      unread,
		`{"kf_account":""}{"kf_account":"a@b"}`:                                unread,
		`{"kf_account":""} <html>`:                                             unread,
		`{"kf_account":"a@b","createtime":1500000000,"kf_account":""}`:         unread,
		`{"kf_account":"","createtime":1500000000,"kf_account":"a@b"}`:         unread,
		`{"kf_account":"a@b","kf\u005faccount":""}`:                            unread,
		`{"kf_account":null,"kf_account":""}`:                                  unread,
		`{"kf_account":"a@b","createtime":1500000000,"createtime":1600000000}`: unread,
		`{"kf_account":"","authorizer_access_token":"t"}`:                      unread,
		`{"kf_account":null}`:                                                  unread,
		`{}`:                                                                   unread,
	} {
		o, _ := wechat.ParseObject([]byte(text))
		got := Session{KFAccount: unread}
		if lacks := got.read(o); got.KFAccount != want || (lacks == "") != (want != unread) {
			t.Errorf("%s: got %+v, lacks %q, want %q", text, got, lacks, want)
		}
	}
}

const unread = "unread"
