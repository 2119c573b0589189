package wechatsim

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"time"

	"wxplatform/wechat"
)

// authorizePath is the page on which a user logs in to a merchant's web page.
const authorizePath = "/connect/oauth2/authorize"

// The scopes of a login to a web page. Only the second lets the profile be read.
const (
	ScopeBase     = "snsapi_base"
	ScopeUserInfo = "snsapi_userinfo"
)

// login is what a code or a token of a user stands for.
type login struct {
	owner   uint32
	openID  wechat.OpenID
	scope   string
	expires time.Time
	used    bool
}

func loginAPIs() []endpoint {
	return []endpoint{
		{path: "/sns/component/jscode2session", method: "GET", needs: ofComponent, act: (*Sim).codeToSession},
		{path: "/sns/oauth2/component/access_token", method: "GET", needs: ofComponent, act: (*Sim).codeToUserTokens},
		{path: "/sns/oauth2/component/refresh_token", method: "GET", needs: ofComponent, act: (*Sim).refreshUserToken},
		{path: "/sns/userinfo", method: "GET", needs: ofUser, act: (*Sim).userInfo},
		{path: "/sns/auth", method: "GET", needs: ofUser, act: (*Sim).checkUser},
	}
}

// LogIn logs a user in to an account, and returns the code that the mini program or the web page
// gets. scope is for web pages; "" means ScopeBase. It fails with ErrUnknownAccount.
func (s *Sim) LogIn(id wechat.AppID, user wechat.OpenID, scope string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.find(id)
	if a == nil {
		return "", ErrUnknownAccount
	}
	number := s.nextNumber()
	in := &login{owner: a.place, openID: user, scope: cmp.Or(scope, ScopeBase), expires: s.now().Add(s.config.Times.LoginCode)}
	s.loginCodes.put(number, in, s.now())
	return s.codes.write(code{kind: loginCode, owner: a.place, number: number}), nil
}

func (s *Sim) codeToSession(c *call) (any, error) {
	in, err := s.burnLogin(c, "js_code", true)
	if err != nil {
		return nil, err
	}
	key := sha256.Sum256([]byte(c.query.Get("js_code")))
	return map[string]string{
		"session_key": base64.StdEncoding.EncodeToString(key[:16]), "openid": string(in.openID), "unionid": unionID(in.openID),
	}, nil
}

// userTokens is the answer that holds them.
type userTokens struct {
	AccessToken  string        `json:"access_token"`
	ExpiresIn    int           `json:"expires_in"`
	RefreshToken string        `json:"refresh_token"`
	OpenID       wechat.OpenID `json:"openid"`
	Scope        string        `json:"scope"`
	UnionID      string        `json:"unionid,omitempty"`
}

func (s *Sim) codeToUserTokens(c *call) (any, error) {
	in, err := s.burnLogin(c, "code", false)
	if err != nil {
		return nil, err
	}
	number := s.nextNumber()
	s.userRefreshes[number] = login{owner: in.owner, openID: in.openID, scope: in.scope, expires: s.now().Add(s.config.Times.UserRefresh)}
	return s.newUserTokens(number), nil
}

// newUserTokens returns a new access token with the refresh token of that number.
func (s *Sim) newUserTokens(refresh uint64) userTokens {
	of, number := s.userRefreshes[refresh], s.nextNumber()
	access := of
	access.expires = s.now().Add(s.config.Times.UserToken)
	s.userLogins.put(number, &access, s.now())
	s.lastLogin = userTokens{
		s.codes.write(code{kind: userToken, owner: of.owner, number: number}), seconds(s.config.Times.UserToken),
		s.codes.write(code{kind: userRefresh, owner: of.owner, number: refresh}), of.openID, of.scope, "",
	}
	if of.scope == ScopeUserInfo {
		s.lastLogin.UnionID = unionID(of.openID)
	}
	return s.lastLogin
}

// LastUserTokens returns the access token and the refresh token of the user who logged in to a web
// page last, or "" if nobody did.
func (s *Sim) LastUserTokens() (access, refresh string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastLogin.AccessToken, s.lastLogin.RefreshToken
}

// burnLogin uses up the code of a user of the account that the call names.
func (s *Sim) burnLogin(c *call, parameter string, mini bool) (*login, error) {
	a, err := s.loginAccount(c, mini)
	if err != nil {
		return nil, err
	}
	text := c.query.Get(parameter)
	means, genuine := s.codes.read(text, loginCode)
	known := s.loginCodes.items[means.number]
	switch {
	case c.query.Get("grant_type") != "authorization_code":
		return nil, refuse(40002)
	case text == "":
		return nil, refuse(41008)
	case !genuine, known == nil, known.owner != a.place, !s.now().Before(known.expires):
		return nil, refuse(40029)
	case known.used:
		return nil, refuse(40163)
	}
	known.used = true
	return known, nil
}

// loginAccount returns the account that a call names. Some of the calls are for mini programs only,
// and the others for all other accounts.
func (s *Sim) loginAccount(c *call, mini bool) (*account, error) {
	a, err := s.authorizedAccount(wechat.AppID(c.query.Get("appid")))
	if err == nil && (a.details().Kind == MiniProgram) != mini {
		err = refuse(48001)
	}
	return a, err
}

func (s *Sim) refreshUserToken(c *call) (any, error) {
	a, err := s.loginAccount(c, false)
	if err != nil {
		return nil, err
	}
	means, genuine := s.codes.read(c.query.Get("refresh_token"), userRefresh)
	known, kept := s.userRefreshes[means.number]
	switch {
	case c.query.Get("grant_type") != "refresh_token":
		return nil, refuse(40002)
	case c.query.Get("refresh_token") == "":
		return nil, refuse(41003)
	case !genuine, !kept, known.owner != a.place:
		return nil, refuse(40030)
	case !s.now().Before(known.expires):
		return nil, refuse(42002)
	}
	return s.newUserTokens(means.number), nil
}

func (s *Sim) checkUserToken(c *call) error {
	in := s.userLogins.items[c.means.number]
	switch {
	case c.means.kind != userToken || in == nil:
		return refuse(40001)
	case !s.now().Before(in.expires):
		return refuse(42001)
	}
	c.login = in
	return nil
}

func (s *Sim) userInfo(c *call) (any, error) {
	if err := c.checkOpenID(); err != nil {
		return nil, err
	}
	if c.login.scope != ScopeUserInfo {
		return nil, refuse(48001)
	}
	return map[string]any{
		"openid": c.login.openID, "nickname": nickName(c.login.openID), "sex": 0, "language": "", "city": "", "province": "", "country": "",
		"headimgurl": "https://thirdwx.qlogo.cn/mmopen/vi_32/simulated/132", "privilege": []string{}, "unionid": unionID(c.login.openID),
	}, nil
}

func (s *Sim) checkUser(c *call) (any, error) {
	if err := c.checkOpenID(); err != nil {
		return nil, err
	}
	return okAnswer, nil
}

func (c *call) checkOpenID() error {
	switch given := c.query.Get("openid"); given {
	case "":
		return refuse(41009)
	case string(c.login.openID):
		return nil
	}
	return refuse(40003)
}

// nickName is a user's name, in which < > & and a picture may occur.
func nickName(user wechat.OpenID) string {
	names := []string{"小雨", "张三", "李<小明>", "王&美丽 🌸"}
	sum := sha256.Sum256([]byte(user))
	if user == SampleCustomer {
		return "小雨 <&> 🌧"
	}
	return names[int(sum[0])%len(names)]
}

func unionID(user wechat.OpenID) string {
	sum := sha256.Sum256([]byte("unionid " + user))
	return "o6_" + base64.RawURLEncoding.EncodeToString(sum[:])[:25]
}

// serveAuthorize logs the sample customer in, and leads the browser back with a code.
func (s *Sim) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	target, err := url.Parse(query.Get("redirect_uri"))
	scope := query.Get("scope")
	switch {
	case query.Get("component_appid") != string(s.config.AppID):
		err = complain("component_appid 错误：没有这个第三方平台", "component_appid is not that of a third-party platform")
	case err != nil || target.Host == "":
		err = complain("redirect_uri 错误", "redirect_uri is not an address")
	case query.Get("response_type") != "code" || !slices.Contains([]string{ScopeBase, ScopeUserInfo}, scope):
		err = complain("response_type 或 scope 错误", "response_type or scope is wrong")
	}
	var given string
	if err == nil {
		given, err = s.LogIn(wechat.AppID(query.Get("appid")), SampleCustomer, scope)
	}
	if err != nil {
		s.showComplaint(w, err)
		return
	}
	s.writeDate(w)
	http.Redirect(w, r, withQuery(query.Get("redirect_uri"), url.Values{"code": {given}, "state": {query.Get("state")}}), http.StatusFound)
}
