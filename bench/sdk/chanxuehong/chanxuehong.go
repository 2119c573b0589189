// Package chanxuehong runs github.com/chanxuehong/wechat.
package chanxuehong

import (
	"bytes"
	"net/http"
	"net/url"

	"github.com/chanxuehong/wechat/mp/base"
	"github.com/chanxuehong/wechat/mp/core"
	"github.com/chanxuehong/wechat/mp/dkf/session"
	"github.com/chanxuehong/wechat/mp/media"
	"github.com/chanxuehong/wechat/mp/menu"
	"github.com/chanxuehong/wechat/mp/message/custom"
	web "github.com/chanxuehong/wechat/mp/oauth2"
	"github.com/chanxuehong/wechat/oauth2"

	"wxplatform/bench/sdk/sdk"
)

// host sends every request to the platform: the SDK has no setting for its host.
type host struct{ base *url.URL }

func (h host) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host, r.Host = h.base.Scheme, h.base.Host, ""
	return http.DefaultTransport.RoundTrip(r)
}

type client struct {
	core     *core.Client
	endpoint *web.Endpoint
}

// Open sets the SDK up.
func Open(s sdk.Settings) (sdk.Client, error) {
	platform, err := url.Parse(s.Base)
	if err != nil || s.Stable {
		return nil, sdk.ErrNotOffered
	}
	via := &http.Client{Transport: host{platform}}
	return client{core.NewClient(core.NewDefaultAccessTokenServer(s.AppID, s.Secret, via), via), web.NewEndpoint(s.AppID, s.Secret)}, nil
}

func (c client) Addresses() error {
	_, err := base.GetCallbackIP(c.core)
	return sdk.Told(err)
}

func (c client) Send(customer, text string) error {
	return sdk.Told(custom.Send(c.core, custom.NewText(customer, text, "")))
}

func (c client) CreateMenu(name string) error {
	var button menu.Button
	button.SetAsClickButton(name, "V1")
	return sdk.Told(menu.Create(c.core, &menu.Menu{Buttons: []menu.Button{button}}))
}

func (c client) Upload(file string) (string, error) {
	info, err := media.UploadImage(c.core, file)
	if err != nil {
		return "", sdk.Told(err)
	}
	return info.MediaId, nil
}

func (c client) Download(mediaID string) ([]byte, error) {
	var file bytes.Buffer
	_, err := media.DownloadToWriter(c.core, mediaID, &file)
	return file.Bytes(), sdk.Told(err)
}

func (c client) Session(call sdk.SessionCall, agent, customer string) (err error) {
	switch call {
	case sdk.CreateSession:
		err = session.Create(c.core, customer, agent, "您好 <&>")
	case sdk.GetSession:
		_, err = session.Get(c.core, customer)
	case sdk.ListSessions:
		_, err = session.List(c.core, agent)
	case sdk.WaitingCases:
		_, err = session.WaitCaseList(c.core)
	case sdk.CloseSession:
		err = session.Close(c.core, customer, agent, "再见 <&>")
	}
	return sdk.Told(err)
}

func (c client) LogIn(code string) (string, error) {
	user := &oauth2.Client{Endpoint: c.endpoint, HttpClient: c.core.HttpClient}
	token, err := user.ExchangeToken(code)
	if err != nil {
		return "", sdk.Told(err)
	}
	info, err := web.GetUserInfo(token.AccessToken, token.OpenId, "", c.core.HttpClient)
	if err != nil {
		return "", sdk.Told(err)
	}
	return info.OpenId, nil
}

func (c client) LogInMini(code string) (string, error) {
	session, err := web.GetSessionWithClient(c.endpoint, code, c.core.HttpClient)
	if err != nil {
		return "", sdk.Told(err)
	}
	return session.OpenId, nil
}

func (c client) Close() {}
