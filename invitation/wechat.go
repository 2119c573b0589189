package invitation

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"wxplatform/authorizer"
	"wxplatform/internal/seal"
	"wxplatform/token"
	"wxplatform/wechat"
)

// preAuthCode fetches one; it is good for one authorization and as long as WeChat says (wechat-protocol §3.2).
func (d *Desk) preAuthCode(ctx context.Context) (seal.Secret, time.Duration, error) {
	var answer struct {
		Code    string `json:"pre_auth_code"`
		Expires int64  `json:"expires_in"`
	}
	_, err := d.component.Call(ctx, wechat.Call{
		Method: http.MethodPost,
		Path:   "/cgi-bin/component/api_create_preauthcode",
		Body:   map[string]string{"component_appid": string(d.component.AppID)},
		Into:   &answer,
	})
	if err != nil {
		return seal.Secret{}, 0, fmt.Errorf("pre-auth code: %w", err)
	}
	return seal.NewSecret(answer.Code), time.Duration(answer.Expires) * time.Second, nil
}

// queryAuth exchanges an auth code, which burns it (wechat-protocol §3.4). Tokens are missing where the account has no API.
func (d *Desk) queryAuth(ctx context.Context, code seal.Secret) (authorizer.Grant, error) {
	var answer struct {
		Info struct {
			AppID    wechat.AppID        `json:"authorizer_appid"`
			Access   string              `json:"authorizer_access_token"`
			Expires  int64               `json:"expires_in"`
			Refresh  string              `json:"authorizer_refresh_token"`
			FuncInfo authorizer.FuncInfo `json:"func_info"`
		} `json:"authorization_info"`
	}
	_, err := d.component.Call(ctx, wechat.Call{
		Method: http.MethodPost,
		Path:   "/cgi-bin/component/api_query_auth",
		Body:   map[string]string{"component_appid": string(d.component.AppID), "authorization_code": code.Reveal()},
		Into:   &answer,
	})
	if err != nil {
		return authorizer.Grant{}, fmt.Errorf("exchange an auth code: %w", err)
	}
	info := answer.Info
	given := token.Answer{Access: seal.NewSecret(info.Access), Refresh: seal.NewSecret(info.Refresh), ExpiresIn: time.Duration(info.Expires) * time.Second}
	return authorizer.Grant{AppID: info.AppID, Answer: given, PermissionSets: info.FuncInfo.PermissionSets()}, nil
}

// WeChat's consent pages (wechat-protocol §3.3): one to scan from a computer, one inside WeChat on a phone.
const (
	pcHost     = "https://mp.weixin.qq.com"
	pcPath     = "/cgi-bin/componentloginpage"
	mobileHost = "https://open.weixin.qq.com"
	mobilePath = "/wxaopen/safe/bindcomponent"
	anyAccount = "3" // auth_type: official accounts and mini programs
)

// consent is the address of WeChat's consent page for i, which leads back to done.
func (d *Desk) consent(i Invitation, code seal.Secret, done string) string {
	query := url.Values{"component_appid": {string(d.component.AppID)}, "pre_auth_code": {code.Reveal()}, "redirect_uri": {done}}
	if i.AppID != "" {
		query.Set("biz_appid", string(i.AppID))
	} else {
		query.Set("auth_type", anyAccount)
	}
	if len(i.PermissionSets) > 0 {
		query.Set("category_id_list", strings.ReplaceAll(i.PermissionSets.String(), ",", "|"))
	}
	if i.Kind == PC {
		return d.consentBase(pcHost) + pcPath + "?" + query.Encode()
	}
	query.Set("action", "bindcomponent")
	query.Set("no_scan", "1")
	return d.consentBase(mobileHost) + mobilePath + "?" + query.Encode() + "#wechat_redirect"
}

func (d *Desk) consentBase(host string) string {
	if d.consentURL != "" {
		return d.consentURL
	}
	return host
}
