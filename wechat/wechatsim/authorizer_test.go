package wechatsim

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"wxplatform/wechat"
)

func (r *rig) preAuthCode() string {
	r.t.Helper()
	return r.text(r.component("api_create_preauthcode", object{"component_appid": DefaultAppID}), "pre_auth_code")
}

func (r *rig) exchange(code string) object {
	r.t.Helper()
	return r.component("api_query_auth", object{"component_appid": DefaultAppID, "authorization_code": code})
}

func (r *rig) consent(id wechat.AppID, sets ...wechat.PermissionSet) Redirect {
	r.t.Helper()
	redirect, err := r.Consent(r.t.Context(), r.preAuthCode(), id, sets...)
	r.must(err)
	return redirect
}

func TestConsentIsPushedAndItsCodeExchangedOnce(t *testing.T) {
	r := newRig(t)
	preAuth := r.preAuthCode()
	redirect, err := r.Consent(t.Context(), preAuth, SampleService, 6, 1)
	r.must(err)
	pushes := r.pushes()
	want := received{path: "/events", AppId: string(DefaultAppID), InfoType: "authorized", AuthorizerAppid: string(SampleService), AuthorizationCode: redirect.AuthCode,
		PreAuthCode: preAuth, CreateTime: r.clock.Now().Unix(), CodeExpires: r.clock.Now().Add(time.Hour).Unix()}
	if len(pushes) != 1 {
		t.Fatalf("got %+v, want one push", pushes)
	}
	want.query = pushes[0].query
	if fmt.Sprint(pushes[0]) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", pushes[0], want)
	}
	answer := r.exchange(redirect.AuthCode)
	if got := r.text(answer, "authorization_info", "authorizer_refresh_token"); got != r.RefreshToken(SampleService) {
		t.Errorf("got %q, want the refresh token", got)
	}
	if got := r.text(answer, "authorization_info", "authorizer_access_token"); !r.Works(got) {
		t.Error("the access token does not work")
	}
	if got := fmt.Sprint(answer["authorization_info"].(object)["func_info"]); got != "[map[funcscope_category:map[id:1]] map[funcscope_category:map[id:6]]]" {
		t.Errorf("got %s, want sets 1 and 6", got)
	}
	r.want(61009, r.exchange(redirect.AuthCode))
}

func TestAuthCodeExpires(t *testing.T) {
	r := newRig(t)
	code := r.consent(SampleService).AuthCode
	r.clock.advance(time.Hour)
	r.want(61010, r.exchange(code))
	r.want(61009, r.exchange(r.preAuthCode()))
	r.want(61009, r.exchange(code+"x"))
	// Long afterwards, when the simulator has forgotten the code, it can still be told from an
	// invented one.
	r.clock.advance(48 * time.Hour)
	r.componentToken()
	r.consent(SampleOfficial)
	r.want(61010, r.exchange(code))
}

func TestPushedCodeMayBeAnotherOne(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Behaviour.SeparateCodes = true })
	redirect := r.consent(SampleService)
	pushed := r.pushes()[0].AuthorizationCode
	if pushed == redirect.AuthCode {
		t.Fatal("both codes are the same")
	}
	r.want(0, r.exchange(pushed))
	r.want(0, r.exchange(redirect.AuthCode))
}

func TestPreAuthCodeIsUsedOnceAndExpires(t *testing.T) {
	r := newRig(t)
	used, late := r.preAuthCode(), r.preAuthCode()
	_, err := r.Consent(t.Context(), used, SampleService)
	r.must(err)
	if _, err := r.Consent(t.Context(), used, SampleOfficial); err != ErrPreAuthCode {
		t.Errorf("used: got %v, want ErrPreAuthCode", err)
	}
	r.clock.advance(30 * time.Minute)
	if _, err := r.Consent(t.Context(), late, SampleOfficial); err != ErrPreAuthCode {
		t.Errorf("expired: got %v, want ErrPreAuthCode", err)
	}
}

func TestRefreshTokenIsStableOnRefresh(t *testing.T) {
	r := newRig(t)
	r.authorized(SampleService)
	before := r.RefreshToken(SampleService)
	if got := r.text(r.component("api_authorizer_token", r.refreshBody(SampleService)), "authorizer_refresh_token"); got != before {
		t.Errorf("got %q, want %q", got, before)
	}
}

func TestRefreshTokenChangesOnUpdateWithGrace(t *testing.T) {
	r := newRig(t)
	r.authorized(SampleService, 1)
	old := r.refreshBody(SampleService)
	r.must(r.ChangeSets(SampleService, 1, 6))
	if push := r.pushes()[0]; push.InfoType != "updateauthorized" || push.AuthorizationCode == "" {
		t.Errorf("got %+v, want updateauthorized", push)
	}
	answer := r.component("api_authorizer_token", old)
	if got := r.text(answer, "authorizer_refresh_token"); got != r.RefreshToken(SampleService) || got == old["authorizer_refresh_token"] {
		t.Errorf("got %q, want the new refresh token", got)
	}
	r.clock.advance(5 * time.Minute)
	r.want(61023, r.component("api_authorizer_token", old))
	r.want(0, r.component("api_authorizer_token", r.refreshBody(SampleService)))
}

func TestConsentWithoutAChangeIsNotPushed(t *testing.T) {
	r := newRig(t)
	first := r.consent(SampleService, 1, 6)
	r.want(0, r.exchange(first.AuthCode))
	before := r.RefreshToken(SampleService)
	second := r.consent(SampleService, 6, 1)
	if got := r.pushes(); len(got) != 1 {
		t.Errorf("got %d pushes, want only the first authorization's", len(got))
	}
	if r.RefreshToken(SampleService) == before {
		t.Error("the refresh token is still the old one")
	}
	r.want(0, r.exchange(second.AuthCode))
}

func TestRotationOnRefreshAndOnExchange(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Behaviour = Behaviour{RotateOnRefresh: true, RotateOnExchange: true} })
	code := r.consent(SampleService).AuthCode
	seen := map[string]bool{r.RefreshToken(SampleService): true}
	seen[r.text(r.exchange(code), "authorization_info", "authorizer_refresh_token")] = true
	old := r.refreshBody(SampleService)
	for range 2 {
		seen[r.text(r.component("api_authorizer_token", r.refreshBody(SampleService)), "authorizer_refresh_token")] = true
	}
	if len(seen) != 4 {
		t.Errorf("got %d refresh tokens, want 4", len(seen))
	}
	r.clock.advance(5 * time.Minute)
	r.want(61023, r.component("api_authorizer_token", old))
}

func TestUnauthorizedAccountIsDead(t *testing.T) {
	r := newRig(t)
	token := r.authorized(SampleService)
	code := r.consent(SampleService).AuthCode
	r.pushes()
	old := r.refreshBody(SampleService)
	r.must(r.Unauthorize(SampleService))
	if got := r.pushes(); len(got) != 1 || got[0].InfoType != "unauthorized" || got[0].AuthorizerAppid != string(SampleService) {
		t.Errorf("got %+v, want unauthorized", got)
	}
	if got := r.lastPush(); got.AppID != SampleService {
		t.Errorf("got %+v, want it in the account's queue", got)
	}
	wait := func() object {
		return r.do("/customservice/kfsession/getwaitcase", url.Values{"access_token": {token}}, nil)
	}
	r.want(61003, wait())
	r.want(61003, r.component("api_authorizer_token", old))
	r.want(61003, r.component("api_get_authorizer_info", old))
	r.want(61003, r.exchange(code))
	if err := r.Unauthorize(SampleService); err != ErrNotAuthorized {
		t.Errorf("got %v, want ErrNotAuthorized", err)
	}
	// Codes and tokens from before a withdrawal are invalid after the next consent.
	r.consent(SampleService)
	r.want(40001, wait())
	r.want(61023, r.component("api_authorizer_token", old))
	r.want(61009, r.exchange(code))
}

func TestRefreshTokenOfAnotherAccountIsRefused(t *testing.T) {
	r := newRig(t)
	r.authorized(SampleService)
	r.authorized(SampleOfficial)
	body := r.refreshBody(SampleService)
	for _, wrong := range []any{r.RefreshToken(SampleOfficial), "", nil, "refreshtoken@@@x", r.LastAccessToken(SampleService)} {
		body["authorizer_refresh_token"] = wrong
		r.want(61023, r.component("api_authorizer_token", body))
	}
	body["authorizer_appid"] = "wx"
	r.want(40013, r.component("api_authorizer_token", body))
	body["authorizer_appid"] = "wx0000000000000000"
	r.want(61003, r.component("api_authorizer_token", body))
}

func TestReplacedRefreshTokenIsInTheList(t *testing.T) {
	r := newRig(t)
	r.authorized(SampleService)
	old := r.refreshBody(SampleService)
	r.must(r.ReplaceRefreshToken(SampleService))
	r.want(61023, r.component("api_authorizer_token", old))
	list := r.component("api_get_authorizer_list", object{"component_appid": DefaultAppID, "count": 1})["list"].([]any)
	old["authorizer_refresh_token"] = list[0].(object)["refresh_token"]
	r.want(0, r.component("api_authorizer_token", old))
}

func TestListIsPagedAndHidesWhatWasNeverExchanged(t *testing.T) {
	r := newRig(t)
	r.AddSynthetic(3)
	r.consent(SampleService)
	ask := func(offset, count int) object {
		return r.component("api_get_authorizer_list", object{"component_appid": DefaultAppID, "offset": offset, "count": count})
	}
	page := ask(2, 500)
	list := page["list"].([]any)
	if page["total_count"] != 4.0 || len(list) != 2 {
		t.Fatalf("got %v, want the last 2 of 4", page)
	}
	if got := list[0].(object); got["authorizer_appid"] != string(SyntheticAppID(2)) || got["refresh_token"] != r.RefreshToken(SyntheticAppID(2)) {
		t.Errorf("got %v, want the third synthetic account", got)
	}
	if _, has := list[1].(object)["refresh_token"]; has {
		t.Error("an authorization that was never exchanged has a refresh token")
	}
	r.want(40170, ask(0, 501))
	r.must(r.Unauthorize(SyntheticAppID(1)))
	if got := ask(0, 10)["total_count"]; got != 3.0 {
		t.Errorf("got %v, want 3 after a withdrawal", got)
	}
}

func TestInfoTellsWhatAnAccountIs(t *testing.T) {
	r := newRig(t)
	for id, want := range map[wechat.AppID]struct {
		service, verify float64
		mini            bool
		alias           string
	}{
		SampleService:     {2, 0, false, "test"},
		SampleOfficial:    {0, 0, false, "laowang"},
		SampleUnverified:  {0, -1, false, ""},
		SampleMiniProgram: {0, 0, true, ""},
		SyntheticAppID(0): {2, 0, false, "shop0"},
	} {
		if id == SyntheticAppID(0) {
			r.AddSynthetic(1)
		} else {
			r.authorized(id)
		}
		answer := r.component("api_get_authorizer_info", object{"component_appid": DefaultAppID, "authorizer_appid": id})
		info := answer["authorizer_info"].(object)
		_, mini := info["MiniProgramInfo"]
		if info["service_type_info"].(object)["id"] != want.service || info["verify_type_info"].(object)["id"] != want.verify || mini != want.mini || info["alias"] != want.alias {
			t.Errorf("%s: got %v, want %+v", id, info, want)
		}
		if account, _ := r.Account(id); info["user_name"] != string(account.UserName) || info["nick_name"] != account.NickName || info["principal_name"] == "" {
			t.Errorf("%s: got %v, want %+v", id, info, account)
		}
		if _, has := answer["authorization_info"].(object)["authorizer_refresh_token"]; has != mini {
			t.Errorf("%s: refresh token in the info: %t, want %t", id, has, mini)
		}
	}
}

func TestChangedAccountKeepsItsAuthorization(t *testing.T) {
	r := newRig(t)
	r.AddSynthetic(1)
	id := SyntheticAppID(0)
	before := r.RefreshToken(id)
	r.must(r.ChangeAccount(id, func(a *Account) { a.VerifyType = Unverified }))
	if got := r.RefreshToken(id); got != before {
		t.Errorf("got %q, want %q", got, before)
	}
	info := r.component("api_get_authorizer_info", object{"component_appid": DefaultAppID, "authorizer_appid": id})["authorizer_info"].(object)
	if info["verify_type_info"].(object)["id"] != -1.0 || info["nick_name"] != "合成商家 0" {
		t.Errorf("got %v, want the synthetic account, not verified", info)
	}
}

func TestMillionAccountsAreCheap(t *testing.T) {
	r := newRig(t)
	r.AddSynthetic(1_000_000)
	id := SyntheticAppID(999_999)
	token := r.refresh(id)
	r.want(0, r.do("/customservice/kfsession/create", url.Values{"access_token": {token}}, object{"kf_account": SyntheticKF(999_999), "openid": SampleCustomer}))
	if got := r.State(); got.Authorized != 1_000_000 {
		t.Errorf("got %d authorized, want a million", got.Authorized)
	}
}

func TestAddAccountRefusesWhatIsTaken(t *testing.T) {
	r := newRig(t)
	r.AddSynthetic(1)
	for _, id := range []wechat.AppID{SampleService, DefaultAppID, SyntheticAppID(0), "wx1", "WX5a3e1c0b7d2f4801"} {
		if _, err := r.AddAccount(Account{AppID: id}); err == nil {
			t.Errorf("%s: got nil, want an error", id)
		}
	}
	added, err := r.AddAccount(Account{})
	r.must(err)
	if got, _ := r.Account(added.AppID); got.UserName == "" || got.Kind != Service || got.Status != 1 {
		t.Errorf("got %+v, want its gaps filled", got)
	}
}
