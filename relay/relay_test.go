package relay

import (
	"testing"

	"wxplatform/wechat"
)

func TestOnlyASuccessWithoutAnyGuessedSetDisprovesTheGuess(t *testing.T) {
	sets := func(ids ...wechat.PermissionSet) []wechat.PermissionSet { return ids }
	for what, c := range map[string]struct {
		rule            SetRule
		needed, granted []wechat.PermissionSet
		want            bool
	}{
		"none of the guessed":   {Guessed, sets(15, 18), sets(1, 2), true},
		"one of the guessed":    {Guessed, sets(15, 18), sets(1, 18), false},
		"documented":            {Required, sets(15), sets(1), false},
		"unsupported":           {Unsupported, sets(15), sets(1), false},
		"nothing guessed":       {Guessed, nil, sets(1), false},
		"nothing known granted": {Guessed, sets(15), nil, false},
	} {
		if got := (API{Sets: c.rule, AnyOf: c.needed}).isDisproved(c.granted); got != c.want {
			t.Errorf("%s: got %v, want %v", what, got, c.want)
		}
	}
}
