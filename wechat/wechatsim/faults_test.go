package wechatsim

import (
	"encoding/json"
	"net/http"
	"net/url"
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
	r.Fault(Fault{Path: closePath, Delay: 50 * time.Millisecond})
	impatient := http.Client{Timeout: 10 * time.Millisecond}
	defer impatient.CloseIdleConnections()
	_, err := impatient.Post(r.server.URL+closePath+"?access_token="+r.LastAccessToken(SampleService), "application/json",
		strings.NewReader(`{"kf_account":"test1@test","openid":"`+string(SampleCustomer)+`"}`))
	if err == nil {
		t.Fatal("got an answer, want a time-out")
	}
	if got := r.Session(SampleService, SampleCustomer); got.KFAccount != kf1 {
		t.Error("the session is closed before the delay is over")
	}
	for r.Session(SampleService, SampleCustomer).KFAccount != "" {
		time.Sleep(time.Millisecond)
	}
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
	for _, bad := range []string{`{"pathh":"/x"}`, `{"do":"explode"}`, `{"when":"later"}`, `{"delay":"soon"}`} {
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
