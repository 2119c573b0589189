package authorizer

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"wxplatform/component"
	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/seal"
	"wxplatform/token"
	"wxplatform/wechat"
)

const stranger = "wx00000000000000ff"

// canned is a WeChat that gives one answer for each API, by the last part of its path.
type canned struct {
	mu      sync.Mutex
	answers map[string]string
	calls   map[string]int
}

// cannedWeChat returns a registry with one authorizer, and its WeChat.
func cannedWeChat(t *testing.T, d *db.DB) (*Registry, *canned) {
	t.Helper()
	c := &canned{answers: map[string]string{"api_component_token": `{"component_access_token":"c","expires_in":7200}`}, calls: map[string]int{}}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	r := replica(t, d, dbtest.Ring(t), server.URL)
	if err := r.component.Keep(ctx, component.Ticket{Value: seal.NewSecret("ticket"), Created: time.Now(), Received: time.Now()}); err != nil {
		t.Fatal(err)
	}
	authorize(t, r)
	return r, c
}

func (c *canned) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	api := path.Base(r.URL.Path)
	c.calls[api]++
	fmt.Fprint(w, c.answers[api])
}

func (c *canned) says(api, answer string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers[api] = answer
}

func (c *canned) called(api string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[api]
}

// fresh gets a new access token whatever failed before.
func fresh(t *testing.T, r *Registry) (string, error) {
	t.Helper()
	if _, err := db.Exec(ctx, r.db, `UPDATE tokens SET forced_at = 0, retry_at = 0, failures = 0, barred_until = 0, lease_until = 0, unsettled_until = 0 WHERE kind = 'authorizer'`); err != nil {
		t.Fatal(err)
	}
	version, err := r.tokens.Version(ctx, r.db, id)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.replace(ctx, id, version)
	return got.Access.Reveal(), err
}

func TestARefreshThatNamesAnotherAccountIsNotStored(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r, wx := cannedWeChat(t, d)
		stored, err := r.tokens.Version(ctx, d, id)
		if err != nil {
			t.Fatal(err)
		}
		for _, rest := range []string{
			`,"authorizer_access_token":"theirs","authorizer_refresh_token":"theirs","expires_in":7200}`, `,"authorizer_access_token":"theirs"}`, `,"authorizer_refresh_token":"theirs"}`,
			`,"authorizer_access_token":"theirs","x":{"authorizer_appid":"` + string(id) + `"}}`, `,"authorizer_refresh_token":"theirs","x":{"authorizer_appid":"` + string(id) + `"}}`,
		} {
			wx.says("api_authorizer_token", `{"authorizer_appid":"`+stranger+`"`+rest)
			got, err := fresh(t, r)
			if got != "" || wechat.Refused(err) != 0 || !errors.Is(err, ErrNoToken) {
				t.Errorf("%s: got the token %q, %v, want none", rest, got, err)
			}
			r.is(t, Degraded)
			if now, err := r.tokens.Version(ctx, d, id); err != nil || now != stored {
				t.Errorf("%s: got version %d, %v, want %d as before", rest, now, err, stored)
			}
		}
		if lacks, err := r.tokens.NotStored(ctx, map[wechat.AppID]seal.Secret{id: seal.NewSecret("theirs")}); err != nil || !lacks[id] {
			t.Errorf("got the other account's refresh token stored, %v", err)
		}
		for _, appid := range []string{"", `"authorizer_appid":"` + string(id) + `",`, `"authorizer_appid":null,`, `"authorizer_appid":"?",`} {
			wx.says("api_authorizer_token", `{`+appid+`"authorizer_access_token":"ours","expires_in":7200}`)
			if got, err := fresh(t, r); got != "ours" || err != nil {
				t.Errorf("%s: got the token %q, %v, want the account's own", appid, got, err)
			}
		}
		r.is(t, Healthy)
	})
}

// Only an answer of WeChat's own decides whose fault a refusal is. What a proxy says degrades no
// merchant, and ends no pause.
func TestAnAnswerThatSaysNothingDoesNotDecideWhoseFaultItIs(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r, wx := cannedWeChat(t, d)
		for code, probe := range map[wechat.Code]string{wechat.UnknownAddress: "get", wechat.InvalidCredential: "get", wechat.InvalidSecret: "api_start_push_ticket"} {
			wx.says("api_authorizer_token", fmt.Sprintf(`{"errcode":%d,"errmsg":"no"}`, code))
			for _, body := range []string{"", " ", "<html>", "null", "[]", "{}", `{"errmsg":"ok"}`, `{"errcode":null}`, `{"errcode":""}`, `{"errcode":0`, `{"quota":null}`, `{"quota":7}`} {
				wx.says(probe, body)
				_, err := fresh(t, r)
				if !errors.Is(err, token.ErrInconclusive) || errors.Is(err, ErrAlone) || errors.Is(err, errForAll) {
					t.Errorf("%d, then %s: got %v, want nothing decided", code, body, err)
				}
				r.is(t, Healthy)
			}
			wx.says(probe, `{"errcode":0,"errmsg":"ok","quota":{"daily_limit":1}}`)
			if _, err := fresh(t, r); !errors.Is(err, ErrAlone) {
				t.Errorf("%d: got %v, want ErrAlone", code, err)
			}
			r.is(t, Degraded)
			wx.says("api_authorizer_token", `{"authorizer_access_token":"a1","expires_in":7200}`)
			if _, err := fresh(t, r); err != nil {
				t.Fatal(err)
			}
			r.is(t, Healthy)
		}
	})
}

// page reads a page of WeChat's list, and says which account it names and with which token: "?" if
// that is not known.
func (r *Registry) page(t *testing.T, wx *canned, list string) (ListPage, string) {
	t.Helper()
	wx.says("api_get_authorizer_list", list)
	page, err := r.api.listPage(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range page.Entries {
		if one.AppID == id {
			return page, one.Refresh.Reveal()
		}
	}
	return page, "?"
}

// A token that cannot be read is not a token that does not exist: the entry proves nothing.
func TestAListedTokenThatIsUnreadableIsNotAbsent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r, wx := cannedWeChat(t, d)
		version, err := r.tokens.Version(ctx, d, id)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.states.note(ctx, id, dead, version); err != nil { // so that another one is sought
			t.Fatal(err)
		}
		begun := time.Now().Add(time.Minute)
		ours, theirs := `{"authorizer_appid":"`+string(id)+`"`, `{"authorizer_appid":"`+stranger+`"`
		for rest, want := range map[string]string{
			`}`: "", `,"refresh_token":null}`: "", `,"refresh_token":""}`: "", `,"Refresh":"x"}`: "",
			`,"refresh_token":"r1"}`: "r1", `,"refresh_token":"r1"`: "r1", `,"refresh_token":7,"refresh_token":"r1"}`: "r1", `,"refresh_token":"r1","auth_time":nul}`: "r1",
			`,"refresh_token":12345}`: "?", `,"refresh_token":0}`: "?", `,"refresh_token":1.5}`: "?", `,"refresh_token":1e30}`: "?", `,"refresh_token":true}`: "?", `,"refresh_token":false}`: "?",
			`,"refresh_token":{"value":"NEW"}}`: "?", `,"refresh_token":{}}`: "?", `,"refresh_token":["NEW"]}`: "?", `,"refresh_token":[]}`: "?", `,"refresh_token":[null]}`: "?",
			`,"refresh_token":nul}`: "?", `,"refresh_token":"\u0000\u0014"}`: "?", `,"refresh_token":"NE`: "?", `,"refresh_tok`: "?", `,`: "?", ``: "?",
			`,"refresh_token":12345,"refresh_token":""}`: "?", `,"refresh_token":"","refresh_token":12345}`: "?",
		} {
			page, got := r.page(t, wx, `{"total_count":2,"list":[`+theirs+`,"refresh_token":"r9"},`+ours+rest)
			if got != want || len(page.Named) != 2 || len(page.Entries) == 0 || page.Entries[0].AppID != stranger {
				t.Errorf("%s: got the token %q of %+v, want %q, and the other entry", rest, got, page, want)
			}
			differences, err := r.WeChatList().Compare(ctx, begun, page.Entries)
			is, listed := differences[id]
			if difference := map[string]Difference{"": SameToken, "r1": OtherToken}[want]; err != nil || is != difference || listed != (want != "?") || differences[stranger] != Unknown {
				t.Errorf("%s: got %v, %v, want %v", rest, differences, err, difference)
			}
		}
	})
}

func TestAnEntryWithoutATokenHidesNoOtherOfTheAccount(t *testing.T) {
	r, wx := cannedWeChat(t, dbtest.SQLite(t))
	none, some, odd := `{"authorizer_appid":"`+stranger+`"}`, `{"authorizer_appid":"`+stranger+`","refresh_token":"r1"}`, `{"authorizer_appid":"`+stranger+`","refresh_token":7}`
	for _, list := range []string{some, none + "," + some, some + "," + none, odd + "," + some, some + "," + odd, none + "," + odd + "," + some + "," + none} {
		page, _ := r.page(t, wx, `{"total_count":2,"list":[`+list+`]}`)
		if len(page.Entries) != 1 || page.Entries[0].Refresh.Reveal() != "r1" {
			t.Errorf("%s: got %+v, want the one token", list, page.Entries)
		}
		if differences, err := r.WeChatList().Compare(ctx, time.Now(), page.Entries); err != nil || differences[stranger] != Unknown {
			t.Errorf("%s: got %v, %v, want Unknown", list, differences, err)
		}
	}
}

func TestWhereAWalkEnds(t *testing.T) {
	const more, last, cut = "more", "last", "cut"
	a, b, c := wechat.AppID("wx000000000000000a"), wechat.AppID("wx000000000000000b"), wechat.AppID("wx000000000000000c")
	page := func(total int64, odd int, named ...wechat.AppID) ListPage {
		return ListPage{Named: named, Len: odd + len(named), Total: total}
	}
	for name, pages := range map[string][]struct {
		page ListPage
		want string
	}{
		"one page":                      {{page(2, 0, a, b), last}},
		"two pages":                     {{page(3, 0, a, b), more}, {page(3, 0, c), last}},
		"nothing":                       {{page(0, 0), last}},
		"no count":                      {{page(-1, 0, a), more}, {page(-1, 0), cut}},
		"it ends early":                 {{page(3, 0, a), more}, {page(3, 0), cut}},
		"more than it counts":           {{page(1, 0, a, b), more}, {page(1, 0), last}},
		"a repetition within a page":    {{page(4, 0, a, a, b), more}, {page(4, 0, c), last}},
		"the offset is ignored":         {{page(3, 0, a, b), more}, {page(3, 0, a, b), cut}},
		"it is, and the sum fits":       {{page(4, 0, a, b), more}, {page(4, 0, a, b), cut}},
		"it is, after more than counts": {{page(1, 0, a, b), more}, {page(1, 0, a, b), cut}},
		"the pages go round":            {{page(9, 0, a), more}, {page(9, 0, b), more}, {page(9, 0, a), cut}},
		"one is new":                    {{page(4, 0, a, b), more}, {page(4, 0, b, c), last}},
		"bad entries among good ones":   {{page(4, 1, a), more}, {page(4, 1, b), last}},
		"a bad entry is the last":       {{page(2, 0, a), more}, {page(2, 1), last}},
		"bad entries without an end":    {{page(3, 2), cut}},
	} {
		walk := Walk{}
		for i, one := range pages {
			ends, err := walk.Ends(one.page)
			got := map[bool]string{false: more, true: last}[ends]
			if errors.Is(err, errListCut) {
				got = cut
			}
			if got != one.want {
				t.Errorf("%s, page %d: got %s, %v, want %s", name, i+1, got, err, one.want)
			}
		}
	}
}

func TestAListThatIgnoresTheOffsetIsNotReadForever(t *testing.T) {
	r, wx := cannedWeChat(t, dbtest.SQLite(t))
	wx.says("api_get_authorizer_list", `{"total_count":3,"list":[{"authorizer_appid":"wx000000000000000a","refresh_token":"r1"},{"authorizer_appid":"wx000000000000000b","refresh_token":"r2"}]}`)
	if _, err := r.WeChatList().Token(ctx, id); !errors.Is(err, errListCut) || wx.called("api_get_authorizer_list") != 2 {
		t.Errorf("got %v after %d calls, want it given up after two", err, wx.called("api_get_authorizer_list"))
	}
}

// Every answer with permission sets is read by one rule: only a list that was read whole takes sets
// away.
func TestAnIncompleteListOfSetsTakesNoneAway(t *testing.T) {
	const six = `{"funcscope_category":{"id":6}}`
	for rest, want := range map[string]string{
		six + `]}}`: "6", six + `],"expires_in":7200}}`: "6", `{"funcscope_category":{"id":"6"}}]}}`: "6",
		six + `,{}]}}`: "1,6", `null,` + six + `]}}`: "1,6", six + `,{"funcscope_category":{"id":true}}]}}`: "1,6", `]}}`: "1,6", `{}]}}`: "1,6",
		six + `]}`: "1,6", six + `]`: "1,6", six + `,`: "1,6", six: "1,6", six + `,{"func`: "1,6", six + `]}} {}`: "1,6", six + `],"x":nul}}`: "1,6",
	} {
		t.Run(rest, func(t *testing.T) {
			r, wx := cannedWeChat(t, dbtest.SQLite(t))
			begin := `"authorization_info":{"authorizer_appid":"` + string(id) + `","func_info":[` + rest
			wx.says("api_get_authorizer_info", `{"authorizer_info":{"nick_name":"n"},`+begin)
			exchanged, _ := wechat.ParseObject([]byte(`{"authorization_info":{"authorizer_refresh_token":"r1",` + begin[len(`"authorization_info":{`):]))
			for name, read := range map[string]func() error{
				"profile": func() error { return r.ReadProfile(ctx, id) },
				"exchange": func() error {
					var g Grant
					if lacks := g.Read(exchanged); lacks != "" {
						return errors.New("it lacks " + lacks)
					}
					return r.db.Tx(ctx, func(tx *db.Tx) error { _, err := r.Grant(ctx, tx, g); return err })
				},
				"returned": func() error {
					if _, err := db.Exec(ctx, r.db, `UPDATE authorizers SET state = 'revoked'`); err != nil {
						return err
					}
					returned, err := r.WeChatList().Return(ctx, tester, Listing{id, seal.NewSecret("r2")}, time.Now().Add(time.Minute))
					if err == nil && !returned {
						return errors.New("it did not return")
					}
					return err
				},
			} {
				if _, err := db.Exec(ctx, r.db, `UPDATE authorizers SET permission_sets = '1,6'`); err != nil {
					t.Fatal(err)
				}
				err := read()
				if a, finding := r.Find(ctx, id); err != nil || finding != nil || a.PermissionSets.String() != want {
					t.Errorf("%s: got the sets %s, %v, want %s", name, a.PermissionSets, errors.Join(err, finding), want)
				}
			}
		})
	}
}

func TestAProfileThatTellsNothingIsNotRead(t *testing.T) {
	for info, read := range map[string]bool{
		`{}`: false, `{"nick_name":null}`: false, `{"nick_name":{},"service_type_info":{},"verify_type_info":null}`: false, `{"NICK_NAME":"n"}`: false, `{"x":1}`: false,
		`{"service_type_info":{"id":"x"}}`: false, `{"account_status":[]}`: false, `{"MiniProgramInfo":{}}`: false, `{"MiniProgramInfo":[]}`: false, `null`: false, `[]`: false,
		`{"nick_name":"n"}`: true, `{"user_name":7}`: true, `{"alias":""}`: true, `{"principal_name":"p"}`: true, `{"service_type_info":{"id":"2"}}`: true,
		`{"verify_type_info":{"id":-1}}`: true, `{"account_status":1.0}`: true, `{"MiniProgramInfo":{"network":{}}}`: true,
	} {
		r, wx := cannedWeChat(t, dbtest.SQLite(t))
		wx.says("api_get_authorizer_info", `{"authorizer_info":`+info+`,"authorization_info":{"func_info":[]}}`)
		err := r.ReadProfile(ctx, id)
		a, finding := r.Find(ctx, id)
		if (err == nil) != read || wechat.Refused(err) != 0 || finding != nil || (a.Kind != Unread) != read || a.ProfileAt.IsZero() == read {
			t.Errorf("%s: got %+v, %v, want it read %v", info, a, errors.Join(err, finding), read)
		}
	}
}

// A refusal may repeat the account, and then nothing was given.
func TestAnAppidAloneIsNoGrantInARefusal(t *testing.T) {
	const appid, token = `"authorizer_appid":"wx5a3e1c0b7d2f4801"`, `"authorizer_refresh_token":"refresh"`
	for text, granted := range map[string]bool{
		`{"authorization_info":{` + appid + `}}`:                                            true,
		`{"errcode":0,"errmsg":"ok","authorization_info":{` + appid + `}}`:                  true,
		`{"errcode":61010,"errmsg":"code is expired","authorization_info":{` + appid + `}}`: false,
		`{"errcode":"E1","authorization_info":{` + appid + `}}`:                             false,
		`{"authorization_info":{` + appid + `}`:                                             false,
		`{"authorization_info":{` + appid + `}}{}`:                                          false,
		`{"errcode":61010,"authorization_info":{` + appid + `,` + token + `}}`:              true,
		`{"authorization_info":{` + appid + `,` + token:                                     true,
	} {
		o, _ := wechat.ParseObject([]byte(text))
		var g Grant
		if lacks := g.Read(o); (lacks == "") != granted {
			t.Errorf("%s: got %q lacking, want granted %v", text, lacks, granted)
		}
	}
}

// An SDK gets the answer as it came.
func TestARefusalComesWithItsOwnAnswer(t *testing.T) {
	const rejected = `{"errcode":40001,"errmsg":"no"}`
	for _, upload := range []bool{false, true} {
		for refresh, want := range map[string]string{`{"errcode":61023,"errmsg":"no"}`: "", `{"authorizer_access_token":"newer","expires_in":7200}`: rejected} {
			r, wx := cannedWeChat(t, dbtest.SQLite(t))
			wx.says("api_authorizer_token", refresh)
			wx.says("x", rejected)
			turn, err := r.Begin(ctx, Admitted{Authorizer: Authorizer{AppID: id}})
			if err != nil {
				t.Fatal(err)
			}
			for range 7 { // more tokens than can be replaced
				call := wechat.Call{Method: http.MethodPost, Path: "/x", Body: []byte("body")}
				if upload {
					call.Body, call.Upload, call.UploadLength = nil, strings.NewReader("body"), 4
				}
				answer, err := turn.Call(ctx, call)
				if code := wechat.Refused(err); string(answer.Body) != want || (code == wechat.InvalidCredential) != (want != "") {
					t.Errorf("upload %v, %s: got %v with the answer %q, want it with %q", upload, refresh, err, answer.Body, want)
				}
			}
			turn.End()
		}
	}
}
