//go:build failpoints

package faults

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"sync"

	"wxplatform/internal/db"
	"wxplatform/token"
	"wxplatform/wechat"
)

// answers are the access tokens that WeChat gave, in the order in which they were requested.
type answers struct {
	mu    sync.Mutex
	asks  int64
	given map[string]origin
}

// origin is the request that an access token came from.
type origin struct {
	ask      int64 // the number of the request, as it came
	exchange bool
}

func (a *answers) next() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asks++
	return a.asks
}

func (a *answers) keep(access string, g origin) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.given == nil {
		a.given = map[string]origin{}
	}
	a.given[access] = g
}

func (a *answers) of(access string) (origin, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g, ok := a.given[access]
	return g, ok
}

// noted records which request got which access token.
func (w *world) noted(sim http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case authorizerToken:
			w.asked.Add(1)
		case queryAuth:
		default:
			sim.ServeHTTP(rw, r)
			return
		}
		ask, heard := w.answers.next(), &hearing{ResponseWriter: rw}
		sim.ServeHTTP(heard, r)
		if access := heard.access(); access != "" {
			w.answers.keep(access, origin{ask, r.URL.Path == queryAuth})
		}
	})
}

// hearing keeps the body of an answer.
type hearing struct {
	http.ResponseWriter
	body bytes.Buffer
}

func (h *hearing) Write(text []byte) (int, error) {
	h.body.Write(text)
	return h.ResponseWriter.Write(text)
}

func (h *hearing) access() string {
	found := accessToken.FindSubmatch(h.body.Bytes())
	if found == nil {
		return ""
	}
	return string(found[1])
}

// accessToken also matches in bodies that are not valid JSON.
var accessToken = regexp.MustCompile(`"authorizer_access_token":"([^"]+)"`)

// A trigger in PostgreSQL records each change of a token's fence or version, so that no short-lived
// state is missed.
var historian = []string{
	`CREATE TABLE history (n BIGSERIAL, kind TEXT, id TEXT, fence BIGINT, version BIGINT, access BYTEA)`,
	`CREATE FUNCTION write_history() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO history (kind, id, fence, version, access) VALUES (NEW.kind, NEW.id, NEW.fence, NEW.version, NEW.access);
		RETURN NULL;
	END $$`,
	`CREATE TRIGGER write_history AFTER UPDATE ON tokens FOR EACH ROW WHEN (OLD.fence <> NEW.fence OR OLD.version <> NEW.version) EXECUTE FUNCTION write_history()`,
}

func (w *world) keepHistory() {
	w.t.Helper()
	if w.plan.sqlite != "" {
		return
	}
	for _, text := range historian {
		w.postgres.do(w.name, text)
	}
}

// event is one change of a row.
type event struct {
	kind           token.Kind
	id             wechat.AppID
	fence, version int64
	sealed         []byte
}

func readEvent(scan db.Scan) (e event, err error) {
	err = scan(&e.kind, &e.id, &e.fence, &e.version, &e.sealed)
	return e, err
}

// past is what the history of a row has shown so far.
type past struct {
	fence, version int64
	exchange       int64 // the last ask that was an exchange and whose result was stored
}

// readHistory checks all changes since the world began, or since an older state replaced it: I4,
// and I6, that no result of a refresh sent before an exchange is stored over the exchange's.
func (w *world) readHistory() {
	w.t.Helper()
	if w.plan.sqlite != "" {
		return
	}
	events, err := db.All(context.Background(), w.db, readEvent, `SELECT kind, id, fence, version, access FROM history ORDER BY n`)
	if err != nil {
		w.t.Errorf("history: %v", err)
		return
	}
	pasts := map[wechat.AppID]*past{}
	for _, e := range events {
		p := pasts[e.id]
		if p == nil {
			p = &past{}
			pasts[e.id] = p
		}
		if fault := w.follow(p, e); fault != "" {
			w.t.Error(fault)
		}
	}
}

func (w *world) follow(p *past, e event) (fault string) {
	if e.fence < p.fence || e.version < p.version {
		fault = fmt.Sprintf("I4: %s went from fence %d, version %d to %d, %d", e.id, p.fence, p.version, e.fence, e.version)
	}
	fresh := e.version != p.version
	p.fence, p.version = e.fence, e.version
	if !fresh || len(e.sealed) == 0 {
		return fault
	}
	access, err := w.ring.Open(e.sealed, w.place(e.kind, e.id, "access")...)
	if err != nil {
		return fmt.Sprintf("history of %s: %v", e.id, err)
	}
	got, known := w.answers.of(access.Reveal())
	switch {
	case known && got.exchange:
		p.exchange = max(p.exchange, got.ask)
	case known && got.ask < p.exchange:
		fault = fmt.Sprintf("I6: the refresh of %s that was ask %d is stored as version %d over the exchange that was ask %d", e.id, got.ask, e.version, p.exchange)
	}
	return fault
}
