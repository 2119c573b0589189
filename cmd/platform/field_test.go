package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wxplatform/authorizer"
	"wxplatform/reconcile"
	"wxplatform/tenant"
	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

// These tests send inputs that real platforms received, each standing for a kind. A test's name
// begins with what WeChat sends, and its body says what is right.

const (
	exchangePath   = "/cgi-bin/component/api_query_auth"
	getSessionPath = "/customservice/kfsession/getsession"
)

// edits changes an API's answers to one account, until it is called again.
func (w *world) edits(path string, set map[string]string, drop ...string) {
	f := wechatsim.Fault{Path: path, Count: wechatsim.Always, Set: map[string]json.RawMessage{}, Drop: drop}
	for name, value := range set {
		f.Set[name] = json.RawMessage(value)
	}
	w.sim.Fault(f)
}

func (w *world) answers(path, body string, count int) {
	w.sim.Fault(wechatsim.Fault{Path: path, Do: wechatsim.AnswerBody, Body: body, Count: count})
}

// consents leads the merchant of service through an invitation, and returns the query of the final
// redirect.
func (w *world) consents(sets ...string) (url.Values, reply) {
	w.t.Helper()
	made := w.ask("POST", "/v1/invitations", fmt.Sprintf(`{"redirect_url":%q,"kind":"pc","state":"demo"}`, redirect))
	landed, err := newBrowser().consent(anyContext, made.field("url"), string(service), sets...)
	if err != nil {
		return nil, made
	}
	return landed.Query(), made
}

func TestProfileWithoutPermissionSetsKeepsThoseOfTheExchange(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*world){
		"an empty object": func(w *world) { w.edits(infoPath, map[string]string{"authorization_info": `{}`}) },
		"null":            func(w *world) { w.edits(infoPath, map[string]string{"authorization_info": `null`}) },
		"missing":         func(w *world) { w.edits(infoPath, nil, "authorization_info") },
		"null sets":       func(w *world) { w.edits(infoPath, map[string]string{"authorization_info.func_info": `null`}) },
		"no sets":         func(w *world) { w.edits(infoPath, map[string]string{"authorization_info.func_info": `[]`}) },
		"bad sets":        func(w *world) { w.edits(infoPath, map[string]string{"authorization_info.func_info": `[null,{},7]`}) },
		"sets as text":    func(w *world) { w.edits(infoPath, map[string]string{"authorization_info.func_info": `"1,6"`}) },
	} {
		t.Run(name, func(t *testing.T) {
			w := sqliteWorld(t)
			edit(w)
			w.grant(service, "1", "6")
			w.settles()
			w.open(kfAccount)
			w.ok(w.shut(kfAccount))
			if got := string(w.authorizer(service).body); !strings.Contains(got, `"permission_sets":[1,6]`) {
				t.Errorf("got %s, want the sets 1 and 6", got)
			}
		})
	}
}

func TestProfileWithOddMembersIsRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ member, value, shows string }{
		"a raw control byte":     {"authorizer_info.nick_name", "\"a\x14b\"", `"nick_name":"ab"`},
		"an escaped zero":        {"authorizer_info.principal_name", `"a\u0000b"`, `"principal_name":"ab"`},
		"broken UTF-8":           {"authorizer_info.nick_name", "\"a\xffb\"", `"nick_name":"ab"`},
		"half a surrogate":       {"authorizer_info.nick_name", `"a\ud83db"`, `"nick_name":"ab"`},
		"a status as text":       {"authorizer_info.account_status", `"1"`, `"kind":"service"`},
		"a type as a float":      {"authorizer_info.service_type_info.id", `2.0`, `"kind":"service"`},
		"a name that is a list":  {"authorizer_info.nick_name", `["a"]`, `"kind":"service"`},
		"a name that is a digit": {"authorizer_info.nick_name", `7`, `"nick_name":"7"`},
		"not verified":           {"authorizer_info.verify_type_info", `{"id":-1}`, `"verified":false`},
		"an empty mini program":  {"authorizer_info.MiniProgramInfo", `[]`, `"kind":"service"`},
	} {
		t.Run(name, func(t *testing.T) {
			w := sqliteWorld(t)
			w.edits(infoPath, map[string]string{c.member: c.value})
			w.grant(service, "1")
			w.settles()
			w.open(kfAccount)
			w.ok(w.shut(kfAccount))
			if got := string(w.authorizer(service).body); !strings.Contains(got, c.shows) {
				t.Errorf("got %s, want %s", got, c.shows)
			}
		})
	}
}

func TestProfileThatTellsNothingChangesNothing(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(wechatsim.SampleMiniProgram, "19")
	w.grant(service, "1")
	w.settles()
	before := [2]string{string(w.authorizer(service).body), string(w.authorizer(wechatsim.SampleMiniProgram).body)}
	profileAt := func(text string) string {
		head, _, _ := strings.Cut(text, `"profile_at"`)
		return head
	}
	for _, body := range []string{`{"authorizer_info":{}}`, `{"authorizer_info":{"nick_name":null},"authorization_info":{}}`, `{}`, `null`, `{"authorizer_info":7}`} {
		w.sim.ClearFaults()
		w.answers(infoPath, body, wechatsim.Always)
		for i, id := range []wechat.AppID{service, wechatsim.SampleMiniProgram} {
			_ = w.platform.authorizers.ReadProfile(anyContext, id)
			if got := string(w.authorizer(id).body); profileAt(got) != profileAt(before[i]) {
				t.Errorf("%s: got %s, want %s", body, got, before[i])
			}
		}
	}
}

func TestExchangeThatNamesNoAccountLeavesTheInvitationPending(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"authorization_info":{}}`, `{}`, `null`, `{"authorization_info":{"authorizer_appid":""}}`, `{"authorization_info":{"authorizer_appid":"x y"}}`} {
		t.Run(body, func(t *testing.T) {
			w := sqliteWorld(t)
			w.sim.Fault(wechatsim.Fault{Path: exchangePath, When: wechatsim.After, Do: wechatsim.AnswerBody, Body: body})
			if err := w.sim.FaultPushes(wechatsim.PushFault{Kind: "authorized", Count: 1, Do: "hold"}); err != nil {
				t.Fatal(err)
			}
			_, made := w.consents("1", "6")
			if got := w.ask("GET", "/v1/invitations/"+made.field("id"), "").field("status"); got != "pending" {
				t.Errorf("got the invitation %s, want it pending", got)
			}
			if n := w.number(`SELECT COUNT(*) FROM authorizers`); n != 0 {
				t.Errorf("got %d authorizers, want none that nobody named", n)
			}
			w.sim.Release() // the event names the account, and WeChat's list has its refresh token
			w.eventually("the event to bind the account", func() bool {
				return w.ask("GET", "/v1/invitations/"+made.field("id"), "").field("status") == "authorized"
			})
			w.settles()
			w.open(kfAccount)
			w.eventually("the session to be closed", func() bool { return w.shut(kfAccount).status == 200 })
		})
	}
}

func TestExchangeKeepsItsTokensWhateverTheRestLooksLike(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]wechatsim.Fault{
		"a set's number as text": {Set: map[string]json.RawMessage{"authorization_info.func_info": json.RawMessage(`[{"funcscope_category":{"id":"1"}},{"funcscope_category":{"id":6}}]`)}},
		"a bad set":              {Set: map[string]json.RawMessage{"authorization_info.func_info.-": json.RawMessage(`null`)}},
		"sets that are broken":   {Set: map[string]json.RawMessage{"authorization_info.func_info": json.RawMessage(`[{"funcscope_category":{"id":1}},{"funcscope_category":{"id":6}},{"funcscope`)}},
		"a life as text":         {Set: map[string]json.RawMessage{"authorization_info.expires_in": json.RawMessage(`"7200"`)}},
		"no life":                {Drop: []string{"authorization_info.expires_in"}},
		"an errcode of 0":        {Set: map[string]json.RawMessage{"errcode": json.RawMessage(`0`)}},
		"an odd errcode":         {Set: map[string]json.RawMessage{"errcode": json.RawMessage(`"ok"`)}},
	} {
		t.Run(name, func(t *testing.T) {
			w := sqliteWorld(t)
			w.edits(infoPath, nil, "authorization_info") // so that the sets can come from the exchange alone
			f.Path = exchangePath
			w.sim.Fault(f)
			if err := w.sim.FaultPushes(wechatsim.PushFault{Kind: "authorized", Count: 1, Do: "lose"}); err != nil {
				t.Fatal(err)
			}
			if landed, _ := w.consents("1", "6"); landed.Get("result") != "authorized" {
				t.Errorf("got the browser told %s, want authorized", landed.Encode())
			}
			w.settles()
			w.open(kfAccount)
			w.ok(w.shut(kfAccount))
			if got := string(w.authorizer(service).body); !strings.Contains(got, `"permission_sets":[1,6]`) {
				t.Errorf("got %s, want the sets 1 and 6", got)
			}
		})
	}
}

func TestExchangeThatIsLostIsRecoveredWithoutAProfile(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{"null": `null`, "empty": `{}`, "a number": `7`} {
		t.Run(name, func(t *testing.T) {
			w := sqliteWorld(t)
			w.edits(infoPath, map[string]string{"authorizer_info": value})
			w.sim.Fault(wechatsim.Fault{Path: exchangePath, When: wechatsim.After, Do: wechatsim.AnswerBody, Body: `{}`})
			_, made := w.consents("1", "6")
			w.eventually("the invitation to end", func() bool {
				return w.ask("GET", "/v1/invitations/"+made.field("id"), "").field("status") == "authorized"
			})
			w.sim.ClearFaults()
			// a call reads the profile; otherwise it is read again after ten minutes
			w.open(kfAccount)
			w.eventually("the session to be closed", func() bool { return w.shut(kfAccount).status == 200 })
		})
	}
}

func TestExchangeWithoutARefreshTokenHasItLookedForInTheList(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.sim.Fault(wechatsim.Fault{Path: exchangePath, Drop: []string{"authorization_info.authorizer_refresh_token"}})
	w.grant(service, "1")
	w.settles()
	w.eventually("the refresh token to be found", func() bool {
		return w.number(`SELECT COUNT(*) FROM tokens WHERE kind = 'authorizer' AND LENGTH(refresh) > 0`) == 1
	})
	if err := w.sim.Reject(service); err != nil {
		t.Fatal(err)
	}
	w.open(kfAccount)
	w.eventually("the session to be closed with a refreshed token", func() bool { return w.shut(kfAccount).status == 200 })
}

func TestRefreshWithoutALifeIsGoodForTwoHours(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*world){
		"missing":  func(w *world) { w.edits(refreshPath, nil, "expires_in") },
		"zero":     func(w *world) { w.edits(refreshPath, map[string]string{"expires_in": `0`}) },
		"negative": func(w *world) { w.edits(refreshPath, map[string]string{"expires_in": `-7200`}) },
		"as text":  func(w *world) { w.edits(refreshPath, map[string]string{"expires_in": `"7200"`}) },
		"in ms":    func(w *world) { w.edits(refreshPath, map[string]string{"expires_in": `7200000`}) },
		"null":     func(w *world) { w.edits(refreshPath, map[string]string{"expires_in": `null`}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := sqliteWorld(t)
			w.grant(service, "1")
			w.settles()
			edit(w)
			if err := w.sim.Reject(service); err != nil {
				t.Fatal(err)
			}
			for range 5 {
				w.open(kfAccount)
				w.ok(w.shut(kfAccount))
			}
			w.stays("one refresh", func() bool { return w.sim.Calls(refreshPath) == 1 })
			var shown struct {
				Token struct{ Expires_at time.Time }
			}
			if err := json.Unmarshal(w.authorizer(service).body, &shown); err != nil {
				t.Fatal(err)
			}
			if left := time.Until(shown.Token.Expires_at); left < 110*time.Minute || left > 2*time.Hour {
				t.Errorf("got a token for %s, want two hours", left)
			}
		})
	}
}

func TestCloseThatSaysNothingIsSettled(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.settles()
	for _, body := range []string{`{}`, `null`, `{"errcode":null}`, `{"errmsg":"ok"}`, `[]`, `{"ERRCODE":0}`, `"ok"`, `{"errcode":""}`, `{"errcode":0`} {
		w.open(kfAccount)
		before := w.sim.Calls(getSessionPath)
		w.answers(closePath, body, 1) // WeChat has not closed it
		answer := w.shut(kfAccount)
		if w.sim.Calls(getSessionPath) == before {
			t.Errorf("%s: got %d %s, want getsession asked what became of it", body, answer.status, answer.body)
		}
		if open := w.sim.Session(service, customer).KFAccount != ""; open && answer.status == 200 {
			t.Errorf("%s: got 200 and the session open", body)
		}
		_ = w.sim.CloseSession(service, kfAccount, customer)
	}
}

func TestGetSessionThatSaysNothingSettlesNothing(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.settles()
	for _, body := range []string{`{}`, `null`, `{"createtime":0}`, `{"kf_account":null}`, `{"errcode":0,"errmsg":"ok"}`, `{"KF_ACCOUNT":""}`,
		`{"kf_account":"","authorizer_access_token":"canary"}`, `{"kf_account":{}}`, `{"kf_account":"","crea`, `{"kf_account":""}{"kf_account":"test1@test"}`,
		`{"kf_account":"test1@test","createtime":1500000000,"kf_account":""}`} {
		w.open(kfAccount)
		w.sim.Fault(wechatsim.Fault{Path: closePath, Code: -1})
		w.answers(getSessionPath, body, 1)
		w.wants(w.shut(kfAccount), 504, "outcome-unknown")
	}
}

func TestSessionsAreReadOnlyFromAnswersThatFit(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.settles()
	w.out.client.Transport = &http.Transport{DisableKeepAlives: true} // unrecorded: what this WeChat answers is not as it documents
	base := "/v1/authorizers/" + string(service) + "/customservice/kfsession/"
	jwt := w.sdkJWT(service)
	dropIn := func(path string) reply {
		return w.raw("GET", "/customservice/kfsession/"+path+map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")]+"access_token="+jwt, nil, "")
	}
	for path, member := range map[string]string{"getsession?openid=o1": "kf_account", "getsessionlist?kf_account=a@b": "sessionlist", "getwaitcase": "waitcaselist"} {
		api, _, _ := strings.Cut("/customservice/kfsession/"+path, "?")
		for _, body := range []string{`{}`, `{"errcode":0,"errmsg":"ok"}`, `{"authorizer_access_token":"canary","expires_in":7200}`, `{"` + member + `":[],"authorizer_refresh_token":"canary"}`,
			`{"component_access_token":"canary"}`, `{"x":{"` + member + `":1}}`, `{"` + member + `":[]`} {
			w.answers(api, body, 1)
			got := w.ask("GET", base+path, "")
			w.wants(got, 503, "wechat-unavailable")
			if strings.Contains(string(got.body), "canary") {
				t.Errorf("%s: got %s handed on", body, got.body)
			}
			w.answers(api, body, 1)
			if got := dropIn(path); got.field("errcode") != "-1" {
				t.Errorf("%s: got %s at WeChat's own path, want -1", body, got.body)
			}
		}
		good := `{"` + member + `":[],"n":1}`
		w.answers(api, good, 1)
		if got := w.ask("GET", base+path, ""); got.status != 200 || string(got.body) != good {
			t.Errorf("got %d %s, want the answer as it is", got.status, got.body)
		}
		w.answers(api, good, 1)
		if got := dropIn(path); got.status != 200 || string(got.body) != good {
			t.Errorf("got %d %s at WeChat's own path, want the answer as it is", got.status, got.body)
		}
		w.answers(api, "\xef\xbb\xbf{\""+member+"\":[\"a\x14b\"]}\n", 1)
		if got := w.ask("GET", base+path, ""); got.status != 200 || string(got.body) != `{"`+member+`":["ab"]}` {
			t.Errorf("got %d %s, want JSON that can be read", got.status, got.body)
		}
	}
}

func TestListWithABadEntryIsReadWithoutIt(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.sim.AddSynthetic(5)
	w.edits(listPath, map[string]string{"list.-": `{"authorizer_appid":"","refresh_token":"refreshtoken@@@x"}`, "total_count": `"6"`})
	var found struct {
		Listed int
		Counts map[string]int
	}
	w.command(&found, "reconcile")
	if found.Counts["adopted"] != 5 || w.number(`SELECT COUNT(*) FROM authorizers WHERE appid = ''`) != 0 {
		t.Errorf("got %+v, want the five accounts adopted", found)
	}
}

func TestListWithAnUnreadableTokenProvesNothing(t *testing.T) {
	t.Parallel()
	for _, value := range []string{`12345`, `{"value":"NEW"}`, `"\u0014"`, `nul`} {
		t.Run(value, func(t *testing.T) {
			w := sqliteWorld(t)
			w.grant(service, "1")
			w.settles()
			w.sim.AddSynthetic(1)
			w.edits(listPath, map[string]string{"list.0.refresh_token": value, "list.1.refresh_token": value})
			w.fails(61023, wechatsim.Always, service)
			w.renewal(service)
			w.becomes(service, "degraded")
			w.counts(map[reconcile.Finding]int{}) // nothing adopted, ended or missing
			if got := w.authorizer(service).field("state"); got != "degraded" {
				t.Errorf("got %s, want another token still sought", got)
			}
		})
	}
}

func TestListOfShortPagesIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for page := range 3 { // a hundred at once, whatever is asked for
		var entries []string
		for i := range min(100, 250-100*page) {
			entries = append(entries, fmt.Sprintf(`{"authorizer_appid":"wx%016d","refresh_token":"refreshtoken@@@%d"}`, 100*page+i, i))
		}
		w.answers(listPath, fmt.Sprintf(`{"total_count":250,"list":[%s]}`, strings.Join(entries, ",")), 1)
	}
	var found struct{ Listed, Total int }
	w.command(&found, "reconcile")
	if found.Listed != 250 || w.number(`SELECT COUNT(*) FROM authorizers`) != 250 {
		t.Errorf("got %+v, want all 250", found)
	}
}

func TestListThatIsCutMakesNoAccountMissing(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"total_count":7}`, `{"total_count":7,"list":[]}`, `{"total_count":7,"list":null}`, `{"list":[]}`, `{}`, `null`,
		`{"total_count":4,"list":[{"authorizer_appid":"wx000000000000000a"},{"authorizer_appid":"wx000000000000000b"}]}`} { // whatever the offset is
		t.Run(body, func(t *testing.T) {
			w := sqliteWorld(t)
			w.grant(service, "1")
			w.settles()
			w.answers(listPath, body, wechatsim.Always)
			before := w.sim.Calls(infoPath)
			if err := w.operate(anyContext, &struct{}{}, "reconcile"); err == nil {
				t.Error("got the walk ended well, want an unfinished one")
			}
			w.stays("nobody asked about", func() bool { return w.sim.Calls(infoPath) == before })
			if w.number(`SELECT COUNT(*) FROM walks WHERE ended_at > 0`) != 0 {
				t.Error("got the walk noted as whole")
			}
		})
	}
}

func TestOneMerchantsRefusalStopsNobodyElse(t *testing.T) {
	t.Parallel()
	for _, code := range []int{61004, 40001, 40125, 42001, 40014, 61005, 61011} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			w := sqliteWorld(t)
			w.grant(service, "1")
			w.grant(official, "1")
			w.settles()
			w.open(kfAccount)
			w.fails(code, wechatsim.Always, service)
			if err := w.sim.Reject(service); err != nil {
				t.Fatal(err)
			}
			components := w.sim.Calls("/cgi-bin/component/api_component_token")
			for range 3 {
				answer := w.shut(kfAccount)
				w.wants(answer, 503, "wechat-unavailable")
				if answer.field("errcode") != fmt.Sprint(code) || answer.field("retryable") != "true" {
					t.Errorf("got %s, want the code, retryable", answer.body)
				}
				if err := w.sim.Reject(official); err != nil { // so that it needs a token too
					t.Fatal(err)
				}
				if got, err := w.send(anyContext, w.jwt, official, "reader@laowang", customer); err != nil || got.field("errcode") != "65413" {
					t.Errorf("got %d %s, %v, want WeChat asked for the other merchant", got.status, got.body, err)
				}
			}
			w.becomes(service, "degraded")
			if got := w.authorizer(official).field("state"); got != "healthy" {
				t.Errorf("got the other merchant %s, want healthy", got)
			}
			if _, paused := w.platform.quota.Paused(anyContext); paused || w.alarmed() || w.platform.degraded("WeChat refuses") {
				t.Errorf("got a pause %v, alarm %v, %+v: want one merchant concerned", paused, w.alarmed(), w.platform.ready(anyContext))
			}
			if n := w.sim.Calls("/cgi-bin/component/api_component_token") - components; n != 0 {
				t.Errorf("got %d component tokens burnt for one merchant", n)
			}
			w.sim.ClearFaults()
			w.eventually("it to recover", func() bool { return w.shut(kfAccount).status == 200 })
		})
	}
}

func TestRefusalOfAnOldTokenIsTriedWithTheNewerOne(t *testing.T) {
	t.Parallel()
	for _, code := range []int{48001, 61003, 61007} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			w := sqliteWorld(t)
			w.grant(service, "1")
			w.settles()
			w.open(kfAccount)
			anew := make(chan struct{})
			w.sim.Fault(wechatsim.Fault{Path: closePath, Code: code, Hold: anew})
			var call sync.WaitGroup
			call.Go(func() { w.ok(w.shut(kfAccount)) })
			w.eventually("the call to be under way", func() bool { return len(w.sim.Faults()) == 0 })
			w.grant(service, "1") // so that there is another token
			close(anew)
			call.Wait()
		})
	}
}

func TestTokensThatAreDeadTwiceAreReplacedBeforeATenantSeesIt(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.settles()
	stale := w.replica(nil)
	w.open(kfAccount)
	w.ok(w.shut(kfAccount))
	if _, err := stale.send(anyContext, stale.jwt, service, kfAccount, customer); err != nil { // it knows the first token now
		t.Fatal(err)
	}
	if err := w.sim.Reject(service); err != nil {
		t.Fatal(err)
	}
	w.open(kfAccount)
	w.ok(w.shut(kfAccount)) // the row has the second token
	w.exec(`UPDATE tokens SET forced_at = 0 WHERE kind = 'authorizer'`)
	if err := w.sim.Reject(service); err != nil { // which is dead too
		t.Fatal(err)
	}
	w.open(kfAccount)
	answer, err := stale.send(anyContext, stale.jwt, service, kfAccount, customer)
	if err != nil {
		t.Fatal(err)
	}
	w.ok(answer)
}

func TestRefreshCommandReplacesATokenThatWeChatRejects(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.settles()
	if err := w.sim.Reject(service); err != nil {
		t.Fatal(err)
	}
	w.command(&struct{}{}, "authorizer", "refresh", string(service))
	if n := w.sim.Calls(refreshPath); n != 1 {
		t.Errorf("got %d refreshes by the command, want one", n)
	}
}

func TestAgentIsKnownByBothNamesOfTheAccount(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"TEST1@%s", "test1@GH_upper", "test1@%s"} {
		t.Run(name, func(t *testing.T) {
			clock := &aheadClock{by: -time.Minute}
			w := newWorldWith(t, nil, wechatsim.Config{Now: clock.now})
			w.grant(service, "1")
			w.settles()
			w.open(kfAccount) // a minute ago by WeChat's clock
			clock.set(0)
			user := w.authorizer(service).field("user_name")
			agent := strings.ReplaceAll(strings.ReplaceAll(name, "%s", user), "GH_upper", strings.ToUpper(user))
			w.answers(closePath, `{}`, 1)
			w.sim.Fault(wechatsim.Fault{Path: getSessionPath, Set: map[string]json.RawMessage{"kf_account": json.RawMessage(fmt.Sprintf("%q", agent))}})
			w.ok(w.shut(kfAccount))
			if n := w.sim.Calls(closePath); n != 2 {
				t.Errorf("got %d closes, want it sent once more", n)
			}
			if got := w.sim.Session(service, customer).KFAccount; got != "" {
				t.Errorf("got the session still with %s", got)
			}
		})
	}
}

// aheadClock is a clock that differs from the machine's.
type aheadClock struct {
	mu sync.Mutex
	by time.Duration
}

func (c *aheadClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.by)
}

func (c *aheadClock) set(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by = by
}

func TestAdoptedAccountsAreServedAsSoonAsTheirProfilesAreRead(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.sim.AddSynthetic(20) // 40 calls at once must fit into the client's time-out on a busy machine
	w.command(&struct{}{}, "reconcile")
	all, err := w.platform.authorizers.All(anyContext, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	var ids []wechat.AppID
	var assigned []authorizer.Assignment
	for _, a := range all {
		ids = append(ids, a.AppID)
		assigned = append(assigned, authorizer.Assignment{AppID: a.AppID, Tenant: tenant.ID(w.tenant)})
	}
	if _, err := w.platform.authorizers.Assign(anyContext, tester, assigned); err != nil {
		t.Fatal(err)
	}
	w.sim.Fault(wechatsim.Fault{Path: infoPath, Delay: 50 * time.Millisecond, Count: wechatsim.Always})
	var calls sync.WaitGroup
	for _, id := range slices.Concat(ids, ids) {
		calls.Go(func() {
			got, err := w.send(anyContext, w.jwt, id, "a@b", customer)
			if err != nil || got.status == 403 {
				t.Errorf("got %d %s, %v for an account that authorized, want it asked for or 503", got.status, got.body, err)
			}
		})
	}
	calls.Wait()
}

func TestOddAnswersAreCountedAndLoggedOnce(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.edits(infoPath, map[string]string{"authorizer_info.account_status": `"1"`})
	w.grant(service, "1")
	w.settles()
	for range 3 {
		if err := w.platform.authorizers.ReadProfile(anyContext, service); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.scrape(`wxplatform_wechat_odd_answers_total{api="` + infoPath + `",field="authorizer_info.account_status",what="type"}`); got < "4" {
		t.Errorf("got %q counted, want each", got)
	}
	logged := 0
	for _, line := range w.lines() {
		if line["field"] == "authorizer_info.account_status" {
			logged++
		}
	}
	if logged != 1 {
		t.Errorf("got it logged %d times, want once", logged)
	}
}

// WeChat's answer may be lost on the way to us. The event is sealed, and names the account itself.
func TestExchangeThatContradictsTheEventBindsNeitherAccount(t *testing.T) {
	t.Parallel()
	const other = "wx00000000000000ff"
	contradict := func(w *world) {
		w.edits(exchangePath, map[string]string{"authorization_info.authorizer_appid": `"` + other + `"`})
	}
	settled := func(w *world) {
		w.t.Helper()
		w.eventually("the alarm", w.alarmed)
		w.eventually("the event to be worked off", func() bool { n, err := w.platform.inbox.Waiting(anyContext); return err == nil && n == 0 })
		if n := w.number(`SELECT COUNT(*) FROM authorizers WHERE tenant <> ''`); n != 0 {
			w.t.Errorf("got %d accounts bound, want neither", n)
		}
		w.eventually("the list to give the right one its refresh token", func() bool {
			return w.number(`SELECT COUNT(*) FROM tokens WHERE id = $1 AND LENGTH(refresh) > 0`, string(service)) == 1
		})
	}
	t.Run("the event first", func(t *testing.T) {
		w := sqliteWorld(t)
		contradict(w)
		id, link := w.invitation("")
		page := w.raw("GET", strings.TrimPrefix(link, w.publicURL), nil, "")
		if _, err := w.sim.Consent(anyContext, preAuthCode(t, string(page.body)), service, 1, 6); err != nil {
			t.Fatal(err)
		}
		settled(w)
		if got := w.status(id); got != "pending" {
			t.Errorf("got the invitation %s, want it pending", got)
		}
	})
	t.Run("the browser first", func(t *testing.T) {
		w := sqliteWorld(t)
		contradict(w)
		if err := w.sim.FaultPushes(wechatsim.PushFault{Kind: "authorized", Count: 1, Do: "hold"}); err != nil {
			t.Fatal(err)
		}
		landed, made := w.consents("1", "6")
		if landed.Get("appid") != other {
			t.Fatalf("got the browser told %s, want the account of the answer", landed.Encode())
		}
		w.sim.Release()
		settled(w)
		if got := w.ask("GET", "/v1/invitations/"+made.field("id"), "").field("status"); got != "not-bound" {
			t.Errorf("got the invitation %s, want it not bound", got)
		}
	})
}

// misanswered has the merchant of service consent to an invitation, whose event is lost, and the
// browser's code answered with the account other. It returns the invitation, and the event that
// contradicts the answer and names no invitation.
func (w *world) misanswered(other wechat.AppID) (id, event string) {
	w.t.Helper()
	id, link := w.invitation("")
	browser, back := w.untilReturn(link, service)
	w.edits(exchangePath, map[string]string{"authorization_info.authorizer_appid": fmt.Sprintf("%q", other)})
	if got := w.told(browser, back); got.Get("appid") != string(other) {
		w.t.Fatalf("got the browser told %s, want the account of the answer", got.Encode())
	}
	came, err := url.Parse(back)
	if err != nil {
		w.t.Fatal(err)
	}
	return id, w.event("authorized", fmt.Sprintf("<AuthorizerAppid>%s</AuthorizerAppid><AuthorizationCode>%s</AuthorizationCode>", service, came.Query().Get("auth_code")))
}

func TestAContradictionEndsTheInvitationThatBroughtTheCode(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		id, event := w.misanswered("wx00000000000000ff")
		w.push(eventsPath, event, time.Now())
		w.eventually("the alarm", w.alarmed)
		if got := w.ask("GET", "/v1/invitations/"+id, ""); got.field("status") != "not-bound" || got.field("appid") != "" {
			w.t.Errorf("got %s, want the invitation not bound, and no account shown", got.body)
		}
		if n := w.number(`SELECT COUNT(*) FROM authorizers WHERE tenant <> ''`); n != 0 {
			w.t.Errorf("got %d accounts bound, want neither", n)
		}
	})
}

func TestAContradictionUndoesOnlyTheBindingThatTheAnswerMade(t *testing.T) {
	t.Parallel()
	const other = wechatsim.SampleOfficial
	for name, c := range map[string]struct {
		known func(*world) // how the account of the answer was known before
		bound int
	}{
		"an account of nobody's": {func(w *world) {
			if _, err := w.sim.Authorize(other, 1); err != nil {
				w.t.Fatal(err)
			}
			w.command(&struct{}{}, "reconcile")
		}, 0},
		"an account of the tenant's": {func(w *world) { w.grant(other, "1"); w.settles() }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			engines(t, func(w *world) {
				c.known(w)
				if n := w.number(`SELECT COUNT(*) FROM authorizers WHERE appid = $1`, string(other)); n != 1 {
					w.t.Fatalf("got %d rows of the account, want it known", n)
				}
				id, event := w.misanswered(other)
				w.push(eventsPath, event, time.Now())
				w.eventually("the alarm", w.alarmed)
				if n := w.number(`SELECT COUNT(*) FROM authorizers WHERE tenant <> ''`); n != c.bound {
					w.t.Errorf("got %d accounts bound, want %d", n, c.bound)
				}
				if got := w.status(id); got != "not-bound" {
					w.t.Errorf("got the invitation %s, want it not bound", got)
				}
			})
		})
	}
}
