package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// readyJSON runs `platform ready --json` and returns what it prints, and its exit status.
func (w *world) readyJSON() (r readiness, code int) {
	w.t.Helper()
	var out, errOut bytes.Buffer
	code = run(shell{anyContext, &out, &errOut, w.lookup, noEnvironment}, []string{"ready", "--json"})
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		w.t.Fatalf("got %v for %s%s", err, &out, &errOut)
	}
	return r, code
}

func TestReadyPrintsJSONWhateverTheAnswer(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	if r, code := w.readyJSON(); code != 0 || r.Status != "ready" || r.SealForm == 0 {
		t.Errorf("got %+v, status %d, want what /readyz says", r, code)
	}
	w.platform.stopping.Store(true)
	if r, code := w.readyJSON(); code != 1 || r.Status != "stopping" || len(r.Reasons) == 0 {
		t.Errorf("got %+v, status %d, want it stopping", r, code)
	}
	w.end()
	if r, code := w.readyJSON(); code != 1 || r.Status != "unreachable" || !strings.Contains(strings.Join(r.Reasons, ""), "no platform answers") {
		t.Errorf("got %+v, status %d, want it unreachable", r, code)
	}
}
