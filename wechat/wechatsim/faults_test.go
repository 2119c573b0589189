package wechatsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"wxplatform/wechat"
)

const closePath = "/customservice/kfsession/close"

func TestFaultsBeforeTheActPreventIt(t *testing.T) {
	r := newRigAuthorized(t)
	for range 3 {
		r.Fault(Fault{Path: closePath, Code: -1})
	}
	r.must(r.OpenSession(SampleService, kf1, SampleCustomer))
	for range 3 {
		r.want(-1, r.session("close", nil, pairBody(kf1, SampleCustomer)))
	}
	r.want(0, r.session("close", nil, pairBody(kf1, SampleCustomer)))
	if got := r.Calls(closePath); got != 4 {
		t.Errorf("got %d calls, want 4", got)
	}
}

func TestFaultsAfterTheActHideIt(t *testing.T) {
	r := newRigAuthorized(t)
	query := url.Values{"access_token": {r.LastAccessToken(SampleService)}}
	for _, f := range []Fault{{Do: Cut}, {Do: AnswerHTML}, {Do: AnswerEmpty}, {Status: 504}, {Code: 61450}} {
		r.must(r.OpenSession(SampleService, kf1, SampleCustomer))
		f.Path, f.When = "/customservice/*", After
		r.Fault(f)
		resp, text, err := r.try(closePath, query, pairBody(kf1, SampleCustomer))
		switch f.Do {
		case Cut:
			if err == nil {
				t.Error("cut: got an answer")
			}
		case AnswerHTML:
			if resp.StatusCode != 200 || !strings.HasPrefix(string(text), "<html>") {
				t.Errorf("html: got %s %s", resp.Status, text)
			}
		case AnswerEmpty:
			if resp.StatusCode != 200 || len(text) != 0 {
				t.Errorf("empty: got %s %s", resp.Status, text)
			}
		}
		if f.Status != 0 && resp.StatusCode != f.Status {
			t.Errorf("status: got %s", resp.Status)
		}
		if f.Code != 0 && !strings.Contains(string(text), `"errcode":61450`) {
			t.Errorf("code: got %s", text)
		}
		if got := r.Session(SampleService, SampleCustomer); got.KFAccount != "" {
			t.Errorf("%+v: the session goes on, want it closed behind the fault", f)
		}
	}
}

func TestAnAnswerCanBeAnything(t *testing.T) {
	r := newRigAuthorized(t)
	r.must(r.OpenSession(SampleService, kf1, SampleCustomer))
	query := url.Values{"access_token": {r.LastAccessToken(SampleService)}}
	r.Fault(Fault{Path: closePath, Status: 418, Body: "\x00\xff{", Header: map[string]string{"Content-Type": "text/plain", "X-Odd": "yes", "Date": ""}})
	resp, text := r.raw(closePath, query, pairBody(kf1, SampleCustomer))
	if resp.StatusCode != 418 || string(text) != "\x00\xff{" || resp.Header.Get("Content-Type") != "text/plain" || resp.Header.Get("X-Odd") != "yes" || resp.Header["Date"] != nil {
		t.Errorf("got %s %v %q", resp.Status, resp.Header, text)
	}
	if r.Session(SampleService, SampleCustomer).KFAccount != kf1 {
		t.Error("WeChat has acted, want it not to")
	}
	r.Fault(Fault{Path: closePath, Body: "{}", When: After})
	resp, text = r.raw(closePath, query, pairBody(kf1, SampleCustomer))
	if resp.StatusCode != 200 || string(text) != "{}" || resp.Header.Get("Content-Type") != jsonType || resp.Header.Get("Date") == "" {
		t.Errorf("got %s %v %q", resp.Status, resp.Header, text)
	}
	if r.Session(SampleService, SampleCustomer).KFAccount != "" {
		t.Error("WeChat has not acted, want it to")
	}
	r.Fault(Fault{Path: closePath, Do: AnswerRaw, Body: "SSH-2.0-OpenSSH\r\n"})
	if _, _, err := r.try(closePath, query, pairBody(kf1, SampleCustomer)); err == nil || !strings.Contains(err.Error(), "SSH-2.0") {
		t.Errorf("got %v, want what is no HTTP", err)
	}
}

func TestTheTrueAnswerCanBeOddInOneField(t *testing.T) {
	r := newRigAuthorized(t)
	token := r.componentToken()
	edit := func(f Fault) string {
		t.Helper()
		f.Path = "/cgi-bin/component/api_get_authorizer_info"
		r.Fault(f)
		_, text := r.raw(f.Path, url.Values{"component_access_token": {token}}, object{"component_appid": DefaultAppID, "authorizer_appid": SampleService})
		return string(text)
	}
	for _, c := range []struct {
		set  map[string]json.RawMessage
		drop []string
		want string
	}{
		{map[string]json.RawMessage{"authorizer_info.nick_name": []byte("\"a\x14b\"")}, nil, "{\"authorizer_info\":{\"nick_name\":\"a\x14b\",\"head_img\":"},
		{map[string]json.RawMessage{"authorization_info.func_info": []byte("null")}, nil, `"authorization_info":{"authorizer_appid":"` + string(SampleService) + `","func_info":null}}`},
		{map[string]json.RawMessage{"authorization_info.func_info.0.funcscope_category.id": []byte(`"1"`)}, nil, `"func_info":[{"funcscope_category":{"id":"1"}},{"funcscope_category":{"id":2}},`},
		{map[string]json.RawMessage{"authorization_info.func_info.-": []byte(`{}`)}, nil, `{"funcscope_category":{"id":101}},{}]}}`},
		{map[string]json.RawMessage{"extra.deep": []byte(`7.0`)}, nil, `},"extra":{"deep":7.0}}`},
		{map[string]json.RawMessage{"authorization_info": []byte(`{}`), "authorization_info.func_info": []byte(`[]`)}, nil, `"authorization_info":{"func_info":[]}}`},
		{nil, []string{"authorizer_info", "authorization_info.func_info", "not.there"}, `{"authorization_info":{"authorizer_appid":"` + string(SampleService) + `"}}`},
	} {
		if got := edit(Fault{Set: c.set, Drop: c.drop}); !strings.Contains(got, c.want) {
			t.Errorf("%v %v: got %q, want %q in it", c.set, c.drop, got, c.want)
		}
	}
}

func TestAFaultCanStrikeTheNthCall(t *testing.T) {
	r := newRigAuthorized(t)
	r.Fault(Fault{Path: waitPath, Code: -1})
	r.Fault(Fault{Path: waitPath, Skip: 2, Count: 2, Code: 40001})
	for _, code := range []int{-1, 0, 40001, 40001, 0} {
		r.want(code, r.session("getwaitcase", nil, nil))
	}
}

func TestFaultsThatContradictThemselvesAreRefused(t *testing.T) {
	r := newRig(t)
	for _, f := range []Fault{
		{When: "later"}, {Do: "explode"}, {Wire: "explode"}, {Skip: -1}, {Count: -2}, {Delay: -1}, {Code: 1, Do: Cut}, {Status: 99}, {Status: 200, Do: AnswerHTML},
		{Body: "x", Do: AnswerHTML}, {Header: map[string]string{"X": "y"}, Do: Cut}, {Drop: []string{"x"}, Do: AnswerBody}, {Do: AnswerEdited},
		{Drop: []string{"x"}, When: Before}, {Drop: []string{"x..y"}}, {Do: Cut, Wire: CloseAfter}, {Do: AnswerRaw, Wire: LongHeader}, {Extra: "x"}, {Wire: StrayWith, Gap: 1},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v: got no panic", f)
				}
			}()
			r.Fault(f)
		}()
	}
}

func TestFaultCanBeAboutOneAuthorizer(t *testing.T) {
	r := newRig(t)
	r.authorized(SampleService)
	r.authorized(SampleOfficial)
	r.Fault(Fault{AppID: SampleOfficial, Code: 61023, Count: Always})
	r.want(0, r.component("api_authorizer_token", r.refreshBody(SampleService)))
	for range 3 {
		r.want(61023, r.component("api_authorizer_token", r.refreshBody(SampleOfficial)))
	}
	r.want(0, r.exchange(r.consent(SampleService).AuthCode))
	r.want(61023, r.exchange(r.consent(SampleOfficial).AuthCode))
	r.ClearFaults()
	r.want(0, r.component("api_authorizer_token", r.refreshBody(SampleOfficial)))
}

func TestTokenCanBeRejectedSeveralTimes(t *testing.T) {
	r := newRigAuthorized(t)
	r.Fault(Fault{Path: "/customservice/*", AppID: SampleService, Code: 40001, Count: 2})
	r.want(40001, r.session("getwaitcase", nil, nil))
	r.want(40001, r.session("getwaitcase", nil, nil))
	r.want(0, r.session("getwaitcase", nil, nil))
}

func TestDelayedCallActsThoughItsCallerIsGone(t *testing.T) {
	r := newRigAuthorized(t)
	r.must(r.OpenSession(SampleService, kf1, SampleCustomer))
	r.Fault(Fault{Path: closePath, Delay: 500 * time.Millisecond})
	sent := time.Now()
	r.leaves(closePath+"?access_token="+r.LastAccessToken(SampleService), `{"kf_account":"test1@test","openid":"`+string(SampleCustomer)+`"}`)
	if got := r.Session(SampleService, SampleCustomer); got.KFAccount != kf1 && time.Since(sent) < 500*time.Millisecond {
		t.Error("the session is closed before the delay is over")
	}
	for r.Session(SampleService, SampleCustomer).KFAccount != "" {
		time.Sleep(time.Millisecond)
	}
}

// leaves sends a request and closes the connection at once.
func (r *rig) leaves(target, body string) {
	r.t.Helper()
	c, err := net.Dial("tcp", r.server.Listener.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", target, len(body), body)
	r.must(errors.Join(err, c.Close()))
}

func TestCloseEndsDelays(t *testing.T) {
	r := newRig(t)
	r.Fault(Fault{Delay: time.Hour, When: After})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _, _ = r.try(componentTokenPath, nil, r.credentials())
	}()
	for r.Calls(componentTokenPath) == 0 {
		time.Sleep(time.Millisecond)
	}
	r.Close()
	<-done
}

func TestFaultsAreReadStrictly(t *testing.T) {
	var f Fault
	text := `{"path":"/x","appid":"wx1","count":3,"when":"after","delay":"3s","do":"cut"}`
	if err := json.Unmarshal([]byte(text), &f); err != nil || f.Delay != 3*time.Second || f.When != After || f.Do != Cut || f.Count != 3 {
		t.Errorf("got %+v, %v", f, err)
	}
	back, err := json.Marshal(f)
	if err != nil || string(back) != text {
		t.Errorf("got %s, want %s", back, text)
	}
	odd := Fault{Skip: 1, Do: AnswerEdited, Set: map[string]json.RawMessage{"a": []byte("\"\x14\""), "b": []byte("1")}, Drop: []string{"c"}, Header: map[string]string{"X": ""}, Wire: StrayAfter, Gap: time.Millisecond, Extra: "x"}
	raw := Fault{Do: AnswerRaw, Body: "\xff"}
	for _, f := range []Fault{odd, raw} {
		text, err := json.Marshal(f)
		var back Fault
		if err = errors.Join(err, json.Unmarshal(text, &back)); err != nil || !reflect.DeepEqual(back, f) {
			t.Errorf("%s: got %+v, %v, want %+v", text, back, err, f)
		}
	}
	for _, bad := range []string{`{"body":"a","body_base64":"YQ=="}`, `{"body_base64":"!"}`, `{"wire":"loose"}`, `{"set":{"a":1},"do":"cut"}`, `{"gap":"soon"}`, `{"pathh":"/x"}`, `{"do":"explode"}`, `{"when":"later"}`, `{"delay":"soon"}`} {
		if err := json.Unmarshal([]byte(bad), &f); err == nil {
			t.Errorf("%s: got nil, want an error", bad)
		}
	}
}

func TestQuotasByDayAndMinute(t *testing.T) {
	r := newRigAuthorized(t)
	r.SetQuota("/customservice/kfsession/getwaitcase", Quota{PerDay: 3, PerMinute: 2})
	wait := func() object { return r.session("getwaitcase", nil, nil) }
	r.want(0, wait())
	r.want(0, wait())
	r.want(45011, wait())
	r.clock.advance(time.Minute)
	r.want(0, wait())
	r.want(45009, wait())
	asked := r.do("/cgi-bin/openapi/quota/get", url.Values{"access_token": {r.LastAccessToken(SampleService)}}, object{"cgi_path": "/customservice/kfsession/getwaitcase"})
	if q := asked["quota"].(object); q["daily_limit"] != 3.0 || q["used"] != 3.0 || q["remain"] != 0.0 {
		t.Errorf("got %v, want 3 of 3 used", asked)
	}
	// It is 17:01 in Beijing, so the next day begins in less than 7 hours.
	r.clock.advance(6*time.Hour + 59*time.Minute)
	r.componentToken()
	r.refresh(SampleService)
	r.want(0, wait())
	if got := r.Used(SampleService, "/customservice/kfsession/getwaitcase"); got != 1 {
		t.Errorf("got %d, want 1 since midnight", got)
	}
}

func TestQuotaCanBeClearedTenTimesAMonth(t *testing.T) {
	r := newRigAuthorized(t)
	r.SetQuota("/customservice/kfsession/getwaitcase", Quota{PerDay: 1})
	clearing := func() object {
		return r.do("/cgi-bin/clear_quota", url.Values{"access_token": {r.LastAccessToken(SampleService)}}, object{"appid": SampleService})
	}
	for range 10 {
		r.want(0, r.session("getwaitcase", nil, nil))
		r.want(45009, r.session("getwaitcase", nil, nil))
		r.want(0, clearing())
	}
	r.want(48006, clearing())
	r.clock.advance(31 * 24 * time.Hour)
	r.componentToken()
	r.refresh(SampleService)
	r.want(0, clearing())
}

func TestRefreshQuotaIsNotTheMerchantsToClear(t *testing.T) {
	r := newRigAuthorized(t)
	r.SetQuota(authorizerTokenPath, Quota{PerDay: 1})
	r.want(45009, r.component("api_authorizer_token", r.refreshBody(SampleService)))
	r.want(0, r.do("/cgi-bin/clear_quota", url.Values{"access_token": {r.LastAccessToken(SampleService)}}, object{"appid": SampleService}))
	r.want(45009, r.component("api_authorizer_token", r.refreshBody(SampleService)))
	r.must(r.authorizedToo(SampleOfficial))
	body := object{"component_appid": DefaultAppID, "appsecret": DefaultSecret, "appid": SampleService}
	r.want(0, r.do("/cgi-bin/component/clear_quota/v2", nil, body))
	r.want(0, r.component("api_authorizer_token", r.refreshBody(SampleService)))
	body["appid"] = SampleUnverified
	r.want(43007, r.do("/cgi-bin/component/clear_quota/v2", nil, body))
}

func TestRefreshesMayHaveOneQuotaOfTheComponent(t *testing.T) {
	r := newRigAuthorized(t)
	r.SetBehaviour(Behaviour{OneRefreshQuota: true})
	r.SetQuota(authorizerTokenPath, Quota{PerDay: 2})
	r.must(r.authorizedToo(SampleOfficial))
	r.want(0, r.component("api_authorizer_token", r.refreshBody(SampleService)))
	r.want(45009, r.component("api_authorizer_token", r.refreshBody(SampleOfficial)))
	asked := r.do("/cgi-bin/openapi/quota/get", url.Values{"access_token": {r.LastComponentToken()}}, object{"cgi_path": authorizerTokenPath})
	if q := asked["quota"].(object); q["daily_limit"] != 2.0 || q["used"] != 2.0 {
		t.Errorf("got %v, want 2 of 2 used", asked)
	}
}

// authorizedToo checks that another account's refreshes have a count of their own.
func (r *rig) authorizedToo(id wechat.AppID) error {
	r.t.Helper()
	_, err := r.Authorize(id)
	r.want(0, r.component("api_authorizer_token", r.refreshBody(id)))
	return err
}

func TestComponentThatUsedUpItsTokensClearsBySecret(t *testing.T) {
	r := newRig(t)
	r.SetQuota(componentTokenPath, Quota{PerDay: 1})
	r.want(0, r.do(componentTokenPath, nil, r.credentials()))
	r.want(45009, r.do(componentTokenPath, nil, r.credentials()))
	r.want(0, r.do("/cgi-bin/component/clear_quota/v2", nil, object{"component_appid": DefaultAppID, "appsecret": DefaultSecret}))
	r.want(0, r.do(componentTokenPath, nil, r.credentials()))
	r.want(45009, r.do(componentTokenPath, nil, r.credentials()))
	r.want(0, r.component("clear_quota", object{"component_appid": DefaultAppID}))
	r.want(0, r.do(componentTokenPath, nil, r.credentials()))
}

func TestQuotaOfWhatDoesNotExist(t *testing.T) {
	r := newRigAuthorized(t)
	for path, code := range map[string]int{"x": 76003, "/x": 76021, "/sns/jscode2session": 76022} {
		r.want(code, r.do("/cgi-bin/openapi/quota/get", url.Values{"access_token": {r.LastAccessToken(SampleService)}}, object{"cgi_path": path}))
	}
}

func TestCallLogHasNoToken(t *testing.T) {
	r := newRigAuthorized(t)
	r.ResetCalls()
	r.session("getwaitcase", nil, nil)
	r.Fault(Fault{Do: AnswerEmpty, When: After})
	r.raw("/customservice/kfsession/getwaitcase", url.Values{"access_token": {"x"}}, nil)
	text, err := json.Marshal(r.CallLog())
	r.must(err)
	for _, want := range []string{`"path":"/customservice/kfsession/getwaitcase","appid":"` + string(SampleService) + `","errcode":0`, `"errcode":40001,"fault":"after empty"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("got %s, want %s in it", text, want)
		}
	}
	if strings.Contains(string(text), r.LastAccessToken(SampleService)) {
		t.Error("the log holds a token")
	}
}
