package wechatsim

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"wxplatform/wechat"
)

const (
	kf1 = wechat.KFAccount("test1@test")
	kf2 = wechat.KFAccount("test2@test")
)

// session calls one of the five with the sample service account's token.
func (r *rig) session(name string, query url.Values, body any) object {
	r.t.Helper()
	token := r.LastAccessToken(SampleService)
	if token == "" {
		token = r.authorized(SampleService)
	}
	if query == nil {
		query = url.Values{}
	}
	query.Set("access_token", token)
	return r.do("/customservice/kfsession/"+name, query, body)
}

func pairBody(kf wechat.KFAccount, id wechat.OpenID) object {
	return object{"kf_account": kf, "openid": id}
}

func openID(i int) wechat.OpenID { return wechat.OpenID(fmt.Sprintf("o%027d", i)) }

// newRigAuthorized has the sample service account authorized with all sets, and nothing pushed yet.
func newRigAuthorized(t *testing.T) *rig {
	r := newRig(t)
	r.authorized(SampleService)
	return r
}

func TestSessionIsCreatedSeenAndClosed(t *testing.T) {
	r := newRigAuthorized(t)
	r.want(0, r.session("create", nil, pairBody(kf1, SampleCustomer)))
	r.want(0, r.session("create", nil, pairBody(kf1, SampleCustomer)))
	got := r.session("getsession", url.Values{"openid": {string(SampleCustomer)}}, nil)
	if got["kf_account"] != string(kf1) || got["createtime"] != float64(r.clock.Now().Unix()) {
		t.Errorf("got %v, want a session of %s", got, kf1)
	}
	list := r.session("getsessionlist", url.Values{"kf_account": {string(kf1)}}, nil)
	if fmt.Sprint(list) != fmt.Sprintf("map[sessionlist:[map[createtime:%v openid:%s]]]", float64(r.clock.Now().Unix()), SampleCustomer) {
		t.Errorf("got %v, want one session", list)
	}
	r.want(65414, r.session("create", nil, pairBody(kf2, SampleCustomer)))
	r.want(65414, r.session("close", nil, pairBody(kf2, SampleCustomer)))
	r.want(0, r.session("close", nil, pairBody(kf1, SampleCustomer)))
	r.want(65413, r.session("close", nil, pairBody(kf1, SampleCustomer)))
	got = r.session("getsession", url.Values{"openid": {string(SampleCustomer)}}, nil)
	if _, has := got["errcode"]; has || got["kf_account"] != "" {
		t.Errorf("got %v, want nobody and no errcode", got)
	}
	if list := r.session("getsessionlist", url.Values{"kf_account": {string(kf1)}}, nil)["sessionlist"]; list == nil || len(list.([]any)) != 0 {
		t.Errorf("got %v, want an empty list", list)
	}
}

func TestSessionsPushTheirEvents(t *testing.T) {
	r := newRigAuthorized(t)
	r.must(r.OpenSession(SampleService, kf1, SampleCustomer))
	r.must(r.SwitchSession(SampleService, kf1, kf2, SampleCustomer))
	r.want(0, r.session("close", nil, pairBody(kf2, SampleCustomer)))
	account, err := r.Account(SampleService)
	r.must(err)
	got := r.pushes()
	if len(got) != 3 {
		t.Fatalf("got %+v, want three events", got)
	}
	for i, want := range []received{
		{Event: "kf_create_session", KfAccount: string(kf1)},
		{Event: "kf_switch_session", FromKfAccount: string(kf1), ToKfAccount: string(kf2)},
		{Event: "kf_close_session", KfAccount: string(kf2)},
	} {
		p := got[i]
		if p.Event != want.Event || p.KfAccount != want.KfAccount || p.FromKfAccount != want.FromKfAccount || p.ToKfAccount != want.ToKfAccount {
			t.Errorf("got %+v, want %+v", p, want)
		}
		if p.path != "/"+string(SampleService)+"/messages" || p.query.Get("openid") != string(SampleCustomer) || p.query.Get("encrypt_type") != "aes" {
			t.Errorf("pushed to %s?%v", p.path, p.query)
		}
		if p.ToUserName != string(account.UserName) || p.FromUserName != string(SampleCustomer) || p.MsgType != "event" {
			t.Errorf("got %+v, want it from the customer to the account", p)
		}
	}
}

func TestAPISessionsMayBeSilent(t *testing.T) {
	r := newRigAuthorized(t)
	r.SetBehaviour(Behaviour{SilentSessions: true})
	r.want(0, r.session("create", nil, pairBody(kf1, SampleCustomer)))
	if got := r.pushes(); len(got) != 0 {
		t.Errorf("got %+v, want nothing", got)
	}
}

func TestSessionsRefuseWhatTheTablesSay(t *testing.T) {
	r := newRigAuthorized(t)
	r.must(r.SetAgent(SampleService, Agent{KFAccount: "away@test"}))
	r.must(r.SetAgent(SampleService, Agent{KFAccount: "new@test", Online: true, Unbound: true}))
	for _, c := range []struct {
		name string
		kf   wechat.KFAccount
		id   wechat.OpenID
		code int
	}{
		{"create", "nobody@test", SampleCustomer, 65401},
		{"create", "new@test", SampleCustomer, 65402},
		{"create", "away@test", SampleCustomer, 65415},
		{"create", kf1, "OPENID", 40003},
		{"create", kf1, "", 40003},
		{"close", "nobody@test", SampleCustomer, 65401},
		{"close", "new@test", SampleCustomer, 65402},
		{"close", "away@test", SampleCustomer, 65413},
		{"close", kf1, "oshort", 40003},
		{"close", kf1, SampleCustomer, 65413},
	} {
		answer := r.session(c.name, nil, pairBody(c.kf, c.id))
		if r.want(c.code, answer); t.Failed() {
			t.Fatalf("%+v", c)
		}
	}
	r.want(40003, r.session("getsession", url.Values{"openid": {"x"}}, nil))
	r.want(40003, r.session("getsession", nil, nil))
	r.want(65401, r.session("getsessionlist", nil, nil))
	r.want(65402, r.session("getsessionlist", url.Values{"kf_account": {"new@test"}}, nil))
	r.want(43001, r.session("getsession", nil, object{}))
	r.want(43002, r.session("close", nil, nil))
	r.want(44002, r.session("close", nil, ""))
	r.want(47001, r.session("close", nil, "[]"))
	r.must(r.ChangeAccount(SampleService, func(a *Account) { a.CustomerService = false }))
	for _, name := range []string{"create", "close"} {
		r.want(65400, r.session(name, nil, pairBody(kf1, SampleCustomer)))
	}
	for _, name := range []string{"getsession", "getsessionlist", "getwaitcase"} {
		r.want(65400, r.session(name, nil, nil))
	}
}

func TestSessionsNeedASetAndACapableAccount(t *testing.T) {
	r := newRig(t)
	wait := func(id wechat.AppID, sets ...wechat.PermissionSet) object {
		return r.do("/customservice/kfsession/getwaitcase", url.Values{"access_token": {r.authorized(id, sets...)}}, nil)
	}
	for _, set := range []wechat.PermissionSet{1, 6, 100, 101} {
		r.want(0, wait(SampleService, 2, set))
	}
	r.want(0, wait(SampleOfficial))
	r.want(61007, wait(SampleService, 2, 3, 19))
	r.want(48001, wait(SampleUnverified, 1))
	r.want(61007, wait(SampleUnverified, 2))
	r.want(48001, wait(SampleMiniProgram, 1))
	r.want(61007, wait(SampleMiniProgram, 19))
}

func TestWaitingCustomersAreCutAtAHundred(t *testing.T) {
	r := newRigAuthorized(t)
	for i := range 150 {
		r.must(r.Forward(SampleService, openID(i)))
		r.clock.advance(time.Second)
	}
	r.must(r.OpenSession(SampleService, kf1, openID(0)))
	r.must(r.Forward(SampleService, openID(2))) // who keeps the place in the queue
	answer := r.session("getwaitcase", nil, nil)
	list := answer["waitcaselist"].([]any)
	if answer["count"] != 149.0 || len(list) != 100 {
		t.Fatalf("got a count of %v and %d entries, want 149 and 100", answer["count"], len(list))
	}
	first, second := list[0].(object), list[1].(object)
	if first["openid"] != string(openID(1)) || second["openid"] != string(openID(2)) || second["latest_time"] != float64(r.clock.Now().Unix()) {
		t.Errorf("got %v, %v, want the order of arrival and the time of the last message", first, second)
	}
	r.want(65413, r.session("close", nil, pairBody(kf1, openID(1))))
}

func TestSessionWithoutAMessageEndsByItself(t *testing.T) {
	r := newRigAuthorized(t)
	r.must(r.OpenSession(SampleService, kf1, SampleCustomer))
	r.clock.advance(29 * time.Minute)
	r.must(r.CustomerMessage(SampleService, SampleCustomer, "在吗"))
	r.clock.advance(29 * time.Minute)
	if got := r.Session(SampleService, SampleCustomer); got.KFAccount != kf1 {
		t.Errorf("got %+v, want it to last since the message", got)
	}
	r.clock.advance(time.Minute)
	if got := r.session("getsessionlist", url.Values{"kf_account": {string(kf1)}}, nil)["sessionlist"].([]any); len(got) != 0 {
		t.Errorf("got %v, want no session", got)
	}
	if got := r.pushes(); len(got) != 2 || got[1].Event != "kf_close_session" {
		t.Errorf("got %+v, want created and closed, and not the message", got)
	}
}

func TestMessagesAreAllowedFiveAnswers(t *testing.T) {
	r := newRigAuthorized(t)
	send := func() object {
		body := object{"touser": SampleCustomer, "msgtype": "text", "text": object{"content": "您好"}, "customservice": object{"kf_account": kf1}}
		return r.do(customSendPath, url.Values{"access_token": {r.LastAccessToken(SampleService)}}, body)
	}
	r.want(45015, send())
	r.must(r.CustomerMessage(SampleService, SampleCustomer, "在吗]]>"))
	if got := r.pushes(); len(got) != 1 || got[0].Content != "在吗]]>" || got[0].MsgType != "text" {
		t.Errorf("got %+v, want the message", got)
	}
	for range 5 {
		r.want(0, send())
	}
	r.want(45047, send())
	sent := r.Messages()
	if len(sent) != 5 || sent[0].Text != "您好" || sent[0].KFAccount != kf1 || sent[0].OpenID != SampleCustomer || sent[0].AppID != SampleService {
		t.Errorf("got %+v, want five", sent)
	}
	r.must(r.CustomerMessage(SampleService, SampleCustomer, "?"))
	r.want(0, send())
	r.clock.advance(48 * time.Hour)
	r.componentToken()
	r.refresh(SampleService)
	r.want(45015, send())
}

func TestMessageIsRefused(t *testing.T) {
	r := newRigAuthorized(t)
	send := func(body object) object {
		return r.do(customSendPath, url.Values{"access_token": {r.LastAccessToken(SampleService)}}, body)
	}
	r.want(40003, send(object{"touser": "x", "msgtype": "text"}))
	r.want(40008, send(object{"touser": SampleCustomer, "msgtype": "smoke"}))
	r.want(44004, send(object{"touser": SampleCustomer, "msgtype": "text"}))
	r.want(65401, send(object{"touser": SampleCustomer, "msgtype": "image", "customservice": object{"kf_account": "nobody@test"}}))
}

func TestServedCustomersMessagesGoToTheAgentOnly(t *testing.T) {
	r := newRigAuthorized(t)
	r.must(r.OpenSession(SampleService, kf1, SampleCustomer))
	r.pushes()
	r.must(r.CustomerMessage(SampleService, SampleCustomer, "hello"))
	if got := r.pushes(); len(got) != 0 {
		t.Errorf("got %+v, want nothing", got)
	}
	r.must(r.CloseSession(SampleService, kf1, SampleCustomer))
	r.must(r.CustomerMessage(SampleService, SampleCustomer, "hello"))
	if got := r.pushes(); len(got) != 2 || got[1].Content != "hello" {
		t.Errorf("got %+v, want the end and the message", got)
	}
}

func TestMessagesGoOnlyToAComponentWithTheirSet(t *testing.T) {
	r := newRig(t)
	r.must(r.CustomerMessage(SampleService, SampleCustomer, "hello"))
	r.authorized(SampleService, 2)
	r.must(r.CustomerMessage(SampleService, SampleCustomer, "hello"))
	if got := r.pushes(); len(got) != 0 {
		t.Errorf("got %+v, want nothing", got)
	}
}

func TestTransferReplyMakesTheCustomerWait(t *testing.T) {
	r := newRigAuthorized(t)
	r.inbox.answer = func(int, wechat.Push) (int, string) {
		reply := r.inbox.envelope.Seal([]byte("<xml><MsgType><![CDATA[transfer_customer_service]]></MsgType></xml>"), "1", "2")
		return 200, string(wechat.WriteReply(reply))
	}
	r.must(r.CustomerMessage(SampleService, SampleCustomer, "hello"))
	r.pushes()
	if got := r.Session(SampleService, SampleCustomer); !got.Waiting {
		t.Errorf("got %+v, want him waiting", got)
	}
	if got := r.Pushes(); !got[len(got)-1].OK {
		t.Errorf("got %+v, want a sealed reply to be taken", got)
	}
}

func TestKFLists(t *testing.T) {
	r := newRigAuthorized(t)
	r.must(r.SetAgent(SampleService, Agent{KFAccount: kf2, Nick: "小兰"}))
	r.must(r.OpenSession(SampleService, kf1, SampleCustomer))
	token := url.Values{"access_token": {r.LastAccessToken(SampleService)}}
	all := r.do("/cgi-bin/customservice/getkflist", token, nil)["kf_list"].([]any)
	if len(all) != 2 || all[1].(object)["kf_account"] != string(kf2) || all[1].(object)["kf_nick"] != "小兰" {
		t.Errorf("got %v, want both", all)
	}
	online := r.do("/cgi-bin/customservice/getonlinekflist", token, nil)["kf_online_list"].([]any)
	if len(online) != 1 || online[0].(object)["accepted_case"] != 1.0 || online[0].(object)["status"] != 1.0 {
		t.Errorf("got %v, want one who serves one", online)
	}
}

func TestCustomersAreForgottenAfterTheirSessions(t *testing.T) {
	r := newRigAuthorized(t)
	for i := range 20 {
		r.must(r.OpenSession(SampleService, kf1, openID(i)))
		r.must(r.CloseSession(SampleService, kf1, openID(i)))
	}
	if got := len(r.find(SampleService).service.customers); got != 0 {
		t.Errorf("got %d customers, want none", got)
	}
}
