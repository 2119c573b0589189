package wechatsim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"wxplatform/wechat"
)

func newFieldRig(t *testing.T) *rig {
	t.Helper()
	return newRig(t, func(c *Config) { c.Behaviour.Field, c.EventURL, c.MessageURL = true, "", "" })
}

var controlBytes = regexp.MustCompile(`[\x00-\x1f]`)

// tolerant reads an answer as a platform must: without a BOM, control bytes and NULs.
func (r *rig) tolerant(text []byte) object {
	r.t.Helper()
	text = controlBytes.ReplaceAll(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), nil)
	var answer object
	if err := json.Unmarshal(text, &answer); err != nil {
		r.t.Fatalf("%q cannot be read even so: %v", text, err)
	}
	return answer
}

// looseNumber reads a number as number, text or float.
func looseNumber(v any) int64 {
	f, _ := strconv.ParseFloat(fmt.Sprint(v), 64)
	return int64(f)
}

// odd calls an API with the right token and returns the bytes of the answer, which show how it is
// odd.
func (r *rig) odd(path string, body object) []byte {
	r.t.Helper()
	query := url.Values{}
	switch {
	case strings.HasPrefix(path, "/cgi-bin/component/api_") && path != componentTokenPath:
		query.Set("component_access_token", r.LastComponentToken())
	case path != componentTokenPath:
		query.Set("access_token", r.LastAccessToken(SampleService))
		query.Set("openid", string(SampleCustomer))
	}
	var sent any
	if body != nil {
		body["component_appid"] = DefaultAppID
		sent = body
	}
	_, text := r.once(path, query, sent)
	return text
}

// once calls on a connection of its own, because Field ends kept connections without notice.
func (r *rig) once(path string, query url.Values, body any) (*http.Response, []byte) {
	r.t.Helper()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	return r.raw(path, query, body)
}

// rounds returns some dozens of answers of each API that a platform calls.
func (r *rig) rounds() map[string][]string {
	r.t.Helper()
	got := map[string][]string{}
	keep := func(path string, body object) object {
		text := r.odd(path, body)
		got[path] = append(got[path], string(text))
		return r.tolerant(text)
	}
	_, err := r.Authorize(SampleService, 1, 6, 11)
	r.must(err)
	for range 60 {
		if token, _ := keep(componentTokenPath, r.credentials())["component_access_token"].(string); token != r.LastComponentToken() {
			r.t.Fatal("a component token was lost")
		}
		if token, _ := keep(authorizerTokenPath, r.refreshBody(SampleService))["authorizer_access_token"].(string); !r.Works(token) {
			r.t.Fatal("an access token was lost")
		}
		keep(infoPath, object{"authorizer_appid": SampleService})
		keep(listPath, object{"offset": 0, "count": 500})
		keep(sessionPath, nil)
		keep(waitPath, nil)
		keep("/cgi-bin/customservice/getkflist", nil)
		keep(closePath, object{"kf_account": kf2, "openid": SampleCustomer})
	}
	return got
}

func TestFieldShowsEveryOddity(t *testing.T) {
	r := newFieldRig(t)
	r.must(r.OpenSession(SampleService, kf1, SampleCustomer))
	r.must(r.Forward(SampleService, openID(1)))
	got := r.rounds()
	for what, where := range map[string]string{
		"\xef\xbb\xbf{": closePath, "}\n": closePath, `"errcode":"65414"`: closePath, `"errcode":65414.0`: closePath, `"errcode":65414,`: closePath,
		`hint: [tp9AvA04171107]"`: closePath, ` rid: `: closePath, `"new_info":{`: closePath,
		`"expires_in":7200,`: authorizerTokenPath, `"expires_in":"7200"`: authorizerTokenPath, `"expires_in":7200.0`: authorizerTokenPath,
		"\x14\"": infoPath, `\u0000"`: infoPath, "\x00\"": infoPath, "🌸": infoPath,
		`"verify_type_info":{"id":-1}`: infoPath, `"verify_type_info":{"id":0}`: infoPath, `"verify_type_info":{"id":"-1"}`: infoPath,
		`"authorization_info":null`: infoPath, `"authorization_info":{}`: infoPath, `"func_info":null`: infoPath, `"id":"11"`: infoPath,
		`{"funcscope_category":null}`: infoPath, `"can_confirm":`: infoPath, `"idc":`: infoPath, `"account_status":"1"`: infoPath,
		`{"authorizer_appid":"",`:              listPath,
		`"kf_account":"test1@test"`:            sessionPath,
		`"kf_account":"test1@gh_5a3e1c0b7d01"`: sessionPath, `"errcode":0,"errmsg":"ok"`: sessionPath,
		`"kf_account":""`: waitPath,
		`"kf_id":1001`:    "/cgi-bin/customservice/getkflist", `"kf_id":"1001"`: "/cgi-bin/customservice/getkflist",
	} {
		if !slices.ContainsFunc(got[where], func(text string) bool { return strings.Contains(text, what) }) {
			t.Errorf("%s: never %q", where, what)
		}
	}
	for what, where := range map[string]string{`"expires_in"`: authorizerTokenPath, `"func_info"`: infoPath, `"authorization_info"`: infoPath, `"authorizer_info"`: "none"} {
		if where != "none" && !slices.ContainsFunc(got[where], func(text string) bool { return !strings.Contains(text, what) }) {
			t.Errorf("%s: never without %s", where, what)
		}
	}
}

// The oddity of the n-th call must not depend on luck: a failure has to be repeatable.
func TestFieldIsTheSameForASeed(t *testing.T) {
	rid := regexp.MustCompile(`rid: [0-9a-f-]+`)
	first, second := newFieldRig(t).rounds(), newFieldRig(t).rounds()
	for path := range first {
		for i := range first[path] {
			if a, b := rid.ReplaceAllString(first[path][i], ""), rid.ReplaceAllString(second[path][i], ""); a != b {
				t.Fatalf("%s, call %d: got %q and %q", path, i, a, b)
			}
		}
	}
}

func TestFieldLosesNoPermissionSetsThatAPlatformCannotKnow(t *testing.T) {
	r := newFieldRig(t)
	r.oddComponentToken()
	r.AddSynthetic(200)
	for i := range 200 {
		info := r.tolerant(r.odd(infoPath, object{"authorizer_appid": SyntheticAppID(i)}))
		authorization, _ := info["authorization_info"].(object)
		sets, _ := authorization["func_info"].([]any)
		if len(sets) < len(syntheticSets) {
			t.Fatalf("the first profile of account %d has the sets %v", i, sets)
		}
	}
}

// If the exchange's answer was lost, only the profile has the permission sets.
func TestFieldLosesNoPermissionSetsWithAnExchange(t *testing.T) {
	r := newFieldRig(t)
	r.oddComponentToken()
	for range 20 {
		link := r.tolerant(r.odd("/cgi-bin/component/api_create_preauthcode", object{}))
		consent, err := r.Consent(t.Context(), r.text(link, "pre_auth_code"), SampleService, 1, 6)
		r.must(err)
		r.Fault(Fault{Path: "/cgi-bin/component/api_query_auth", When: After, Do: Cut})
		_, _, _ = r.try("/cgi-bin/component/api_query_auth", url.Values{"component_access_token": {r.LastComponentToken()}},
			object{"component_appid": DefaultAppID, "authorization_code": consent.AuthCode})
		if text := r.odd(infoPath, object{"authorizer_appid": SampleService}); !regexp.MustCompile(`"id":"?6`).Match(text) {
			t.Fatalf("got %s, want set 6", text)
		}
		r.must(r.Unauthorize(SampleService))
	}
}

// oddComponentToken gets a component token however odd the answer is.
func (r *rig) oddComponentToken() {
	r.t.Helper()
	r.tolerant(r.odd(componentTokenPath, r.credentials()))
}

func TestFieldsListIsCompleteByItsCount(t *testing.T) {
	r := newFieldRig(t)
	r.oddComponentToken()
	r.AddSynthetic(350)
	seen, offset, total := map[string]int{}, 0, int64(1)
	for int64(offset) < total {
		answer := r.tolerant(r.odd(listPath, object{"offset": offset, "count": 500}))
		list, _ := answer["list"].([]any)
		if len(list) == 0 || len(list) > 100 {
			t.Fatalf("a page at %d has %d entries, want at most 100", offset, len(list))
		}
		for _, entry := range list {
			id, _ := entry.(object)["authorizer_appid"].(string)
			seen[id]++
		}
		offset, total = offset+len(list), looseNumber(answer["total_count"])
	}
	if len(seen) != 351 || seen[""] != 1 || total != 351 {
		t.Errorf("saw %d appids of %d, nobody %d times, want 350 and one that is empty", len(seen), total, seen[""])
	}
}

func TestFieldKnowsAnAgentByBothNames(t *testing.T) {
	r := newFieldRig(t)
	const alias = wechat.KFAccount("test1@gh_5a3e1c0b7d01")
	r.must(r.OpenSession(SampleService, alias, SampleCustomer))
	if got := r.Session(SampleService, SampleCustomer); got.KFAccount != kf1 {
		t.Errorf("got %v, want a session of %s", got, kf1)
	}
	r.must(r.CloseSession(SampleService, "test1@TEST", SampleCustomer))
	r.SetBehaviour(Behaviour{})
	if err := r.OpenSession(SampleService, alias, SampleCustomer); err == nil {
		t.Error("got nil, want 65401 where nothing is odd")
	}
}

func TestFieldClosesSomeConnectionsUnannounced(t *testing.T) {
	r := newFieldRig(t)
	_, err := r.Authorize(SampleService)
	r.must(err)
	closed := 0
	for range 60 {
		c := newCaller(r, false)
		c.ask()
		resp, body, err := c.answer()
		if err != nil || resp.Close {
			t.Fatalf("got %s, %v, want an answer that does not announce the end", body, err)
		}
		c.ask()
		if _, _, err := c.answer(); err != nil {
			closed++
		}
	}
	if closed < 5 || closed > 30 {
		t.Errorf("%d of 60 connections were closed, want about a quarter", closed)
	}
}

func TestFieldLabelsAnswersAsOthers(t *testing.T) {
	r := newFieldRig(t)
	labels := map[string]int{}
	for range 60 {
		resp, _ := r.once(componentTokenPath, nil, r.credentials())
		labels[resp.Header.Get("Content-Type")]++
	}
	for _, want := range []string{jsonType, "text/plain", "application/json"} {
		if labels[want] == 0 {
			t.Errorf("got %v, want %q among them", labels, want)
		}
	}
}

// oddReceiver keeps what a platform's event URL receives, and opens it tolerantly.
type oddReceiver struct {
	t        *testing.T
	envelope *wechat.Envelope
	mu       sync.Mutex
	got      []oddEvent
}

type oddEvent struct {
	outer, plain, proto string
	header              http.Header
	event               received
}

var encrypted = regexp.MustCompile(`[A-Za-z0-9+/]{60,}=*`)

func (o *oddReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	outer, _ := io.ReadAll(r.Body)
	q := r.URL.Query()
	plain, err := o.envelope.Open(wechat.Push{Timestamp: q.Get("timestamp"), Nonce: q.Get("nonce"), Signature: q.Get("msg_signature"), Encrypt: encrypted.FindString(string(outer))})
	if err != nil {
		o.t.Errorf("%q: %v", outer, err)
	}
	e := oddEvent{outer: string(outer), plain: string(plain), proto: r.Proto, header: r.Header}
	for name, field := range map[string]*string{"InfoType": &e.event.InfoType, "ComponentVerifyTicket": &e.event.ComponentVerifyTicket, "AuthorizerAppid": &e.event.AuthorizerAppid} {
		*field = scanned(e.plain, name)
	}
	created, _ := strconv.ParseInt(scanned(e.plain, "CreateTime"), 10, 64)
	e.event.CreateTime = created
	o.mu.Lock()
	defer o.mu.Unlock()
	o.got = append(o.got, e)
	_, _ = io.WriteString(w, "success")
}

// scanned returns the trimmed content of an element.
func scanned(text, name string) string {
	_, rest, _ := strings.Cut(text, "<"+name+">")
	content, _, _ := strings.Cut(rest, "</"+name+">")
	var s struct {
		Text string `xml:",chardata"`
	}
	if xml.Unmarshal([]byte("<x>"+content+"</x>"), &s) != nil {
		return ""
	}
	return strings.TrimSpace(s.Text)
}

func newOddReceiver(t *testing.T) (*oddReceiver, string) {
	envelope, err := wechat.NewEnvelope(DefaultAppID, []string{DefaultToken}, []string{DefaultAESKey})
	if err != nil {
		t.Fatal(err)
	}
	o := &oddReceiver{t: t, envelope: envelope}
	server := httptest.NewServer(o)
	t.Cleanup(server.Close)
	return o, server.URL
}

func TestFieldsPushesAreOddButWhole(t *testing.T) {
	inbox, at := newOddReceiver(t)
	r := newRig(t, func(c *Config) { c.Behaviour.Field, c.EventURL = true, at })
	for range 100 {
		r.PushTicket()
	}
	r.must(r.Settle(t.Context()))
	inbox.mu.Lock()
	defer inbox.mu.Unlock()
	proper := 0
	for _, e := range inbox.got {
		if e.event.InfoType != ticketEvent || e.event.ComponentVerifyTicket != r.Ticket() {
			t.Errorf("%q has no ticket", e.plain)
		}
		if e.event.CreateTime == r.clock.Now().Unix() {
			proper++
		} else if e.event.CreateTime != r.clock.Now().Unix()*1000 {
			t.Errorf("got %d, want the time in seconds or in milliseconds", e.event.CreateTime)
		}
	}
	if proper < 50 || proper == len(inbox.got) {
		t.Errorf("%d of %d have the right time, want most", proper, len(inbox.got))
	}
	if extra := len(inbox.got) - 100; extra < 5 || extra > 50 {
		t.Errorf("%d of 100 came twice, want about a quarter", extra)
	}
	for what, is := range map[string]func(oddEvent) bool{
		"JSON in text/xml": func(e oddEvent) bool {
			return strings.HasPrefix(e.outer, "{") && e.header.Get("Content-Type") == "text/xml"
		},
		"ToUserName": func(e oddEvent) bool { return strings.Contains(e.outer, "<ToUserName>toUser<") },
		"HTTP/1.0": func(e oddEvent) bool {
			return e.proto == "HTTP/1.0" && e.header.Get("Connection") == "Keep-Alive" && e.header.Get("Pragma") == "no-cache"
		},
		"HTTP/1.1":               func(e oddEvent) bool { return e.proto == "HTTP/1.1" },
		"blanks in an element":   func(e oddEvent) bool { return strings.Contains(e.plain, "<InfoType> ") },
		"line ends":              func(e oddEvent) bool { return strings.Contains(e.plain, "\n</CreateTime>") },
		"no CDATA":               func(e oddEvent) bool { return regexp.MustCompile(`<AppId>\s*wx`).MatchString(e.plain) },
		"a bad byte":             func(e oddEvent) bool { return strings.Contains(e.plain, "a\x14b") },
		"what is not UTF-8":      func(e oddEvent) bool { return strings.Contains(e.plain, "a\xffb") },
		"nothing odd inside":     func(e oddEvent) bool { return strings.HasPrefix(e.plain, "<xml><AppId><![CDATA[") },
		"nothing odd outside it": func(e oddEvent) bool { return strings.HasPrefix(e.outer, "<xml><AppId>") },
	} {
		if !slices.ContainsFunc(inbox.got, is) {
			t.Errorf("never %s", what)
		}
	}
}

// A connection that speaks HTTP/1.0 and is kept serves several pushes.
func TestAgedConnectionsChangeOnlyTheRequestLine(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	go func() {
		_, _ = agedConn{here}.Write([]byte("POST /x?a=1 HTTP/1.1\r\nHost: y\r\n\r\nbody HTTP/1.1\r\n"))
		_, _ = agedConn{here}.Write([]byte("GET / HTTP/1.1\r\n"))
		_, _ = agedConn{here}.Write([]byte("more\nPOST / HTTP/1.1\r\n"))
		_ = here.Close()
	}()
	_ = there.SetDeadline(time.Now().Add(10 * time.Second))
	got, err := io.ReadAll(bufio.NewReader(there))
	if want := "POST /x?a=1 HTTP/1.0\r\nHost: y\r\n\r\nbody HTTP/1.1\r\nGET / HTTP/1.1\r\nmore\nPOST / HTTP/1.1\r\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestFieldsAnswersAreEditedByFaults(t *testing.T) {
	r := newFieldRig(t)
	marked := 0
	for range 40 {
		r.Fault(Fault{Path: componentTokenPath, Set: map[string]json.RawMessage{"expires_in": []byte("7")}})
		text := r.odd(componentTokenPath, r.credentials())
		if bytes.HasPrefix(text, []byte(byteOrderMark)) {
			marked++
		}
		if answer := r.tolerant(text); answer["component_access_token"] != r.LastComponentToken() || answer["expires_in"] != 7.0 {
			t.Fatalf("got %q, want the true answer but for expires_in", text)
		}
	}
	if marked == 0 {
		t.Error("none began with a byte order mark")
	}
}

func TestFieldLosesNoLifeThatAPlatformCannotKnow(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Behaviour.Field, c.EventURL, c.MessageURL, c.Times.ComponentToken = true, "", "", time.Minute
	})
	for range 40 {
		if answer := r.tolerant(r.odd(componentTokenPath, r.credentials())); looseNumber(answer["expires_in"]) != 60 {
			t.Fatalf("got %v, want 60 seconds", answer)
		}
	}
}

func TestFieldIsSwitchedOnByScripts(t *testing.T) {
	r := newRig(t)
	r.steered("PATCH", "/_sim/behaviour", `{"field":true}`)
	if state := r.steered("GET", "/_sim/state", ""); state["behaviour"].(object)["field"] != true || !r.Behaviour().Field {
		t.Errorf("got %v, want field", state["behaviour"])
	}
}
