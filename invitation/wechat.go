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
	"wxplatform/wechat"
)

// The calls that anyone with a link causes.
const (
	createPreAuthCode = "/cgi-bin/component/api_create_preauthcode"
	queryAuth         = "/cgi-bin/component/api_query_auth"
)

// preAuthCode gets a pre-auth code, which is good for one authorization, and how long it is valid
// (docs/wechat.md, "Pre-auth code").
func (s *Service) preAuthCode(ctx context.Context) (seal.Secret, time.Duration, error) {
	var code seal.Secret
	var lifetime time.Duration
	_, err := s.component.Call(ctx, wechat.Call{
		Method: http.MethodPost,
		Path:   createPreAuthCode,
		Body:   wechat.JSON(map[string]string{"component_appid": string(s.component.AppID)}),
		Read: func(o wechat.Object) (lacks string) {
			var ok bool
			if code, ok = o.Secret("pre_auth_code"); !ok {
				return "pre_auth_code"
			}
			lifetime = o.Life("expires_in")
			return ""
		},
	})
	if err != nil {
		return seal.Secret{}, 0, fmt.Errorf("pre-auth code: %w", err)
	}
	return code, lifetime, nil
}

// queryAuth exchanges an auth code, which can be done once (docs/wechat.md, "Exchange of an auth
// code").
func (s *Service) queryAuth(ctx context.Context, code seal.Secret) (authorizer.Grant, error) {
	var got authorizer.Grant
	_, err := s.component.Call(ctx, wechat.Call{
		Method: http.MethodPost,
		Path:   queryAuth,
		Body: wechat.JSON(map[string]string{
			"component_appid": string(s.component.AppID), "authorization_code": code.Reveal(),
		}),
		Once: true,
		Read: got.Read,
	})
	if err != nil {
		return authorizer.Grant{}, fmt.Errorf("exchange an auth code: %w", err)
	}
	return got, nil
}

// WeChat's consent pages (docs/wechat.md, "Consent pages"): one with a code to scan, for a
// computer, and one inside WeChat on a phone.
const (
	pcHost     = "https://mp.weixin.qq.com"
	pcPath     = "/cgi-bin/componentloginpage"
	mobileHost = "https://open.weixin.qq.com"
	mobilePath = "/wxaopen/safe/bindcomponent"
	anyAccount = "3" // auth_type: Official Accounts and mini programs
)

// consent is the address of WeChat's consent page for i. WeChat sends the browser from it to done.
func (s *Service) consent(i Invitation, code seal.Secret, done string) string {
	query := url.Values{
		"component_appid": {string(s.component.AppID)}, "pre_auth_code": {code.Reveal()}, "redirect_uri": {done},
	}
	if i.AppID != "" {
		query.Set("biz_appid", string(i.AppID))
	} else {
		query.Set("auth_type", anyAccount)
	}
	if len(i.PermissionSets) > 0 {
		query.Set("category_id_list", strings.ReplaceAll(i.PermissionSets.String(), ",", "|"))
	}
	if i.Kind == PC {
		return s.consentBase(pcHost) + pcPath + "?" + query.Encode()
	}
	query.Set("action", "bindcomponent")
	query.Set("no_scan", "1")
	return s.consentBase(mobileHost) + mobilePath + "?" + query.Encode() + "#wechat_redirect"
}

func (s *Service) consentBase(host string) string {
	if s.consentURL != "" {
		return s.consentURL
	}
	return host
}
