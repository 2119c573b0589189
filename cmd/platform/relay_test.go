package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"mime/multipart"
	"net"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

// sdkJWT returns a JWT that an SDK got for the account.
func (w *world) sdkJWT(appid wechat.AppID) string {
	w.t.Helper()
	return w.givenSDK("token", w.sdkToken(appid, w.clientSecret()))
}

// form returns a multipart body with a file, and its Content-Type.
func form(t *testing.T, file []byte) (body, contentType string) {
	t.Helper()
	var text bytes.Buffer
	writer := multipart.NewWriter(&text)
	part, err := writer.CreateFormFile("media", "a.jpg")
	if err == nil {
		_, err = part.Write(file)
	}
	if err == nil {
		err = writer.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return text.String(), writer.FormDataContentType()
}

func TestAFileComesBackAsItWasSentThroughEitherDoor(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1", "11")
	jwt := w.sdkJWT(service)
	for _, size := range []int{1000, 700 << 10} { // kept, and streamed
		file := make([]byte, size)
		_, _ = rand.Read(file)
		file[0], file[size-1] = 0xff, 0xff // a reply is trimmed of white space
		body, contentType := form(t, file)
		native := "/v1/authorizers/" + string(service)
		bearer := map[string]string{"Content-Type": contentType, "Authorization": "Bearer " + w.jwt}
		answers := map[string]reply{
			"native":  w.raw("POST", native+"/cgi-bin/media/upload?type=image", bearer, body),
			"drop-in": w.raw("POST", "/cgi-bin/media/upload?access_token="+jwt+"&type=image", map[string]string{"Content-Type": contentType}, body),
		}
		for door, answer := range answers {
			id := answer.field("media_id")
			if answer.status != 200 || id == "" {
				t.Fatalf("%s: got %d %s, want a media_id", door, answer.status, answer.body)
			}
			query := "?media_id=" + url.QueryEscape(id)
			for other, got := range map[string]reply{
				"native":  w.raw("GET", native+"/cgi-bin/media/get"+query, bearer, ""),
				"drop-in": w.raw("GET", "/cgi-bin/media/get"+query+"&access_token="+jwt, nil, ""),
			} {
				if got.status != 200 || !bytes.Equal(got.body, file) || got.header.Get("Content-Type") != "image/jpeg" {
					t.Errorf("%s of %s: got %d, %s and %d bytes, want the %d bytes of an image", other, door, got.status, got.header.Get("Content-Type"), len(got.body), len(file))
				}
			}
		}
	}
}

func TestAnSDKClosesASessionAtWeChatsPath(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.open(kfAccount)
	body := `{"kf_account":"` + string(kfAccount) + `","openid":"` + string(customer) + `","text":"再见 <&>"}` + "\n"
	path := "/customservice/kfsession/close?access_token=" + w.sdkJWT(service)
	for i, want := range []string{"0", "65413"} {
		answer := w.raw("POST", "/"+path, nil, body)
		if answer.status != 200 || answer.field("errcode") != want {
			t.Errorf("close %d: got %d %s, want %s", i+1, answer.status, answer.body, want)
		}
	}
}

func TestAnSDKGetsARefusalOfASessionCallAsItCame(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	jwt := w.sdkJWT(service)
	for path, statuses := range map[string]map[string]int{closePath: {"65415": 409, "65499": 502}, "/customservice/kfsession/create": {"65400": 409, "48099": 502}} {
		for code, status := range statuses {
			said := `{"errcode":` + code + `,"errmsg":"no <&> rid: 666188b4-774b1b9f-5cbb8e23","more":[1234567890123456789]}`
			w.sim.Fault(wechatsim.Fault{Path: path, Body: said, Count: 2})
			body := `{"kf_account":"` + string(kfAccount) + `","openid":"` + string(customer) + `"}`
			if answer := w.raw("POST", path+"?access_token="+jwt, nil, body); string(answer.body) != said {
				t.Errorf("%s: got %s, want %s", path, answer.body, said)
			}
			if answer := w.ask("POST", "/v1/authorizers/"+string(service)+path, body); answer.status != status || answer.field("errcode") != code {
				t.Errorf("%s: got %d %s, want %d and %s", path, answer.status, answer.body, status, code)
			}
		}
	}
}

func TestAnSDKIsToldWhyACallIsNotRelayed(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "11")
	jwt := w.sdkJWT(service)
	for what, c := range map[string]struct{ method, path, code string }{
		"no token":         {"GET", "/cgi-bin/menu/get", "40001"},
		"garbage":          {"GET", "/cgi-bin/menu/get?access_token=garbage", "40001"},
		"a WeChat token":   {"GET", "/cgi-bin/menu/get?access_token=86_" + strings.Repeat("x", 130), "40001"},
		"twice":            {"GET", "/cgi-bin/menu/get?access_token=" + jwt + "&access_token=" + jwt, "40001"},
		"bound to nothing": {"GET", "/cgi-bin/menu/get?access_token=" + w.jwt, "48001"},
		"token, PUT":       {"PUT", "/cgi-bin/token?access_token=" + jwt, "43001"},
		"stable, GET":      {"GET", "/cgi-bin/stable_token?secret=x", "43002"},
		"an escape":        {"GET", "/cgi-bin/menu%2Fget?access_token=" + jwt, "40035"},
		"no permission":    {"POST", "/customservice/kfsession/close?access_token=" + jwt, "48001"},
		"never relayed":    {"POST", "/cgi-bin/component/api_query_auth?access_token=" + jwt, "48001"},
		"an appsecret":     {"POST", "/cgi-bin/clear_quota/v2?access_token=" + jwt, "48001"},
		"operator only":    {"POST", "/cgi-bin/clear_quota?access_token=" + jwt, "48001"},
		"not listed":       {"POST", "/cgi-bin/nonsense/add?access_token=" + jwt, "48001"},
		"POST for GET":     {"POST", "/cgi-bin/media/get?access_token=" + jwt, "43001"},
		"GET for POST":     {"GET", "/cgi-bin/media/upload?access_token=" + jwt, "43002"},
		"hidden token":     {"GET", "/cgi-bin/media/get?access_token=" + jwt + "&a=1;Access%5Ftoken=x", "40001"},
		"in another case":  {"GET", "/cgi-bin/media/get?access_token=" + jwt + "&ACCESS%255Ftoken=x", "40035"},
	} {
		w.refusedSDK(what, w.raw(c.method, c.path, nil, ""), c.code)
	}
}

func TestAnSDKWithAJWTThatIsBoundToNothingIsToldWhereToGetOne(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	answer := w.raw("GET", "/cgi-bin/menu/get?access_token="+w.jwt, nil, "")
	w.refusedSDK("bound to nothing", answer, "48001")
	if said := answer.field("errmsg"); !strings.Contains(said, "this JWT is bound to no account: get one from /cgi-bin/token") {
		t.Errorf("got %s, want where to get another JWT", said)
	}
}

// What fails in front of a route is told in WeChat's form, too.
func TestAnOverloadedListenerSpeaksWeChatAtWeChatsPaths(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	empty := w.platform.overload.calls.full()
	defer empty()
	for _, path := range []string{"/cgi-bin/token?secret=x", "/cgi-bin/stable_token", "/cgi-bin/menu/get?access_token=x", "/sns/jscode2session?secret=x", "/sns/userinfo", "/customservice/kfsession/close"} {
		w.refusedSDK(path, w.raw("GET", path, nil, ""), "45011")
	}
	if want := `wxplatform_problems_total{slug="overloaded"} 6`; !strings.Contains(w.scraped(), want+"\n") {
		t.Errorf("got no %s in the metrics", want)
	}
}

func TestAPanicSpeaksWeChatAtWeChatsPaths(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	e := w.platform.public()
	for path, code := range map[string]int{"/cgi-bin/token": 45011, "/cgi-bin/menu/get": -1000} {
		e.PATCH(path, func(echo.Context) error { panic("something") })
		answer := httptest.NewRecorder()
		e.ServeHTTP(answer, httptest.NewRequest("PATCH", path, nil))
		wantsErrcode(t, path, answer, code)
	}
}

func TestARelayedRefusalKeepsWhatWeChatSaid(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1", "7")
	w.sim.Fault(wechatsim.Fault{Path: "/cgi-bin/message/custom/send", Body: `{"errcode":45065,"errmsg":"clientmsgid exist","msg_id":1234567890123456789}`, Count: 2})
	answer := w.ask("POST", "/v1/authorizers/"+string(service)+"/cgi-bin/message/custom/send", `{"touser":"o<&>","msgtype":"text","text":{"content":"你好"}}`)
	var said struct {
		Type   string          `json:"type"`
		WeChat json.RawMessage `json:"wechat"`
	}
	if err := json.Unmarshal(answer.body, &said); err != nil || answer.status != 422 || !strings.Contains(string(said.WeChat), `"msg_id":1234567890123456789`) {
		t.Errorf("native: got %d %s, want 422 with WeChat's answer", answer.status, answer.body)
	}
	again := w.raw("POST", "/cgi-bin/message/custom/send?access_token="+w.sdkJWT(service), nil, `{"touser":"o"}`)
	if want := `{"errcode":45065,"errmsg":"clientmsgid exist","msg_id":1234567890123456789}`; string(again.body) != want {
		t.Errorf("drop-in: got %s, want %s", again.body, want)
	}
}

func TestTheNativeDoorSaysWhyACallIsNotRelayed(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "11")
	for path, slug := range map[string]string{
		"GET /cgi-bin/media/get?access_token=x":       "invalid-request",
		"GET /cgi-bin/media/get?a=1;acces%73_token=x": "invalid-request",
		"POST /cgi-bin/media/get":                     "method-not-allowed",
		"POST /cgi-bin/component/api_component_token": "api-not-relayed",
		"POST /sns/component/jscode2session":          "api-not-relayed",
		"GET /cgi-bin/nonsense":                       "insufficient-scope",
		"GET /elsewhere/nonsense":                     "unknown-api",
		"POST /customservice/kfsession/close":         "permission-set-missing",
		"GET /cgi-bin//media/get":                     "invalid-request",
		"GET /cgi-bin/../v1/authorizers":              "invalid-request",
		"GET /cgi-bin/media%2Fget":                    "invalid-request",
	} {
		method, path, _ := strings.Cut(path, " ")
		answer := w.ask(method, "/v1/authorizers/"+string(service)+path, "")
		if !strings.HasSuffix(answer.field("type"), slug) {
			t.Errorf("%s %s: got %d %s, want %s", method, path, answer.status, answer.body, slug)
		}
	}
}

// The catalogue rules the session routes and package login, too. wechat:any is no way around it.
func TestASwitchedOffAPIIsToldAsSuchAtBothDoors(t *testing.T) {
	t.Parallel()
	off := []string{"POST /customservice/kfsession/close", "GET /customservice/kfsession/getwaitcase", "GET /cgi-bin/menu/get", "POST /cgi-bin/media/upload", "GET /sns/jscode2session"}
	w := newWorldWith(t, map[string]string{"PLATFORM_API_OFF": strings.Join(off, ", ")})
	w.grant(service, "1", "11", "15")
	var any struct{ ID, Secret string }
	w.command(&any, "client", "create", w.tenant, "--name", "any", "--scope", "wechat:any", "--scope", "users:read")
	for what, c := range map[string]struct{ secret, jwt string }{"all scopes": {w.clientSecret(), w.jwt}, "wechat:any": {any.Secret, w.asks(any.ID, any.Secret).field("access_token")}} {
		bound := w.givenSDK(what, w.sdkToken(service, c.secret))
		for _, api := range off {
			method, path, _ := strings.Cut(api, " ")
			native, query := path, "?access_token="+bound
			if path == "/sns/jscode2session" {
				native, query = path+"?js_code=x", "?js_code=x&grant_type=authorization_code&appid="+string(service)+"&secret="+c.secret
			}
			w.wants(w.raw(method, "/v1/authorizers/"+string(service)+native, map[string]string{"Authorization": "Bearer " + c.jwt}, ""), 403, "api-switched-off")
			answer := w.raw(method, path+query, nil, "")
			w.refusedSDK(what+": "+api, answer, "48001")
			if !strings.Contains(answer.field("errmsg"), "switched this API off") {
				t.Errorf("%s: %s: got %s, want it told why", what, api, answer.body)
			}
		}
		w.refusedSDK(what+": another spelling", w.raw("GET", "/cgi-bin/Menu/get?access_token="+bound, nil, ""), "40066")
	}
	w.wants(w.raw("GET", "/v1/authorizers/"+string(service)+"/cgi-bin/menu/get", nil, ""), 401, "invalid-token")
	for _, api := range append(off, "GET "+miniLoginPath) {
		if _, path, _ := strings.Cut(api, " "); w.sim.Calls(path) != 0 {
			t.Errorf("got %s called at WeChat", path)
		}
	}
}

func TestASessionCallThatIsUncheckedIsDecidedByWeChat(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, map[string]string{"PLATFORM_API_UNCHECKED": "/customservice/kfsession/create"})
	w.grant(service, "11")
	answer := w.ask("POST", "/v1/authorizers/"+string(service)+"/customservice/kfsession/create", `{"kf_account":"`+string(kfAccount)+`","openid":"`+string(customer)+`"}`)
	if answer.field("errcode") != "61007" {
		t.Errorf("create that is unchecked: got %d %s, want WeChat's 61007", answer.status, answer.body)
	}
}

func TestASuccessWithoutAnyGuessedSetIsCounted(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.settles()
	path := "/v1/authorizers/" + string(service) + "/cgi-bin/menu/get" // set 15 is a guess
	w.ask("GET", path, "")
	const counted = `wxplatform_api_guesses_disproved_total{api="/cgi-bin/menu/get"}`
	if strings.Contains(w.scraped(), counted) {
		t.Error("got a refusal counted, want only successes")
	}
	w.sim.Fault(wechatsim.Fault{Path: "/cgi-bin/menu/get", Body: `{"menu":{"button":[]}}`})
	if answer := w.ask("GET", path, ""); answer.status != 200 || !strings.Contains(w.scraped(), counted+" 1\n") {
		t.Errorf("got %d %s, want a success that is counted", answer.status, answer.body)
	}
}

func TestAnAnswerThatShowsAnAccessTokenReachesNobody(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1", "11")
	w.settles()
	native, jwt := "/v1/authorizers/"+string(service)+"/cgi-bin/media/get?media_id=x", w.sdkJWT(service)
	if answer := w.ask("GET", native, ""); answer.field("errcode") != "40007" {
		t.Fatalf("got %s, want the account called", answer.body)
	}
	token := w.sim.LastAccessToken(service)
	for _, body := range []string{`{"url":"/x?access_token=` + token + `"}`, "<html>GET /x?access_token=" + token, strings.Repeat("x", 100<<10) + token} {
		w.sim.Fault(wechatsim.Fault{Path: "/cgi-bin/media/get", Body: body, Count: 2})
		for path, header := range map[string]map[string]string{native: {"Authorization": "Bearer " + w.jwt}, "/cgi-bin/media/get?media_id=x&access_token=" + jwt: nil} {
			answer, err := w.out.send(anyContext, "GET", w.publicURL+path, header, "")
			whole := err == nil && answer.status == 200 && answer.field("errcode") == ""
			if strings.Contains(string(answer.body), token) || whole {
				t.Errorf("got %d %.80s, %v, want no token and no success", answer.status, answer.body, err)
			}
		}
	}
}

func TestAnSDKMaySendTheTokenOnlyInTheQuery(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1", "11")
	for _, path := range []string{"/cgi-bin/media/get", "/customservice/kfsession/close"} {
		method := map[bool]string{true: "POST", false: "GET"}[strings.HasSuffix(path, "close")]
		w.refusedSDK(path, w.raw(method, path+"?access_token="+w.sdkJWT(service), map[string]string{"Authorization": "Bearer " + w.jwt}, ""), "40035")
	}
}

// WeChat refuses before the file has arrived, while the caller sends slowly.
func TestAnEarlyRefusalDoesNotWaitForASlowCaller(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "11")
	w.sim.Fault(wechatsim.Fault{Path: "/cgi-bin/media/upload", Code: 45009, When: wechatsim.Before})
	conn, err := net.Dial("tcp", w.on.public.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	head := "POST /cgi-bin/media/upload?type=image&access_token=" + w.sdkJWT(service) + " HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000000\r\n\r\n--x"
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	said, err := io.ReadAll(conn) // until the platform closes the connection
	if err != nil || !strings.Contains(string(said), `"errcode":45009`) || time.Since(began) > 20*time.Second {
		t.Errorf("got %q, %v after %v, want 45009 and the connection's end", said, err, time.Since(began))
	}
}

// Some SDKs wait for 3 s, and each call of WeChat may take a second. So an answer takes three calls
// of WeChat at most, one after the other.
func TestAnAnswerTakesFewCallsOfWeChat(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.edits("/cgi-bin/component/api_query_auth", map[string]string{"authorization_info.expires_in": "1"})
	w.grant(service, "1", "11", "15")
	w.settles()
	path := "/cgi-bin/menu/get?access_token=" + w.sdkJWT(service)
	time.Sleep(2 * time.Second) // until the account's token has expired
	w.sim.Fault(wechatsim.Fault{Delay: 990 * time.Millisecond, Count: wechatsim.Always})
	for _, c := range []struct {
		what   string
		before func() error
		calls  int
	}{
		{"an expired token", func() error { return nil }, 2},
		{"a known token", func() error { return nil }, 1},
		{"a rejected token", func() error { return w.sim.Reject(service) }, 3},
		{"a known token again", func() error { return nil }, 1},
	} {
		if err := c.before(); err != nil {
			t.Fatal(err)
		}
		w.sim.ResetCalls()
		began := time.Now()
		answer := w.raw("GET", path, nil, "")
		took := time.Since(began)
		t.Logf("%s: %v", c.what, took)
		if n := w.sim.Calls("/cgi-bin/menu/get") + w.sim.Calls(refreshPath); n != c.calls || answer.field("errcode") != "46003" {
			t.Errorf("%s: got %s after %v and %d calls of WeChat, want 46003 after %d", c.what, answer.body, took, n, c.calls)
		}
	}
}
