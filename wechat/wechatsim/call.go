package wechatsim

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"wxplatform/wechat"
)

const maxRequestBody = 1 << 20

// request has the fields of all bodies: WeChat ignores those that an API does not have.
type request struct {
	ComponentAppID     wechat.AppID     `json:"component_appid"`
	ComponentAppSecret string           `json:"component_appsecret"`
	ComponentSecret    string           `json:"component_secret"`
	Ticket             string           `json:"component_verify_ticket"`
	AuthorizationCode  string           `json:"authorization_code"`
	AuthorizerAppID    wechat.AppID     `json:"authorizer_appid"`
	RefreshToken       string           `json:"authorizer_refresh_token"`
	Offset             int              `json:"offset"`
	Count              int              `json:"count"`
	AppID              wechat.AppID     `json:"appid"`
	AppSecret          string           `json:"appsecret"`
	CGIPath            string           `json:"cgi_path"`
	MediaID            string           `json:"media_id"`
	Scene              string           `json:"scene"`
	KFAccount          wechat.KFAccount `json:"kf_account"`
	OpenID             wechat.OpenID    `json:"openid"`
	ToUser             wechat.OpenID    `json:"touser"`
	MsgType            string           `json:"msgtype"`
	Text               messageText      `json:"text"`
	Button             json.RawMessage  `json:"button"`
	Remark             string           `json:"remark"`
	CustomService      struct {
		KFAccount wechat.KFAccount `json:"kf_account"`
	} `json:"customservice"`
}

// call is one request to the API. It is read before the lock is taken.
type call struct {
	endpoint
	url     string // its path, even if there is no such API
	used    string // its HTTP method
	query   url.Values
	address string
	token   string
	means   code
	genuine bool // token was issued by this simulator
	body    request
	form    form
	bodyErr error
	appID   wechat.AppID // of the authorizer that it is about, if any
	account *account     // the owner of its access token
	login   *login       // of the user whose token it carries
	fault   string       // the fault that struck it
}

// messageText is the text of a message. Calls about sessions may have a plain string there, which
// is not looked at.
type messageText struct{ Content string }

// UnmarshalJSON reads {"content":"…"}, or ignores a string.
func (t *messageText) UnmarshalJSON(text []byte) error {
	if bytes.HasPrefix(text, []byte(`"`)) {
		return nil
	}
	var object struct {
		Content string `json:"content"`
	}
	err := json.Unmarshal(text, &object)
	t.Content = object.Content
	return err
}

func (s *Sim) serveAPI(w http.ResponseWriter, r *http.Request) {
	if len(r.TransferEncoding) > 0 { // of chunks
		s.gatewayPage(http.StatusPreconditionFailed).write(w)
		return
	}
	c := s.readCall(r)
	f := s.arrive(c)
	if f.strikes(Before) {
		s.hold(f)
		if f.answers() {
			s.note(c, f.Code)
			s.strike(w, r, f, reply{})
			return
		}
	}
	if c.endpoint.uploads {
		c.form, c.bodyErr = readForm(r)
	}
	a := s.perform(c)
	if f.strikes(After) {
		s.hold(f)
		if f.answers() {
			s.strike(w, r, f, s.answers(a))
			return
		}
	}
	s.respond(w, r, a)
}

func (s *Sim) readCall(r *http.Request) *call {
	query := r.URL.Query()
	c := &call{endpoint: s.apis[r.URL.Path], url: r.URL.Path, used: r.Method, query: query}
	c.address, _, _ = net.SplitHostPort(r.RemoteAddr)
	c.token = query.Get("access_token")
	if c.needs != ofAuthorizer && c.needs != ofUser && c.token == "" {
		c.token = query.Get("component_access_token")
	}
	if c.token != "" {
		c.means, c.genuine = s.codes.read(c.token, componentToken, accessToken, userToken)
	}
	c.bodyErr = c.readBody(r)
	return c
}

func (c *call) readBody(r *http.Request) error {
	if r.Method == http.MethodGet || c.endpoint.uploads {
		c.body.ComponentAppID = wechat.AppID(c.query.Get("component_appid"))
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequestBody))
	if err != nil {
		return refuse(47001)
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return refuse(44002)
	}
	if err := json.Unmarshal(body, &c.body); err != nil {
		return refuse(47001)
	}
	return nil
}

// arrive counts the call and takes the fault for it, if there is one.
func (s *Sim) arrive(c *call) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.appID = s.concerns(c)
	if c.act != nil || len(s.counts) < maxCountedPaths {
		s.counts[c.url]++
	}
	f := s.takeFault(c)
	c.fault = f.describe()
	return f
}

// concerns returns the authorizer that a call is about: the owner of its access token or auth code,
// or the one that it names.
func (s *Sim) concerns(c *call) wechat.AppID {
	owner, known := c.means.owner, c.genuine && c.means.kind == accessToken
	if text := c.body.AuthorizationCode; text != "" {
		means, genuine := s.codes.read(text, authCode)
		owner, known = means.owner, genuine
	}
	if a := s.at(owner); known && a != nil {
		return a.appID
	}
	return c.body.AuthorizerAppID
}

// perform carries out the call and logs its result.
func (s *Sim) perform(c *call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	result, err := s.admitAndAct(c)
	a := s.answerOf(result, err)
	s.log(c, a.code)
	if s.behaviour.Field && !a.isFile {
		a = s.makeOdd(c, a)
	}
	return a
}

func (s *Sim) respond(w http.ResponseWriter, r *http.Request, a answer) {
	if _, can := w.(http.Hijacker); can && a.closes {
		s.strike(w, r, &Fault{Wire: CloseAfter}, s.answers(a))
		return
	}
	s.answers(a).write(w)
}

// admitAndAct checks in WeChat's order: the call itself, the token, the IP address, the quota, the
// body, the permissions.
func (s *Sim) admitAndAct(c *call) (any, error) {
	for _, check := range []func(*call) error{s.checkMethod, s.checkToken, s.checkAddress, s.spendQuota, checkBody, s.checkComponent, s.checkPowers} {
		if err := check(c); err != nil {
			return nil, err
		}
	}
	return c.act(s, c)
}

func (s *Sim) checkMethod(c *call) error {
	switch {
	case c.act == nil:
		return refuse(40066)
	case c.used != c.method && c.method == http.MethodPost:
		return refuse(43002)
	case c.used != c.method:
		return refuse(43001)
	}
	return nil
}

func (s *Sim) checkToken(c *call) error {
	switch {
	case c.needs == noToken:
		return nil
	case c.token == "":
		return refuse(41001)
	case !c.genuine:
		return refuse(40001)
	case c.needs == ofUser:
		return s.checkUserToken(c)
	case c.needs == ofComponent && c.means.kind == accessToken:
		return refuse(61014)
	case c.needs == ofAuthorizer && c.means.kind == componentToken:
		return refuse(s.wrongKind())
	case c.means.kind == componentToken:
		return s.componentTokens.check(c.means.number, s.now())
	}
	return s.checkAccessToken(c)
}

func (s *Sim) wrongKind() int {
	if s.behaviour.Code61015 {
		return 61015
	}
	return 48001
}

func (s *Sim) checkAccessToken(c *call) error {
	c.account = s.at(c.means.owner)
	if c.account == nil {
		return refuse(40001)
	}
	if c.account.grant == nil {
		return refuse(61003)
	}
	return c.account.grant.access.check(c.means.number, s.now())
}

func (s *Sim) checkAddress(c *call) error {
	if s.allowedIPs == nil || s.allowedIPs[c.address] {
		return nil
	}
	return &Refusal{Code: 61004, detail: " requestIP: " + c.address}
}

func checkBody(c *call) error { return c.bodyErr }

// checkComponent checks component_appid, which all component APIs but the newer quota calls
// require.
func (s *Sim) checkComponent(c *call) error {
	named := c.body.ComponentAppID
	switch {
	case c.needs != ofComponent && c.needs != noToken:
		return nil
	case named == "":
		return refuse(41018)
	case !appIDFormat.MatchString(string(named)):
		return refuse(40013)
	case named != s.config.AppID:
		return refuse(61011)
	}
	return nil
}

// checkPowers checks first what the merchant granted, then whether the account has the API: a
// merchant can grant a set for an API that its account does not have.
func (s *Sim) checkPowers(c *call) error {
	if c.account == nil {
		return nil
	}
	if len(c.sets) > 0 && !anyOf(c.account.grant.sets, c.sets) {
		return refuse(61007)
	}
	if c.suits != nil && !c.suits(c.account.details()) {
		return refuse(48001)
	}
	return nil
}

func anyOf(granted, wanted []wechat.PermissionSet) bool {
	return slices.ContainsFunc(granted, func(set wechat.PermissionSet) bool { return slices.Contains(wanted, set) })
}

// hold delays a call as its fault says. The wait ends early only if the simulator is closed: a
// client that hangs up does not stop WeChat.
func (s *Sim) hold(f *Fault) {
	s.wait(f.Delay)
	if f.Hold != nil {
		select {
		case <-f.Hold:
		case <-s.life.Done():
		}
	}
}

func (s *Sim) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.life.Done():
	}
}
