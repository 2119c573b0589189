package main

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
)

// A caller's trace, and what it sends with each of its requests.
const (
	callersTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	callersSpan  = "00f067aa0ba902b7"
	traceparent  = "00-" + callersTrace + "-" + callersSpan + "-01"
)

// traced are the header fields of a request that belongs to the caller's trace.
var traced = []string{"traceparent: " + traceparent, "tracestate: vendor=tracestatecanary", "baggage: user=baggagecanary"}

// callers sends a request of each kind that reaches WeChat: read by plainhttp and by net/http, at
// both doors, with a rule of ours and relayed, with a short body and streamed.
func (w *world) callers(header []string) {
	w.t.Helper()
	jwt, native := w.sdkJWT(service), "/v1/authorizers/"+string(service)
	file, kind := form(w.t, make([]byte, 700<<10))
	closing := fmt.Sprintf(`{"kf_account":"%s","openid":"%s"}`, kfAccount, customer)
	fields := map[string]string{}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		fields[name] = value
	}
	for _, door := range []struct{ before, after, bearer string }{{native, "?", w.jwt}, {"", "?access_token=" + jwt + "&", ""}} {
		for _, call := range []struct{ method, path, query, kind, body string }{
			{"POST", closePath, "", "application/json", closing},
			{"GET", "/cgi-bin/get_api_domain_ip", "", "", ""},
			{"POST", "/cgi-bin/media/upload", "type=image", kind, file},
		} {
			sent := maps.Clone(fields)
			if call.kind != "" {
				sent["Content-Type"] = call.kind
			}
			if door.bearer != "" {
				sent["Authorization"] = "Bearer " + door.bearer
			}
			if call.path == closePath {
				w.open(kfAccount)
			}
			answer := w.raw(call.method, strings.TrimRight(door.before+call.path+door.after+call.query, "?&"), sent, call.body)
			if answer.status != http.StatusOK {
				w.t.Errorf("%s%s: got %d %s", door.before, call.path, answer.status, answer.body)
			}
		}
	}
	for _, second := range []string{"", "X: 1\r\nX: 2\r\n"} { // the second request is net/http's
		w.open(kfAccount)
		if answers := w.spoken(w.closing(strings.Join(header, "\r\n")+"\r\n", second)); len(answers) != 1 || answers[0].StatusCode != http.StatusOK {
			w.t.Errorf("got %v, want one 200", statuses(answers))
		}
	}
}

func TestWeChatSeesNothingOfACallersTrace(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1", "11")
	w.settles()
	w.heard.kept.Store(true)
	w.log.reset()
	w.callers(traced)
	said := strings.ToLower(w.heard.got.String())
	if n := strings.Count(said, "access_token="); n < 8 {
		t.Fatalf("got %d calls of WeChat, want all: %s", n, said)
	}
	for _, part := range []string{"traceparent", "tracestate", "baggage", callersTrace, callersSpan} {
		if strings.Contains(said, part) {
			t.Errorf("WeChat was sent %s:\n%s", part, said)
		}
	}
	for _, line := range w.lines() {
		if line["api"] != nil && line["trace_id"] != callersTrace {
			t.Errorf("got %v, want the trace's id", line)
		}
	}
	if text := w.log.String(); strings.Contains(text, callersSpan) || strings.Contains(text, "canary") {
		t.Errorf("the log has more than the trace's id:\n%s", text)
	}
}
