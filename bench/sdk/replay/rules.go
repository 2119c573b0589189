package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"wxplatform/bench/sdk/sdk"
)

// Open returns a function that opens the SDK with this name.
func Open(name string) func(sdk.Settings) (sdk.Client, error) {
	all := dialects()
	return all[slices.IndexFunc(all, func(d dialect) bool { return d.name == name })].open
}

func dialects() []dialect {
	accepts := "Accept: */*"
	return []dialect{
		{
			name: "WxJava", root: "/", fields: []string{"Connection: Keep-Alive", "User-Agent: Apache-HttpClient/4.5.13 (Java/1.8.0_392)", "Accept-Encoding: gzip,deflate"},
			json: "application/json; charset=utf-8", last: true,
			stable: `{"grant_type":"client_credential","appid":"APPID","secret":"SECRET","force_refresh":false}`,
			part:   "Content-Disposition: form-data; name=\"media\"; filename=\"照片 1.jpg\"\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary",
			renews: []int{40001, 40014, 42001}, times: 1, busy: 5, logsIn: true, readJSON: wxJava, readFile: wxJavaFile,
		},
		{
			name: "EasyWeChat 6", fields: []string{accepts, "User-Agent: Symfony HttpClient (Curl)", "Accept-Encoding: gzip"},
			json: "application/json", slashes: true,
			part:     "Content-Type: image/jpeg\r\nContent-Transfer-Encoding: 8bit\r\nContent-Disposition: form-data; name=\"media\"; filename=\"photo.jpg\"",
			readJSON: symfony, readFile: symfonyFile,
		},
		{
			name: "EasyWeChat 5", fields: []string{"User-Agent: GuzzleHttp/7"}, json: "application/json", slashes: true,
			part:    "Content-Disposition: form-data; name=\"media\"; filename=\"photo.jpg\"\r\nContent-Length: LENGTH\r\nContent-Type: image/jpeg",
			expects: true, renews: []int{40001, 40014, 42001}, times: 1, readJSON: guzzle, readFile: guzzleFile,
		},
		{
			name: "Senparc", fields: []string{"Accept: text/html, application/xhtml+xml, */*", "User-Agent: Mozilla/5.0", "Cache-Control: max-age=0"}, json: "text/xml",
			part:   "Content-Disposition: form-data; name=\"media\"; filename=\"photo.jpg\"\r\nContent-Type: application/octet-stream",
			renews: []int{40001}, times: 1, logsIn: true, readJSON: senparc, readFile: anyFile,
		},
		{
			name: "wechatpy", fields: []string{"User-Agent: python-requests/2.31.0", "Accept-Encoding: gzip, deflate", accepts, "Connection: keep-alive"}, blanks: true,
			part:   "Content-Disposition: form-data; name=\"media\"; filename=\"photo.jpg\"",
			renews: []int{40001, 40014, 42001}, times: 500, always: true, readJSON: wechatpy, readFile: anyFile,
		},
	}
}

// object is a JSON object as the SDK got it.
type object map[string]json.RawMessage

func (o object) text(name string) (string, error) {
	var text string
	if err := json.Unmarshal(o[name], &text); err != nil || text == "" {
		return "", fmt.Errorf("%s is missing or no text: %s", name, o[name])
	}
	return text, nil
}

// number returns a member that a typed SDK reads as an int, or 0 if there is none or null.
func (o object) number(name string) (int, error) {
	raw, has := o[name]
	if !has || string(raw) == "null" {
		return 0, nil
	}
	n, err := strconv.Atoi(string(raw))
	if err != nil || n > math.MaxInt32 || n < math.MinInt32 {
		return 0, fmt.Errorf("%s is no int: %s", name, raw)
	}
	return n, nil
}

// lives fails unless expires_in leaves every margin: Senparc's is 600 s.
func (o object) lives() error {
	seconds, err := o.number("expires_in")
	if err == nil && seconds <= 600 {
		err = fmt.Errorf("expires_in is %d", seconds)
	}
	return err
}

// refusal returns a *sdk.Refused if errcode is not 0.
func (o object) refusal() error {
	code, err := o.number("errcode")
	if err != nil || code == 0 {
		return err
	}
	message, _ := o.text("errmsg")
	return &sdk.Refused{Code: code, Text: message}
}

func parsed(body []byte) (object, error) {
	var o object
	if err := json.Unmarshal(body, &o); err != nil || o == nil {
		return nil, fmt.Errorf("no JSON object: %.100q", body)
	}
	return o, o.refusal()
}

// wxJava fails at a status from 300 on, and at an empty body. An errcode that is absent or null is
// 0.
func wxJava(a said) (object, error) {
	switch {
	case a.status >= 300:
		return nil, fmt.Errorf("status %d, body unread", a.status)
	case len(a.body) == 0:
		return nil, errors.New("无响应内容")
	}
	return parsed(a.body)
}

// wxJavaFile takes what begins with application/json for an error, and all else for a file.
func wxJavaFile(a said) ([]byte, error) {
	if strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		_, err := wxJava(a)
		return nil, errors.Join(err, errors.New("got JSON, want a file"))
	}
	return a.body, nil
}

var saysJSON = regexp.MustCompile(`(?i)\bjson\b`)

// symfony throws at a status from 300 on, unless it is a token call, and at a Content-Type without
// the word json.
func symfony(a said) (object, error) {
	switch {
	case a.status >= 300 && !strings.Contains(a.path, "token"):
		return nil, fmt.Errorf("status %d, body unread", a.status)
	case !saysJSON.MatchString(a.header.Get("Content-Type")):
		return nil, fmt.Errorf("the Content-Type is %q", a.header.Get("Content-Type"))
	}
	return parsed(a.body)
}

func symfonyFile(a said) ([]byte, error) {
	if saysJSON.MatchString(a.header.Get("Content-Type")) {
		_, err := symfony(a)
		return nil, errors.Join(err, errors.New("got JSON, want a file"))
	}
	return a.body, nil
}

// guzzle throws at a status from 400 on. EasyWeChat 5 takes a body for XML if its Content-Type says
// so, and removes control characters from JSON.
func guzzle(a said) (object, error) {
	switch {
	case a.status >= 400:
		return nil, fmt.Errorf("status %d", a.status)
	case strings.Contains(a.header.Get("Content-Type"), "xml"):
		return nil, errors.New("taken for XML")
	}
	return parsed(bytes.Map(func(r rune) rune {
		if r < ' ' {
			return -1
		}
		return r
	}, a.body))
}

// guzzleFile takes what begins with a brace for an error.
func guzzleFile(a said) ([]byte, error) {
	if len(a.body) == 0 || a.body[0] == '{' {
		_, err := guzzle(a)
		return nil, errors.Join(err, errors.New("Invalid media response content."))
	}
	return a.body, nil
}

// senparc throws at another status than 2xx if the request was a GET; the rule is kept for all. It
// looks for the word errcode, and takes a token of up to 32 characters for an appid.
func senparc(a said) (object, error) {
	if a.status < 200 || a.status > 299 {
		return nil, fmt.Errorf("status %d", a.status)
	}
	o, err := parsed(a.body)
	if token, _ := o.text("access_token"); token != "" && len(token) <= 32 {
		return nil, errors.New("the token is taken for an appid")
	}
	return o, err
}

// wechatpy raises at a status from 400 on. An answer with an errcode other than 0 needs an errmsg,
// and expires_in must be a number.
func wechatpy(a said) (object, error) {
	if a.status >= 400 {
		return nil, fmt.Errorf("status %d, errcode None", a.status)
	}
	o, err := parsed(a.body)
	if _, has := o["errmsg"]; codeOf(err) != 0 && !has {
		return nil, errors.New("KeyError: errmsg")
	}
	return o, err
}

// anyFile takes every body for a file that is no JSON object.
func anyFile(a said) ([]byte, error) {
	if _, err := parsed(a.body); err == nil || codeOf(err) != 0 {
		return nil, errors.Join(err, errors.New("got JSON, want a file"))
	}
	return a.body, nil
}
