// Package fastwego runs github.com/fastwego/offiaccount.
package fastwego

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"

	"github.com/fastwego/offiaccount"
	"github.com/fastwego/offiaccount/apis/customservice"
	"github.com/fastwego/offiaccount/apis/material"
	"github.com/fastwego/offiaccount/apis/menu"
	"github.com/fastwego/offiaccount/apis/oauth"
	"github.com/fastwego/offiaccount/apis/util"

	"wxplatform/bench/sdk/sdk"
)

type client struct{ account *offiaccount.OffiAccount }

// Open sets the SDK up. Its host is a variable of the process, and its cache a file that is named
// after the appid, in the folder for temporary files. Its log shows tokens.
func Open(s sdk.Settings) (sdk.Client, error) {
	if s.Stable {
		return nil, sdk.ErrNotOffered
	}
	offiaccount.WXServerUrl = s.Base
	account := offiaccount.New(offiaccount.Config{Appid: s.AppID, Secret: s.Secret})
	account.Logger = nil
	_ = account.AccessToken.Cache.Delete(s.AppID)
	return client{account}, nil
}

// told reads the SDK's errors: two of them stand for an errcode.
func told(_ []byte, err error) error {
	switch {
	case errors.Is(err, offiaccount.ErrorAccessTokenExpire):
		return &sdk.Refused{Code: 40001, Text: err.Error()}
	case errors.Is(err, offiaccount.ErrorSystemBusy):
		return &sdk.Refused{Code: -1, Text: err.Error()}
	}
	return sdk.Told(err)
}

// object is the body of a call as its caller writes it: the SDK sends what it is given.
func object(members map[string]any) []byte {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(members); err != nil {
		panic(err)
	}
	return text.Bytes()
}

func (c client) Addresses() error { return told(util.GetCallbackIp(c.account)) }

func (c client) Send(customer, text string) error {
	return told(customservice.SendMessage(c.account, object(map[string]any{"touser": customer, "msgtype": "text", "text": map[string]string{"content": text}})))
}

func (c client) CreateMenu(name string) error {
	button := map[string]string{"type": "click", "name": name, "key": "V1"}
	return told(menu.Create(c.account, object(map[string]any{"button": []any{button}})))
}

func (c client) Upload(file string) (string, error) {
	body, err := material.MediaUpload(c.account, file, url.Values{"type": {"image"}})
	var answer struct {
		MediaID string `json:"media_id"`
	}
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	return answer.MediaID, told(nil, err)
}

// Download is not offered: the SDK's MediaGet takes no media_id, and it reads JSON only.
func (c client) Download(string) ([]byte, error) { return nil, sdk.ErrNotOffered }

func (c client) Session(call sdk.SessionCall, agent, customer string) error {
	switch call {
	case sdk.CreateSession:
		return told(customservice.KfSessionCreate(c.account, object(map[string]any{"kf_account": agent, "openid": customer})))
	case sdk.GetSession:
		return told(customservice.KfSessionGet(c.account, url.Values{"openid": {customer}}))
	case sdk.ListSessions:
		return told(customservice.KfSessionGetList(c.account, url.Values{"kf_account": {agent}}))
	case sdk.WaitingCases:
		return told(customservice.KfSessionGetWaitCase(c.account))
	}
	return sdk.ErrNotOffered
}

func (c client) LogIn(code string) (string, error) {
	token, err := oauth.GetAccessToken(c.account.Config.Appid, c.account.Config.Secret, code)
	if err != nil {
		return "", told(nil, err)
	}
	user, err := oauth.GetUserInfo(token.AccessToken, token.Openid, "zh_CN")
	return user.Openid, told(nil, err)
}

func (c client) LogInMini(string) (string, error) { return "", sdk.ErrNotOffered }

func (c client) Close() {}
