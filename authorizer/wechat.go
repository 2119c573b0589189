package authorizer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"wxplatform/internal/seal"
	"wxplatform/token"
	"wxplatform/wechat"
)

const refreshPath = "/cgi-bin/component/api_authorizer_token"

// asking asks for an access token of id with the component token given (wechat-protocol §3.5).
func (r *Registry) asking(with token.Token, id wechat.AppID) token.Ask {
	return func(ctx context.Context, refresh seal.Secret) (token.Answer, error) {
		var answer struct {
			Access  string `json:"authorizer_access_token"`
			Refresh string `json:"authorizer_refresh_token"`
			Expires int64  `json:"expires_in"`
		}
		_, err := r.component.Send(ctx, with, wechat.Call{
			Method: http.MethodPost,
			Path:   refreshPath,
			Body: map[string]string{
				"component_appid":          string(r.component.AppID),
				"authorizer_appid":         string(id),
				"authorizer_refresh_token": refresh.Reveal(),
			},
			Into: &answer,
		})
		if !wechat.NotSent(err) {
			r.spending.spend()
		}
		return token.Answer{
			Access:    seal.NewSecret(answer.Access),
			Refresh:   seal.NewSecret(answer.Refresh),
			ExpiresIn: time.Duration(answer.Expires) * time.Second,
		}, asAskError(err, time.Now(), rand.Float64())
	}
}

// FuncInfo is how WeChat spells the permission sets that a merchant granted (wechat-protocol §3.4).
type FuncInfo []struct {
	Category struct {
		ID int `json:"id"`
	} `json:"funcscope_category"`
}

// PermissionSets are the sets' numbers.
func (f FuncInfo) PermissionSets() wechat.PermissionSets {
	sets := make(wechat.PermissionSets, len(f))
	for i, entry := range f {
		sets[i] = wechat.PermissionSet(entry.Category.ID)
	}
	return sets
}

type authorizerInfo struct {
	Info struct {
		NickName      string          `json:"nick_name"`
		UserName      string          `json:"user_name"`
		Alias         string          `json:"alias"`
		PrincipalName string          `json:"principal_name"`
		AccountStatus int             `json:"account_status"`
		ServiceType   typeID          `json:"service_type_info"`
		VerifyType    *typeID         `json:"verify_type_info"`
		MiniProgram   json.RawMessage `json:"MiniProgramInfo"`
	} `json:"authorizer_info"`
	Authorization struct {
		FuncInfo FuncInfo `json:"func_info"`
	} `json:"authorization_info"`
}

type typeID struct {
	ID int `json:"id"`
}

// readProfile asks api_get_authorizer_info (wechat-protocol §3.6).
func (r *Registry) readProfile(ctx context.Context, id wechat.AppID) (Profile, error) {
	var answer authorizerInfo
	_, err := r.component.Call(ctx, wechat.Call{
		Method: http.MethodPost,
		Path:   "/cgi-bin/component/api_get_authorizer_info",
		Body:   map[string]string{"component_appid": string(r.component.AppID), "authorizer_appid": string(id)},
		Into:   &answer,
	})
	if err != nil {
		return Profile{}, fmt.Errorf("profile of %s: %w", id, err)
	}
	return answer.profile(), nil
}

func (a authorizerInfo) profile() Profile {
	return Profile{
		UserName:       wechat.UserName(a.Info.UserName),
		Alias:          a.Info.Alias,
		NickName:       a.Info.NickName,
		PrincipalName:  a.Info.PrincipalName,
		Kind:           a.kind(),
		VerifyType:     a.verifyType(),
		AccountStatus:  a.Info.AccountStatus,
		PermissionSets: a.Authorization.FuncInfo.PermissionSets(),
	}
}

// The presence of MiniProgramInfo is WeChat's own test for a mini program, for the numbers of service types overlap.
func (a authorizerInfo) kind() Kind {
	switch {
	case len(a.Info.MiniProgram) > 0 && string(a.Info.MiniProgram) != "null":
		return MiniProgram
	case a.Info.ServiceType.ID == 2:
		return Service
	default:
		return Official
	}
}

// An answer that says nothing of verification does not say "verified", which is 0.
func (a authorizerInfo) verifyType() int {
	if a.Info.VerifyType == nil {
		return -1
	}
	return a.Info.VerifyType.ID
}

// ErrNotListed says that api_get_authorizer_list has no refresh token for an account. By itself that changes nothing.
var ErrNotListed = errors.New("WeChat lists no refresh token for the account")

// listPage is the most that WeChat lists at once (wechat-protocol §3.7).
const listPage = 500

// Listed is the refresh token that WeChat lists for id, or ErrNotListed.
func (r *Registry) Listed(ctx context.Context, id wechat.AppID) (seal.Secret, error) {
	for offset := 0; ; offset += listPage {
		page, err := r.readList(ctx, offset)
		if err != nil {
			return seal.Secret{}, fmt.Errorf("list of authorizers: %w", err)
		}
		for _, entry := range page.List {
			if entry.AppID == id && entry.Refresh != "" {
				return seal.NewSecret(entry.Refresh), nil
			}
		}
		if len(page.List) == 0 || offset+len(page.List) >= page.Total {
			return seal.Secret{}, ErrNotListed
		}
	}
}

type authorizerList struct {
	Total int       `json:"total_count"`
	List  []listing `json:"list"`
}

func (r *Registry) readList(ctx context.Context, offset int) (authorizerList, error) {
	var page authorizerList
	_, err := r.component.Call(ctx, wechat.Call{
		Method: http.MethodPost,
		Path:   "/cgi-bin/component/api_get_authorizer_list",
		Body:   map[string]any{"component_appid": r.component.AppID, "offset": offset, "count": listPage},
		Into:   &page,
	})
	return page, err
}

// readQuota asks what WeChat's own quota for access tokens is, and how much of it is used up (wechat-protocol §3.10). It is 0 where WeChat tells none.
func (r *Registry) readQuota(ctx context.Context) (limit, used int64, err error) {
	with, err := r.component.Token(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("component token: %w", err)
	}
	var answer struct {
		Quota struct {
			Limit int64 `json:"daily_limit"`
			Used  int64 `json:"used"`
		} `json:"quota"`
	}
	_, err = r.wechat.Do(ctx, wechat.Call{
		Method: http.MethodPost,
		Path:   "/cgi-bin/openapi/quota/get",
		As:     wechat.ComponentTokenAsAccess,
		Token:  with.Access,
		Body:   map[string]string{"cgi_path": refreshPath},
		Into:   &answer,
	})
	return max(0, answer.Quota.Limit), max(0, answer.Quota.Used), err
}
