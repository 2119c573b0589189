package audit

import (
	"context"
	"maps"
	"slices"

	"wxplatform/internal/db"
)

// Settings records that by starts a process with other settings than were recorded last: it adds an
// entry with those that differ, or none if all are equal. No value may be a secret. Replicas with
// different settings record the difference whenever one of them starts.
func (t *Trail) Settings(ctx context.Context, by Actor, now map[string]string) error {
	return t.db.Tx(ctx, func(tx *db.Tx) error {
		known, err := lockSettings(ctx, tx)
		if err != nil || maps.Equal(known, now) {
			return err
		}
		before, after := differences(known, now)
		Record(ctx, tx, by, Change{Action: SettingsChange, Subject: "serve", Before: before, After: after})
		return saveSettings(ctx, tx, now)
	})
}

// differences returns the settings that differ. If none were recorded yet, before is zero.
func differences(known, now map[string]string) (before, after Values) {
	var old, current []Field
	for _, name := range slices.Sorted(maps.Keys(union(known, now))) {
		was, had := known[name]
		is, has := now[name]
		if was != is || had != has {
			old, current = append(old, orNull(name, was, had)), append(current, orNull(name, is, has))
		}
	}
	if len(known) == 0 {
		return Values{}, Of(current...)
	}
	return Of(old...), Of(current...)
}

func union(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func orNull(name, value string, has bool) Field {
	if !has {
		return Null(name)
	}
	return Is(name, value)
}
