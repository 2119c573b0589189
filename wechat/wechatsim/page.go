package wechatsim

import (
	"bytes"
	"errors"
	"html/template"
	"net/http"

	"wxplatform/wechat"
)

const frame = `<!DOCTYPE html>
<html lang="zh-CN">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>微信公众平台（模拟） WeChat simulator</title>
<style>
body { font: 16px/1.6 sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
details { border: 1px solid #ccc; border-radius: 8px; margin: 1rem 0; padding: .75rem 1rem }
label { display: block }
small { color: #777 }
button { background: #07c160; color: #fff; border: 0; border-radius: 6px; padding: .6rem 2rem; margin-top: 1rem; font: inherit }
</style>
</head>
<body>
{{template "content" .}}
</body>
</html>
`

const consentContent = `{{define "content"}}
<h1>授权第三方平台</h1>
<p>请选择要授权的帐号和权限集，然后确认。<br><small>Choose the account and what it grants to the platform, then consent. This is a simulator, not WeChat.</small></p>
{{range .}}
<details{{if .Open}} open{{end}}>
<summary><b>{{.Account.NickName}}</b> <small>{{.Account.AppID}} · {{.KindZH}} {{.Account.Kind}}</small></summary>
<form method="post">
<input type="hidden" name="appid" value="{{.Account.AppID}}">
{{range .Sets}}<label><input type="checkbox" name="set" value="{{.ID}}" checked> {{.ZH}} <small>{{.EN}} ({{.ID}})</small></label>
{{end}}<button type="submit">同意授权 Consent</button>
</form>
</details>
{{end}}
{{end}}`

const complaintContent = `{{define "content"}}
<h1>出错了</h1>
<p>{{.ZH}}</p>
<p><small>{{.EN}}</small></p>
{{end}}`

var (
	consentPage   = template.Must(template.Must(template.New("page").Parse(frame)).Parse(consentContent))
	complaintPage = template.Must(template.Must(template.New("page").Parse(frame)).Parse(complaintContent))
)

var kindNames = map[Kind]string{Subscription: "订阅号", Service: "服务号", MiniProgram: "小程序"}

type shownAccount struct {
	Account Account
	KindZH  string
	Open    bool
	Sets    []shownSet
}

type shownSet struct {
	ID     wechat.PermissionSet
	ZH, EN string
}

// showConsent has a form for each account, so that the page works without a script. The forms are
// posted to the link itself.
func (s *Sim) showConsent(w http.ResponseWriter, i *invitation) {
	var shown []shownAccount
	for n, a := range i.accounts {
		account := shownAccount{Account: a, KindZH: kindNames[a.Kind], Open: n == 0}
		for _, set := range s.offeredIn(a, i.sets) {
			account.Sets = append(account.Sets, shownSet{set.id, set.zh, set.en})
		}
		shown = append(shown, account)
	}
	s.showPage(w, consentPage, shown)
}

// showComplaint answers 200: a browser shows the page all the same.
func (s *Sim) showComplaint(w http.ResponseWriter, err error) {
	var c *complaint
	if !errors.As(err, &c) {
		c = &complaint{"系统错误", "system error"}
	}
	s.showPage(w, complaintPage, c)
}

func (s *Sim) showPage(w http.ResponseWriter, page *template.Template, content any) {
	var b bytes.Buffer
	if err := page.Execute(&b, content); err != nil {
		panic("wechatsim: a page of our own: " + err.Error())
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	w.Header().Set("Cache-Control", "no-store")
	s.writeDate(w)
	_, _ = w.Write(b.Bytes())
}
