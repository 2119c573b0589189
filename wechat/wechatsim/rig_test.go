package wechatsim

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"wxplatform/wechat"
)

// rig is a simulator, a clock to set, and a receiver of its pushes.
type rig struct {
	*Sim
	t      *testing.T
	server *httptest.Server
	inbox  *receiver
	clock  *clock
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// received is a push that was opened.
type received struct {
	path                     string
	query                    url.Values
	AppId, InfoType          string
	ComponentVerifyTicket    string
	AuthorizerAppid          string
	AuthorizationCode        string
	PreAuthCode              string
	CodeExpires              int64 `xml:"AuthorizationCodeExpiredTime"`
	CreateTime               int64
	ToUserName, FromUserName string
	MsgType, Event, Content  string
	KfAccount                string
	FromKfAccount            string
	ToKfAccount              string
}

type receiver struct {
	t        *testing.T
	server   *httptest.Server
	envelope *wechat.Envelope

	mu     sync.Mutex
	got    []received
	answer func(n int, p wechat.Push) (status int, body string)
	count  int
}

func newReceiver(t *testing.T) *receiver {
	envelope, err := wechat.NewEnvelope(DefaultAppID, []string{DefaultToken}, []string{DefaultAESKey})
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{t: t, envelope: envelope}
	r.server = httptest.NewServer(r)
	t.Cleanup(r.server.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method == http.MethodGet {
		_, _ = io.WriteString(w, req.FormValue("echostr"))
		return
	}
	body, _ := io.ReadAll(req.Body)
	encrypt, err := wechat.ReadEncrypt(body)
	if err != nil {
		r.t.Errorf("push %s: %v", body, err)
	}
	q := req.URL.Query()
	p := wechat.Push{Timestamp: q.Get("timestamp"), Nonce: q.Get("nonce"), Signature: q.Get("msg_signature"), Encrypt: encrypt}
	r.mu.Lock()
	defer r.mu.Unlock()
	plain, err := r.envelope.Open(p)
	if err != nil {
		r.t.Errorf("push to %s: %v", req.URL.Path, err)
	}
	one := received{path: req.URL.Path, query: q}
	if err := xml.Unmarshal(plain, &one); err != nil {
		r.t.Errorf("push %s: %v", plain, err)
	}
	r.got = append(r.got, one)
	r.count++
	status, text := http.StatusOK, "success"
	if r.answer != nil {
		status, text = r.answer(r.count, p)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func newRig(t *testing.T, change ...func(*Config)) *rig {
	t.Helper()
	inbox := newReceiver(t)
	clock := &clock{now: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}
	config := Config{EventURL: inbox.server.URL + "/events", MessageURL: inbox.server.URL + "/$APPID$/messages", Seed: 7, Now: clock.Now}
	for _, c := range change {
		c(&config)
	}
	sim, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Sim: sim, t: t, server: httptest.NewServer(sim), inbox: inbox, clock: clock}
	t.Cleanup(func() {
		sim.Close()
		r.server.Close()
	})
	return r
}

// pushes waits until all is pushed, and returns what was received since the last call.
func (r *rig) pushes() []received {
	r.t.Helper()
	if err := r.Settle(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	r.inbox.mu.Lock()
	defer r.inbox.mu.Unlock()
	got := r.inbox.got
	r.inbox.got = nil
	return got
}

type object = map[string]any

// do calls the API; body nil is a GET.
func (r *rig) do(path string, query url.Values, body any) object {
	r.t.Helper()
	resp, text := r.raw(path, query, body)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json; encoding=utf-8" {
		r.t.Fatalf("%s: got %s, %s", path, resp.Status, resp.Header.Get("Content-Type"))
	}
	var answer object
	if err := json.Unmarshal(text, &answer); err != nil {
		r.t.Fatalf("%s answered %s: %v", path, text, err)
	}
	return answer
}

func (r *rig) raw(path string, query url.Values, body any) (*http.Response, []byte) {
	r.t.Helper()
	resp, text, err := r.try(path, query, body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, text
}

func (r *rig) try(path string, query url.Values, body any) (*http.Response, []byte, error) {
	method, content := http.MethodGet, []byte(nil)
	switch b := body.(type) {
	case nil:
	case string:
		method, content = http.MethodPost, []byte(b)
	default:
		method = http.MethodPost
		content, _ = json.Marshal(b)
	}
	req, err := http.NewRequest(method, r.server.URL+path+"?"+query.Encode(), bytes.NewReader(content))
	if err != nil {
		return nil, nil, err
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, text, err
}

// component calls with the component's token, fetched if need be.
func (r *rig) component(name string, body object) object {
	r.t.Helper()
	token := r.LastComponentToken()
	if token == "" {
		token = r.componentToken()
	}
	return r.do("/cgi-bin/component/"+name, url.Values{"component_access_token": {token}}, body)
}

func (r *rig) componentToken() string {
	r.t.Helper()
	return r.text(r.do(componentTokenPath, nil, r.credentials()), "component_access_token")
}

func (r *rig) credentials() object {
	return object{"component_appid": DefaultAppID, "component_appsecret": DefaultSecret, "component_verify_ticket": r.Ticket()}
}

func (r *rig) text(answer object, path ...string) string {
	r.t.Helper()
	for _, key := range path[:len(path)-1] {
		answer, _ = answer[key].(object)
	}
	value, ok := answer[path[len(path)-1]].(string)
	if !ok {
		r.t.Fatalf("answer %v has no text at %v", answer, path)
	}
	return value
}

// authorized is the sample service account's access token, with these sets.
func (r *rig) authorized(id wechat.AppID, sets ...wechat.PermissionSet) string {
	r.t.Helper()
	if _, err := r.Authorize(id, sets...); err != nil {
		r.t.Fatal(err)
	}
	return r.refresh(id)
}

func (r *rig) refresh(id wechat.AppID) string {
	r.t.Helper()
	return r.text(r.component("api_authorizer_token", r.refreshBody(id)), "authorizer_access_token")
}

func (r *rig) refreshBody(id wechat.AppID) object {
	return object{"component_appid": DefaultAppID, "authorizer_appid": id, "authorizer_refresh_token": r.RefreshToken(id)}
}

// want checks the errcode. No errcode counts as 0.
func (r *rig) want(code int, answer object) {
	r.t.Helper()
	got, _ := answer["errcode"].(float64)
	if int(got) != code {
		r.t.Errorf("got %v, want errcode %d", answer, code)
	}
	if text, _ := answer["errmsg"].(string); code != 0 && !strings.Contains(text, " rid: ") {
		r.t.Errorf("errmsg %q has no rid", text)
	}
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}
