package main

import (
	"strings"
	"testing"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

// inForm counts the stored values of a form.
func (w *world) inForm(form seal.Form) (n int) {
	w.t.Helper()
	for _, c := range w.cells() {
		if seal.FormOf(c.value) == form {
			n++
		}
	}
	return n
}

// Replicas that seal in different forms serve together, and reseal moves the values either way.
func TestReplicasGoToTheOtherFormAndBackWhileTheyRun(t *testing.T) {
	t.Parallel()
	databases(t, func(w *world) {
		w.lived()
		all := len(w.cells())
		if n := w.inForm(seal.Form1); n != all {
			w.t.Fatalf("got %d of %d values in form 1, want all: it is the default", n, all)
		}
		ahead := w.replica(map[string]string{"PLATFORM_SEAL_FORM": "2"})
		ahead.grant(official, "1")
		var refreshed any
		ahead.command(&refreshed, "authorizer", "refresh", string(official)) // the other replica may have worked off the event
		if one, two := w.inForm(seal.Form1), w.inForm(seal.Form2); one == 0 || two == 0 {
			w.t.Errorf("got %d and %d, want values in both forms", one, two)
		}
		for _, replica := range []*world{w, ahead} {
			replica.open(kfAccount)
			replica.ok(replica.shut(kfAccount))
			if states := replica.states(); states[service] != "healthy" || states[official] != "healthy" {
				w.t.Errorf("got %v, want both forms read", states)
			}
		}
		for form, text := range map[seal.Form]string{seal.Form2: "2", seal.Form1: "1"} {
			w.env["PLATFORM_SEAL_FORM"] = text
			if _, said, code := w.reseal(w.env["PLATFORM_SEALING_KEYS"]); code != 0 {
				w.t.Fatalf("got status %d, %s", code, said)
			}
			for _, c := range w.cells() {
				if seal.FormOf(c.value) != form {
					w.t.Errorf("got %s.%s of %s not in form %d, want all moved", c.table, c.column, c.key, form)
				}
			}
		}
	})
}

func TestTheFormIsShownAndChecked(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	ahead := w.replica(map[string]string{"PLATFORM_SEAL_FORM": "2"})
	if one, two := w.platform.ready(anyContext).SealForm, ahead.platform.ready(anyContext).SealForm; one != seal.Form1 || two != seal.Form2 {
		t.Errorf("got the forms %d and %d, want 1 and 2", one, two)
	}
	if f, _ := sealingKeys(anyContext, w.platform.db, config{ring: ahead.platform.ring}); !strings.Contains(f.EN, "form 2") {
		t.Errorf("got %q from doctor, want the form", f.EN)
	}
	if _, err := loadConfig(w.with("PLATFORM_SEAL_FORM", "3"), needsAll); err == nil || !strings.Contains(err.Error(), "PLATFORM_SEAL_FORM") {
		t.Errorf("got %v, want the setting refused", err)
	}
	canary, err := db.One(anyContext, w.platform.db, db.Value[[]byte], `SELECT canary FROM sealing_keys`)
	if err != nil || seal.FormOf(canary) != seal.Form2 {
		t.Errorf("got form %d, %v, want a record that earlier releases cannot open", seal.FormOf(canary), err)
	}
}
