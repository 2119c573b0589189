package main

import (
	"encoding/json"
	"strings"
	"testing"

	"wxplatform/wechat/wechatsim"
)

// flips are the wrong shapes that a field of an answer may have.
var flips = map[string]string{
	"null": `null`, "text": `"x"`, "no text": `""`, "zero": `0`, "negative": `-1`, "float": `1.5`, "huge": `1e30`, "true": `true`, "false": `false`,
	"list": `[]`, "object": `{}`, "list of null": `[null]`, "control": `"\u0000\u0014"`, "raw control": "\"\x00\x14\"", "broken": `nul`, "cut": `{"a":[`,
}

// answered is an API whose answers the platform reads, with the fields that WeChat documents for
// them, and what makes the platform call it.
type answered struct {
	path    string
	members []string
	provoke func(w *world)
}

var everyAnswer = map[string]answered{
	"profile": {infoPath, []string{
		"errcode", "errmsg", "authorizer_info", "authorizer_info.nick_name", "authorizer_info.head_img", "authorizer_info.service_type_info", "authorizer_info.service_type_info.id",
		"authorizer_info.verify_type_info", "authorizer_info.verify_type_info.id", "authorizer_info.user_name", "authorizer_info.principal_name", "authorizer_info.alias",
		"authorizer_info.account_status", "authorizer_info.business_info", "authorizer_info.MiniProgramInfo", "authorization_info", "authorization_info.authorizer_appid",
		"authorization_info.func_info", "authorization_info.func_info.1", "authorization_info.func_info.1.funcscope_category", "authorization_info.func_info.1.funcscope_category.id",
	}, func(w *world) { _ = w.platform.authorizers.ReadProfile(anyContext, service) }},
	"refresh": {refreshPath, []string{"errcode", "errmsg", "authorizer_access_token", "authorizer_refresh_token", "expires_in"}, func(w *world) {
		w.must("", w.sim.Reject(service))
		w.exec(`UPDATE tokens SET forced_at = 0, retry_at = 0, failures = 0 WHERE kind = 'authorizer'`)
		w.served(w.shut(kfAccount))
	}},
	"component token": {"/cgi-bin/component/api_component_token", []string{"errcode", "errmsg", "component_access_token", "expires_in"}, func(w *world) {
		w.rejectComponent()
		w.exec(`UPDATE tokens SET forced_at = 0, retry_at = 0, failures = 0 WHERE kind = 'component'`)
		_ = w.platform.authorizers.ReadProfile(anyContext, service)
	}},
	"list": {listPath, []string{"errcode", "total_count", "list"}, func(w *world) { // a page that says nothing is asked for again, with pauses
		_, _ = w.platform.authorizers.WeChatList().Token(anyContext, service)
	}},
	"list's entries": {listPath, []string{"list.0", "list.0.authorizer_appid", "list.0.refresh_token", "list.0.auth_time"}, func(w *world) {
		_ = w.operate(anyContext, &struct{}{}, "reconcile")
	}},
	"pre-auth code": {"/cgi-bin/component/api_create_preauthcode", []string{"errcode", "pre_auth_code", "expires_in"}, func(w *world) {
		_, _ = w.consents("1", "6")
	}},
	"getsession": {getSessionPath, []string{"errcode", "createtime", "kf_account"}, func(w *world) {
		w.sim.Fault(wechatsim.Fault{Path: closePath, Code: -1})
		w.served(w.shut(kfAccount))
	}},
	"close": {closePath, []string{"errcode", "errmsg"}, func(w *world) { w.served(w.shut(kfAccount)) }},
	"quota": {quotaPath, []string{"errcode", "quota", "quota.daily_limit", "quota.used"}, func(w *world) {
		w.fails(61004, 1, service)
		w.must("", w.sim.Reject(service))
		w.exec(`UPDATE tokens SET forced_at = 0, retry_at = 0, failures = 0 WHERE kind = 'authorizer'`)
		w.served(w.shut(kfAccount))
	}},
}

// served fails if an answer blames the merchant or the caller for what WeChat sent.
func (w *world) served(got reply) {
	w.t.Helper()
	switch got.status {
	case 200, 409, 429, 502, 503, 504:
	default:
		w.t.Errorf("got %d %s", got.status, got.body)
	}
}

// Whatever shape any field of any answer has, the merchant is as before as soon as WeChat answers
// correctly again.
func TestNoShapeOfAMemberLeavesAMerchantWorseOff(t *testing.T) {
	t.Parallel()
	for name, a := range everyAnswer {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := sqliteWorld(t)
			w.grant(service, "1", "6")
			w.settles()
			for _, member := range a.members {
				for flip, value := range flips {
					w.sim.Fault(wechatsim.Fault{Path: a.path, Set: map[string]json.RawMessage{member: json.RawMessage(value)}, Count: wechatsim.Always})
					w.open(kfAccount)
					a.provoke(w)
					w.sim.ClearFaults()
					w.unharmed(member + " as " + flip)
				}
				if member == "authorization_info.func_info.1" {
					continue // a list without it is what a set that the merchant took away looks like
				}
				w.sim.Fault(wechatsim.Fault{Path: a.path, Drop: []string{member}, Count: wechatsim.Always})
				w.open(kfAccount)
				a.provoke(w)
				w.sim.ClearFaults()
				w.unharmed("without " + member)
			}
		})
	}
}

// unharmed fails unless the merchant has what it had and its sessions can be closed.
func (w *world) unharmed(after string) {
	w.t.Helper()
	w.exec(`UPDATE tokens SET forced_at = 0, retry_at = 0, barred_until = 0`)
	w.exec(`UPDATE pauses SET probe_at = 0`)
	w.open(kfAccount)
	w.eventually(after+": the session to be closed", func() bool { return w.shut(kfAccount).status == 200 })
	shown := string(w.authorizer(service).body)
	for _, want := range []string{`"permission_sets":[1,6]`, `"kind":`, `"state":"healthy"`} {
		if !strings.Contains(shown, want) {
			w.t.Fatalf("%s: got %s, want %s", after, shown, want)
		}
	}
	if strings.Contains(shown, `"kind":"miniprogram"`) {
		w.t.Fatalf("%s: got %s, want no mini program", after, shown)
	}
	if n := w.number(`SELECT COUNT(*) FROM authorizers WHERE appid <> $1`, string(service)); n != 0 {
		w.t.Fatalf("%s: got %d accounts that do not exist", after, n)
	}
}

// A code can be exchanged only once. Whatever its answer looks like, the merchant can be served at
// the latest after the event has come and WeChat's list was read.
func TestNoShapeOfAnExchangeLosesAMerchant(t *testing.T) {
	t.Parallel()
	for _, member := range []string{
		"errcode", "authorization_info", "authorization_info.authorizer_appid", "authorization_info.authorizer_access_token", "authorization_info.authorizer_refresh_token",
		"authorization_info.expires_in", "authorization_info.func_info", "authorization_info.func_info.1", "authorization_info.func_info.1.funcscope_category.id",
	} {
		t.Run(member, func(t *testing.T) {
			t.Parallel()
			w := sqliteWorld(t)
			sets := [][]string{{"1", "6"}, {"1", "6", "11"}} // WeChat sends no event where nothing changes
			for flip, value := range flips {
				w.sim.Fault(wechatsim.Fault{Path: exchangePath, Set: map[string]json.RawMessage{member: json.RawMessage(value)}})
				_, made := w.consents(sets[0]...)
				sets[0], sets[1] = sets[1], sets[0]
				w.eventually(flip+": the invitation to end", func() bool {
					return w.ask("GET", "/v1/invitations/"+made.field("id"), "").field("status") == "authorized"
				})
				w.sim.ClearFaults()
				w.settles()
				w.exec(`UPDATE tokens SET forced_at = 0, retry_at = 0, barred_until = 0`)
				w.open(kfAccount)
				w.eventually(flip+": the session to be closed", func() bool { return w.shut(kfAccount).status == 200 })
			}
		})
	}
}
