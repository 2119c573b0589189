// Package replay stands for SDKs that do not run here, because their languages are not installed.
// It sends the bytes that their sources send, over plain TCP, and reads each answer by the rules of
// their sources: WxJava 4.7.2, EasyWeChat 6.19 and 5.36, Senparc.Weixin of August 2026, and
// wechatpy 2.0.0.alpha26. What a source leaves to its HTTP library is what that library sends.
package replay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"wxplatform/bench/sdk/sdk"
)

// dialect is how one SDK speaks and reads.
type dialect struct {
	name     string
	root     string   // in front of WeChat's paths: WxJava's README ends the host with a slash
	fields   []string // of each request's header
	json     string   // Content-Type of JSON; "" sends none
	blanks   bool     // JSON has a blank after each colon and comma
	slashes  bool     // JSON escapes slashes
	last     bool     // access_token comes last in the query
	stable   string   // the body of stable_token, or "" if the SDK does not send it to a host by configuration
	part     string   // header of a file's part
	expects  bool     // large bodies wait for 100 Continue
	logsIn   bool     // the login of web pages goes to a host by configuration
	always   bool     // every call has an access_token, also the login of mini programs
	renews   []int    // after these errcodes the call is repeated with a new token
	times    int      // so often
	busy     int      // after -1 the call is repeated so often
	readJSON func(said) (object, error)
	readFile func(said) ([]byte, error)
}

// client is a dialect with an empty token cache.
type client struct {
	dialect
	sdk.Settings
	host  string
	token string
}

// open returns how a dialect is opened.
func (d dialect) open(s sdk.Settings) (sdk.Client, error) {
	if s.Stable && d.stable == "" {
		return nil, sdk.ErrNotOffered
	}
	base, err := url.Parse(s.Base)
	if err != nil {
		return nil, err
	}
	return &client{dialect: d, Settings: s, host: base.Host}, nil
}

func (c *client) Addresses() error {
	_, err := c.get("/cgi-bin/getcallbackip", "")
	return err
}

func (c *client) Send(customer, text string) error {
	return c.post("/cgi-bin/message/custom/send", `{"touser":`+quoted(customer)+`,"msgtype":"text","text":{"content":`+quoted(text)+`}}`)
}

func (c *client) CreateMenu(name string) error {
	return c.post("/cgi-bin/menu/create", `{"button":[{"type":"click","name":`+quoted(name)+`,"key":"V1"}]}`)
}

func (c *client) Session(call sdk.SessionCall, agent, customer string) (err error) {
	const base = "/customservice/kfsession/"
	pair := `{"kf_account":` + quoted(agent) + `,"openid":` + quoted(customer) + `}`
	switch call {
	case sdk.CreateSession:
		err = c.post(base+"create", pair)
	case sdk.GetSession:
		_, err = c.get(base+"getsession", "openid="+customer)
	case sdk.ListSessions:
		_, err = c.get(base+"getsessionlist", "kf_account="+agent)
	case sdk.WaitingCases:
		_, err = c.get(base+"getwaitcase", "")
	case sdk.CloseSession:
		err = c.post(base+"close", pair)
	}
	return err
}

const boundary = "----boundary7MA4YWxkTrZu0gW"

func (c *client) Upload(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	part := strings.ReplaceAll(c.part, "LENGTH", fmt.Sprint(len(data)))
	body := bytes.Join([][]byte{[]byte("--" + boundary + "\r\n" + part + "\r\n\r\n"), data, []byte("\r\n--" + boundary + "--\r\n")}, nil)
	answer, err := c.call(request{method: "POST", path: "/cgi-bin/media/upload", query: "type=image", contentType: "multipart/form-data; boundary=" + boundary, body: body})
	if err != nil {
		return "", err
	}
	return answer.text("media_id")
}

func (c *client) Download(mediaID string) ([]byte, error) {
	token, err := c.ensure()
	if err != nil {
		return nil, err
	}
	answer, err := c.send(request{method: "GET", path: "/cgi-bin/media/get", query: c.with("media_id="+mediaID, token)})
	if err != nil {
		return nil, err
	}
	return c.readFile(answer)
}

// LogIn exchanges the code, and reads the profile with the user's token.
func (c *client) LogIn(code string) (string, error) {
	if !c.logsIn {
		return "", sdk.ErrNotOffered
	}
	answer, err := c.ask(request{method: "GET", path: "/sns/oauth2/access_token", query: "appid=" + c.AppID + "&secret=" + c.Secret + "&code=" + code + "&grant_type=authorization_code"})
	if err != nil {
		return "", err
	}
	token, err := answer.text("access_token")
	if err != nil {
		return "", err
	}
	openid, err := answer.text("openid")
	if err != nil {
		return "", err
	}
	if answer, err = c.ask(request{method: "GET", path: "/sns/userinfo", query: "access_token=" + token + "&openid=" + openid + "&lang=zh_CN"}); err != nil {
		return "", err
	}
	return answer.text("openid")
}

// LogInMini: wechatpy adds its access token to this call, too.
func (c *client) LogInMini(code string) (string, error) {
	r := request{method: "GET", path: "/sns/jscode2session", query: "appid=" + c.AppID + "&secret=" + c.Secret + "&js_code=" + code + "&grant_type=authorization_code"}
	ask := c.ask
	if c.always {
		ask = c.call
	}
	answer, err := ask(r)
	if err != nil {
		return "", err
	}
	return answer.text("openid")
}

func (c *client) Close() {}

func (c *client) get(path, query string) (object, error) {
	return c.call(request{method: "GET", path: path, query: query})
}

func (c *client) post(path, body string) error {
	_, err := c.call(request{method: "POST", path: path, contentType: c.json, body: []byte(c.written(body))})
	return err
}

// call sends a request with the token, and repeats it as the SDK does.
func (c *client) call(r request) (object, error) {
	query, renewed, waited := r.query, 0, 0
	for {
		token, err := c.ensure()
		if err != nil {
			return nil, err
		}
		r.query = c.with(query, token)
		answer, err := c.ask(r)
		switch code := codeOf(err); {
		case slices.Contains(c.renews, code) && renewed < c.times:
			renewed++
			c.token = ""
		case code == -1 && waited < c.busy:
			waited++
		default:
			return answer, err
		}
	}
}

func (c *client) ask(r request) (object, error) {
	answer, err := c.send(r)
	if err != nil {
		return nil, err
	}
	return c.readJSON(answer)
}

// ensure returns the token in the cache, or asks for one.
func (c *client) ensure() (string, error) {
	if c.token != "" {
		return c.token, nil
	}
	credential := "grant_type=client_credential&appid=" + c.AppID + "&secret=" + c.Secret
	r := request{method: "GET", path: "/cgi-bin/token", query: credential}
	if c.Stable {
		body := strings.NewReplacer("APPID", c.AppID, "SECRET", c.Secret).Replace(c.stable)
		r = request{method: "POST", path: "/cgi-bin/stable_token", contentType: c.json, body: []byte(body)}
	}
	answer, err := c.ask(r)
	if err != nil {
		return "", err
	}
	if c.token, err = answer.text("access_token"); err != nil {
		return "", err
	}
	return c.token, answer.lives()
}

func (c *client) with(query, token string) string {
	parts := []string{"access_token=" + token}
	switch {
	case query != "" && c.last:
		parts = []string{query, parts[0]}
	case query != "":
		parts = append(parts, query)
	}
	return strings.Join(parts, "&")
}

// written returns JSON as the SDK writes it.
func (c *client) written(body string) string {
	if c.blanks {
		body = strings.NewReplacer(`":`, `": `, `,"`, `, "`, `},{`, `}, {`).Replace(body)
	}
	if c.slashes {
		body = strings.ReplaceAll(body, "/", `\/`)
	}
	return body
}

// quoted returns a JSON string with < > & as they are.
func quoted(text string) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func codeOf(err error) int {
	if refused, ok := err.(*sdk.Refused); ok {
		return refused.Code
	}
	return 0
}
