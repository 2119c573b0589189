// Package powerwechat runs github.com/ArtisanCloud/PowerWeChat.
package powerwechat

import (
	"context"
	"encoding/json"
	"io"
	"path/filepath"

	"github.com/ArtisanCloud/PowerLibs/v3/cache"
	"github.com/ArtisanCloud/PowerWeChat/v3/src/kernel/messages"
	"github.com/ArtisanCloud/PowerWeChat/v3/src/kernel/response"
	"github.com/ArtisanCloud/PowerWeChat/v3/src/miniProgram"
	"github.com/ArtisanCloud/PowerWeChat/v3/src/officialAccount"
	"github.com/ArtisanCloud/PowerWeChat/v3/src/officialAccount/menu/request"

	"wxplatform/bench/sdk/sdk"
)

var ctx = context.Background()

type client struct {
	app      *officialAccount.OfficialAccount
	settings sdk.Settings
}

// Open sets the SDK up. This version has the URL of the token call as a field of its own. Its
// cache is a variable of the process.
func Open(s sdk.Settings) (sdk.Client, error) {
	cache.ACCache = nil
	app, err := officialAccount.NewOfficialAccount(&officialAccount.UserConfig{
		AppID: s.AppID, Secret: s.Secret, StableTokenMode: s.Stable,
		Http: officialAccount.Http{BaseURI: s.Base + "/"},
		Log:  officialAccount.Log{File: filepath.Join(s.Dir, "info.log"), Error: filepath.Join(s.Dir, "error.log")},
	})
	if err != nil {
		return nil, err
	}
	app.AccessToken.EndpointToGetToken = s.Base + "/cgi-bin/token"
	if s.Stable {
		app.AccessToken.EndpointToGetToken = s.Base + "/cgi-bin/stable_token"
	}
	return client{app, s}, nil
}

func (c client) Addresses() error {
	answer, err := c.app.Base.GetCallbackIP(ctx)
	if answer == nil {
		return sdk.Told(err)
	}
	return sdk.Code(answer.ErrCode, answer.ErrMsg, err)
}

func (c client) Send(customer, text string) error {
	said, err := c.app.CustomerService.Message(ctx, messages.NewText(text)).SetTo(customer).Send(ctx)
	answer, _ := said.(*response.ResponseOfficialAccount)
	if answer == nil {
		return sdk.Told(err)
	}
	return sdk.Code(answer.ErrCode, answer.ErrMsg, err)
}

func (c client) CreateMenu(name string) error {
	answer, err := c.app.Menu.Create(ctx, []*request.Button{{Type: "click", Name: name, Key: "V1"}})
	if answer == nil {
		return sdk.Told(err)
	}
	return sdk.Code(answer.ErrCode, answer.ErrMsg, err)
}

func (c client) Upload(file string) (string, error) {
	answer, err := c.app.Media.UploadImage(ctx, file)
	if answer == nil {
		return "", sdk.Told(err)
	}
	return answer.MediaID, sdk.Code(answer.ErrCode, answer.ErrMsg, err)
}

// Download is a POST in this version, where WeChat documents a GET.
func (c client) Download(mediaID string) ([]byte, error) {
	answer, err := c.app.Media.Get(ctx, mediaID)
	if err != nil {
		return nil, sdk.Told(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	var refusal struct {
		Code int    `json:"errcode"`
		Text string `json:"errmsg"`
	}
	if err == nil && json.Unmarshal(body, &refusal) == nil {
		err = sdk.Code(refusal.Code, refusal.Text, nil)
	}
	return body, err
}

func (c client) Session(call sdk.SessionCall, agent, customer string) error {
	sessions := c.app.CustomerServiceSession
	switch call {
	case sdk.CreateSession:
		answer, err := sessions.Create(ctx, agent, customer)
		return sdk.Code(answer.ErrCode, answer.ErrMsg, err)
	case sdk.GetSession:
		answer, err := sessions.Get(ctx, customer)
		return sdk.Code(answer.ErrCode, answer.ErrMsg, err)
	case sdk.ListSessions:
		answer, err := sessions.List(ctx, agent)
		return sdk.Code(answer.ErrCode, answer.ErrMsg, err)
	case sdk.WaitingCases:
		answer, err := sessions.Waiting(ctx)
		return sdk.Code(answer.ErrCode, answer.ErrMsg, err)
	}
	answer, err := sessions.Close(ctx, agent, customer)
	return sdk.Code(answer.ErrCode, answer.ErrMsg, err)
}

// LogIn is not offered: the SDK's login has WeChat's host in it.
func (c client) LogIn(string) (string, error) { return "", sdk.ErrNotOffered }

func (c client) LogInMini(code string) (string, error) {
	s := c.settings
	app, err := miniProgram.NewMiniProgram(&miniProgram.UserConfig{
		AppID: s.AppID, Secret: s.Secret, Http: miniProgram.Http{BaseURI: s.Base + "/"},
		Log: miniProgram.Log{File: filepath.Join(s.Dir, "info.log"), Error: filepath.Join(s.Dir, "error.log")},
	})
	if err != nil {
		return "", err
	}
	app.AccessToken.EndpointToGetToken = s.Base + "/cgi-bin/token"
	session, err := app.Auth.Session(ctx, code)
	if session == nil {
		return "", sdk.Told(err)
	}
	return session.OpenID, sdk.Code(session.ErrCode, session.ErrMsg, err)
}

func (c client) Close() {}
