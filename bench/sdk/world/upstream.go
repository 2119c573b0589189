package world

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"wxplatform/wechat/wechatsim"
)

// Call is a request as it arrived, without the value of access_token.
type Call struct {
	Method, Path, Query, ContentType string
	Body                             []byte
}

// Upstream serves the simulator, and keeps every call that the platform makes for a tenant.
type Upstream struct {
	sim *wechatsim.Sim

	mu    sync.Mutex
	calls []Call
}

// ServeHTTP keeps the call and hands it to the simulator.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if length := r.ContentLength; length >= 0 && !strings.HasPrefix(r.URL.Path, "/_sim/") {
		kept, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(kept))
		u.keep(Call{r.Method, r.URL.Path, withoutToken(r.URL.RawQuery), r.Header.Get("Content-Type"), kept})
	}
	u.sim.ServeHTTP(w, r)
}

func (u *Upstream) keep(c Call) {
	if strings.HasPrefix(c.Path, "/cgi-bin/component/") {
		c.Body, c.Query = nil, "" // they hold tokens
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.calls = append(u.calls, c)
}

// Since returns the calls after the first n.
func (u *Upstream) Since(n int) []Call {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.calls[n:len(u.calls):len(u.calls)]
}

// Count returns how many calls there were.
func (u *Upstream) Count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.calls)
}

// withoutToken takes access_token out of a query, and leaves every other byte as it is.
func withoutToken(query string) string {
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(part, "=")
		if plain, err := url.QueryUnescape(name); err != nil || plain != "access_token" {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "&")
}
