// Package silenceper runs github.com/silenceper/wechat.
package silenceper

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/silenceper/wechat/v2"
	"github.com/silenceper/wechat/v2/cache"
	"github.com/silenceper/wechat/v2/miniprogram"
	miniconfig "github.com/silenceper/wechat/v2/miniprogram/config"
	"github.com/silenceper/wechat/v2/officialaccount"
	"github.com/silenceper/wechat/v2/officialaccount/config"
	"github.com/silenceper/wechat/v2/officialaccount/material"
	"github.com/silenceper/wechat/v2/officialaccount/menu"
	"github.com/silenceper/wechat/v2/officialaccount/message"
	"github.com/silenceper/wechat/v2/util"

	"wxplatform/bench/sdk/sdk"
)

type client struct {
	account *officialaccount.OfficialAccount
	mini    *miniprogram.MiniProgram
}

// Open sets the SDK up. Its host is a variable of the process.
func Open(s sdk.Settings) (sdk.Client, error) {
	util.SetURIModifier(func(uri string) string {
		return strings.Replace(uri, "https://api.weixin.qq.com", s.Base, 1)
	})
	wc := wechat.NewWechat()
	return client{
		wc.GetOfficialAccount(&config.Config{AppID: s.AppID, AppSecret: s.Secret, UseStableAK: s.Stable, Cache: cache.NewMemory()}),
		wc.GetMiniProgram(&miniconfig.Config{AppID: s.AppID, AppSecret: s.Secret, Cache: cache.NewMemory()}),
	}, nil
}

func (c client) Addresses() error {
	_, err := c.account.GetBasic().GetCallbackIP()
	return sdk.Told(err)
}

func (c client) Send(customer, text string) error {
	return sdk.Told(c.account.GetCustomerMessageManager().Send(message.NewCustomerTextMessage(customer, text)))
}

func (c client) CreateMenu(name string) error {
	return sdk.Told(c.account.GetMenu().SetMenu([]*menu.Button{new(menu.Button).SetClickButton(name, "V1")}))
}

func (c client) Upload(file string) (string, error) {
	media, err := c.account.GetMaterial().MediaUpload(material.MediaTypeImage, file)
	return media.MediaID, sdk.Told(err)
}

// Download fetches the URL that the SDK makes, with the SDK's own function for GETs.
func (c client) Download(mediaID string) ([]byte, error) {
	address, err := c.account.GetMaterial().GetMediaURL(mediaID)
	if err != nil {
		return nil, sdk.Told(err)
	}
	body, err := util.HTTPGet(address)
	if err == nil && json.Valid(body) {
		err = util.DecodeWithCommonError(body, "media/get")
	}
	return body, sdk.Told(err)
}

func (c client) Session(sdk.SessionCall, string, string) error { return sdk.ErrNotOffered }

func (c client) LogIn(code string) (string, error) {
	user, err := c.account.GetOauth().GetUserInfoByCodeContext(context.Background(), code)
	return user.OpenID, sdk.Told(err)
}

func (c client) LogInMini(code string) (string, error) {
	session, err := c.mini.GetAuth().Code2Session(code)
	return session.OpenID, sdk.Told(err)
}

func (c client) Close() {}
