package main

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"wxplatform/internal/dbtest"
	"wxplatform/internal/otlptest"
	"wxplatform/wechat/wechatsim"
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

// requests returns the spans of each request, in their order, as a tree.
func requests(spans []otlptest.Span) (trees []string, of []otlptest.Span) {
	slices.SortFunc(spans, func(a, b otlptest.Span) int { return a.Start.Compare(b.Start) })
	for _, s := range spans {
		if s.Kind == "SPAN_KIND_SERVER" {
			trees, of = append(trees, tree(spans, s, "")), append(of, s)
		}
	}
	return trees, of
}

// tree shows a span and those below it.
func tree(spans []otlptest.Span, top otlptest.Span, indent string) string {
	text := indent + top.Name
	for _, key := range []string{"http.response.status_code", "wxplatform.token.source", "wechat.errcode", "error.type", "wechat.attempt"} {
		if value, has := top.Attributes[key]; has {
			text += fmt.Sprint(" ", value)
		}
	}
	text += "\n"
	for _, s := range spans {
		if s.Parent == top.ID && s.Trace == top.Trace {
			text += tree(spans, s, indent+"  ")
		}
	}
	return text
}

// tracedReplica is another replica, whose requests are traced.
func (w *world) tracedReplica(to *otlptest.Collector) *world {
	w.t.Helper()
	return w.replica(map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": to.URL})
}

func TestTheSpansOfACallShowWhatItWaitedFor(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.settles()
	collector := otlptest.New(t, nil)
	r := w.tracedReplica(collector)
	for range 2 {
		r.open(kfAccount)
		r.ok(r.shut(kfAccount))
	}
	r.open(kfAccount)
	w.sim.Fault(wechatsim.Fault{Path: closePath, Code: 40001})
	r.ok(r.shut(kfAccount))
	r.answered(r.ask("GET", "/v1/authorizers/"+string(service)+"/cgi-bin/get_api_domain_ip", ""))
	r.wants(r.ask("GET", "/v1/authorizers/wx00000000000000ff", ""), 404, "unknown-authorizer")
	r.raw("GET", "/nowhere", nil, "")
	r.end() // which sends what is left
	got, _ := requests(collector.Spans())
	const closing = "/v1/authorizers/:appid/customservice/kfsession/close 200\n"
	for i, want := range []string{
		closing + "  admission.caller\n  admission.account\n  token.access sql\n  /customservice/kfsession/close 200 0 1\n",
		closing + "  admission.caller\n  admission.account\n  token.access process\n  /customservice/kfsession/close 200 0 1\n",
		closing + "  admission.caller\n  admission.account\n  token.access process\n  /customservice/kfsession/close 200 40001 refused 1\n" +
			"  token.access wechat\n    token.component process\n    /cgi-bin/component/api_authorizer_token 200 0 1\n  /customservice/kfsession/close 200 0 2\n",
		"/v1/authorizers/:appid/* 200\n  admission.caller\n  admission.account\n  token.access process\n  /cgi-bin/get_api_domain_ip 200 0 1\n",
		"/v1/authorizers/:appid 404 unknown-authorizer\n  admission.caller\n",
		"unmatched 404 not-found\n",
	} {
		if i < len(got) { // the component's keeper may not have read it yet
			got[i] = strings.Replace(got[i], "token.component sql", "token.component process", 1)
		}
		if i >= len(got) || got[i] != want {
			t.Errorf("request %d: got\n%s\nwant\n%s", i, strings.Join(got[min(i, len(got)):], "\n"), want)
		}
	}
}

func TestASpanBelongsToTheCallersTraceAndTheLogNamesIt(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	collector := otlptest.New(t, nil)
	r := w.tracedReplica(collector)
	for _, header := range []string{"traceparent: " + traceparent + "\r\n", "traceparent: " + traceparent + "\r\nX: 1\r\nX: 2\r\n", "", "traceparent: nonsense\r\n"} {
		if answers := r.spoken("GET /v1/authorizers HTTP/1.1\r\nHost: x\r\n" + header + "\r\n"); len(answers) != 1 {
			t.Fatalf("got %v, want one answer", statuses(answers))
		}
	}
	r.end()
	_, spans := requests(collector.Spans())
	if len(spans) != 4 {
		t.Fatalf("got %+v, want 4 requests", spans)
	}
	for i, s := range spans {
		switch callers := i < 2; {
		case callers && (s.Trace != callersTrace || s.Parent != callersSpan), !callers && (s.Trace == callersTrace || s.Parent != ""):
			t.Errorf("request %d: got the trace %s and the parent %s", i, s.Trace, s.Parent)
		}
		id, logged := s.Attributes["wxplatform.request_id"], false
		for _, line := range r.lines() {
			logged = logged || line["request_id"] == id && line["trace_id"] == s.Trace
		}
		if !logged {
			t.Errorf("request %d: got no line with %s and the trace %s:\n%s", i, id, s.Trace, r.log)
		}
	}
}

// closedSets are what each attribute may be.
func (w *world) closedSets() map[string]*regexp.Regexp {
	slugs, apis := []string{"refused", "not_sent", "unknown"}, []string{}
	for _, p := range problemTypes() {
		slugs = append(slugs, p.slug)
	}
	for _, a := range w.platform.catalogue.All() {
		apis = append(apis, regexp.QuoteMeta(a.Path))
	}
	calls := append(slices.Clone(apis), `/cgi-bin/component/\w+`, `/cgi-bin/openapi/quota/get`, `/sns/[\w/]+`, "uncatalogued")
	routes := []string{"unmatched"}
	for _, r := range w.platform.public().Routes() {
		routes = append(routes, regexp.QuoteMeta(r.Path))
	}
	one := func(of ...string) *regexp.Regexp { return regexp.MustCompile("^(" + strings.Join(of, "|") + ")$") }
	return map[string]*regexp.Regexp{
		"name of SPAN_KIND_SERVER": one(routes...), "name of SPAN_KIND_CLIENT": one(calls...), "name of SPAN_KIND_INTERNAL": one(`admission\.caller`, `admission\.account`, `token\.access`, `token\.component`),
		"http.request.method": one("GET", "POST", "DELETE", "PATCH"), "http.route": one(routes...), "http.response.status_code": one(`[1-5]\d\d`), "error.type": one(slugs...),
		"wxplatform.request_id": one(`[0-9a-z]{20}`), "wxplatform.tenant": one(w.tenant), "wxplatform.client": one(w.clientID()), "wxplatform.appid": one(string(service), string(miniProgram)),
		"wxplatform.api": one(apis...), "wxplatform.outcome": one("inferred"), "wxplatform.token.source": one("process", "redis", "sql", "wechat", "shared"),
		"url.template": one(calls...), "wechat.errcode": one(`-?\d{1,5}`), "wechat.attempt": one("[1-4]"),
	}
}

func TestNoSecretShowsInATrace(t *testing.T) {
	t.Parallel()
	collector := otlptest.New(t, nil)
	const field = "canary-otlp-header-19f2"
	w := newWorldWith(t, map[string]string{
		"PLATFORM_DATABASE_URL": dbtest.SQLiteURL(t), "OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL, "OTEL_EXPORTER_OTLP_HEADERS": "x-api-key=" + field,
		"OTEL_BSP_SCHEDULE_DELAY": "1", "OTEL_BSP_MAX_QUEUE_SIZE": "100000", "PLATFORM_PPROF": "on",
	})
	collector.Status.Store(http.StatusUnauthorized)
	w.eventually("an outage", func() bool {
		w.ask("GET", "/v1/authorizers", "")
		return strings.Contains(w.log.String(), "traces are lost")
	})
	collector.Status.Store(0)
	secrets := w.liveThrough()
	w.callers(traced)
	w.end()
	sent := collector.Sent()
	if len(sent) == 0 || sent[0].Header.Get("x-api-key") != field {
		t.Fatalf("got %d requests with spans, want some with the header field", len(sent))
	}
	secrets["OTLP header"], secrets["customer"], secrets["kf account"], secrets["caller's address"], secrets["caller's baggage"] = field, string(customer), string(kfAccount), "127.0.0.1", "canary"
	for _, s := range sent {
		w.clean(secrets, "a trace", string(s.Body))
	}
	w.clean(canaries{"OTLP header": field}, "the log", w.log.String())
	if strings.Contains(w.log.String(), collector.URL) {
		t.Error("the log shows the collector's URL")
	}
	w.inClosedSets(collector.Spans())
}

// inClosedSets fails for a span that has anything that is not in a closed set.
func (w *world) inClosedSets(spans []otlptest.Span) {
	w.t.Helper()
	sets, seen := w.closedSets(), map[string]bool{}
	for _, s := range spans {
		all := maps.Clone(s.Attributes)
		all["name of "+s.Kind] = s.Name
		for key, value := range all {
			seen[key] = true
			if set := sets[key]; set == nil || !set.MatchString(fmt.Sprint(value)) {
				w.t.Errorf("%s has %s = %v", s.Name, key, value)
			}
		}
		if s.Events+s.Links > 0 || s.Message != "" {
			w.t.Errorf("got %+v, want no events, links and texts", s)
		}
	}
	for key := range sets {
		if !seen[key] && key != "wxplatform.outcome" {
			w.t.Errorf("no span has %s, so the test says nothing about it", key)
		}
	}
}

func TestACollectorThatIsAwayCostsNoRequest(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, map[string]string{"PLATFORM_DATABASE_URL": dbtest.SQLiteURL(t), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + nobody, "OTEL_BSP_SCHEDULE_DELAY": "1"})
	w.grant(service, "1")
	for range 20 {
		w.open(kfAccount)
		w.ok(w.shut(kfAccount))
	}
	w.end()
	if n := strings.Count(w.log.String(), "traces are lost"); n != 1 {
		t.Errorf("got %d lines about the collector, want one:\n%s", n, w.log)
	}
}

// It runs alone, because other tests of traces have goroutines of their own.
func TestTracesThatAreOffStartNothingAndSendNothing(t *testing.T) {
	for name, settings := range map[string]map[string]string{
		"not set": {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, "disabled": {"OTEL_SDK_DISABLED": "true"}, "no exporter": {"OTEL_TRACES_EXPORTER": "none"},
	} {
		collector := otlptest.New(t, nil)
		all := map[string]string{"PLATFORM_DATABASE_URL": dbtest.SQLiteURL(t), "OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL}
		maps.Copy(all, settings)
		w := newWorldWith(t, all)
		w.grant(service, "1")
		w.open(kfAccount)
		w.ok(w.shut(kfAccount))
		stacks := make([]byte, 16<<20)
		if text := string(stacks[:runtime.Stack(stacks, true)]); strings.Contains(text, "go.opentelemetry.io") || strings.Contains(text, "google.golang.org/grpc") {
			t.Errorf("%s: got a goroutine of OpenTelemetry's:\n%s", name, text)
		}
		w.end()
		if n := collector.Asked.Load(); n != 0 {
			t.Errorf("%s: got %d requests to the collector, want none", name, n)
		}
	}
}
