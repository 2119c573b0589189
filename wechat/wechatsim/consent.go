package wechatsim

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"wxplatform/wechat"
)

// consentPaths are the consent pages: for a computer, for a phone, and the older one for a phone.
var consentPaths = map[string]bool{
	"/cgi-bin/componentloginpage": true,
	"/wxaopen/safe/bindcomponent": true,
	"/safe/bindcomponent":         true,
}

var (
	// ErrPreAuthCode says that a pre-auth code is unknown, expired or used.
	ErrPreAuthCode = errors.New("wechatsim: the pre-auth code is unknown, expired or used")
	// ErrInactive says that an account is cancelled, banned or frozen, so that its merchant cannot
	// consent.
	ErrInactive = errors.New("wechatsim: the account is cancelled, banned or frozen")
)

// Redirect holds the parameters with which WeChat redirects the merchant's browser.
type Redirect struct {
	AuthCode  string `json:"auth_code"`
	ExpiresIn int    `json:"expires_in"`
}

// AppendTo returns redirectURI with the parameters added to its own query.
func (r Redirect) AppendTo(redirectURI string) string {
	return withQuery(redirectURI, url.Values{"auth_code": {r.AuthCode}, "expires_in": {strconv.Itoa(r.ExpiresIn)}})
}

// Consent consents as a merchant does, without a browser. Without sets it grants all that are
// offered. It fails with ErrUnknownAccount, ErrInactive or ErrPreAuthCode.
func (s *Sim) Consent(_ context.Context, preAuthCode string, id wechat.AppID, sets ...wechat.PermissionSet) (Redirect, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.find(id)
	if a == nil {
		return Redirect{}, ErrUnknownAccount
	}
	if !a.details().filled(a.place).active() {
		return Redirect{}, ErrInactive
	}
	known := s.openPreAuth(preAuthCode)
	if known == nil {
		return Redirect{}, ErrPreAuthCode
	}
	known.used = true
	return s.authorize(a, s.orOffered(a, sets), preAuthCode), nil
}

// openPreAuth returns the state of a pre-auth code that can still be used, or nil.
func (s *Sim) openPreAuth(text string) *preAuth {
	c, genuine := s.codes.read(text, preAuthCode)
	known := s.preAuthCodes.items[c.number]
	if !genuine || known == nil || known.used || !s.now().Before(known.expires) {
		return nil
	}
	return known
}

// invitation is a valid link to the consent page.
type invitation struct {
	preAuthCode string
	redirectURI string
	accounts    []Account
	sets        []wechat.PermissionSet // nil means all
}

// complaint is the text of WeChat's error page.
type complaint struct{ ZH, EN string }

func (c *complaint) Error() string { return c.EN }

func complain(zh, en string, args ...any) error {
	return &complaint{fmt.Sprintf(zh, args...), fmt.Sprintf(en, args...)}
}

func (s *Sim) serveConsent(w http.ResponseWriter, r *http.Request) {
	invitation, err := s.readInvitation(r)
	if err != nil {
		s.showComplaint(w, err)
		return
	}
	if r.Method != http.MethodPost {
		s.showConsent(w, invitation)
		return
	}
	redirect, err := s.consentByForm(r, invitation)
	if err != nil {
		s.showComplaint(w, err)
		return
	}
	w.Header().Set("Referrer-Policy", "no-referrer")
	s.writeDate(w)
	http.Redirect(w, r, redirect.AppendTo(invitation.redirectURI), http.StatusFound)
}

// readInvitation checks the link as WeChat does. It checks the Referer only when the page is
// opened, because the form is posted from the page itself.
func (s *Sim) readInvitation(r *http.Request) (*invitation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	query := r.URL.Query()
	target, err := s.checkLink(query)
	if err == nil && r.Method != http.MethodPost {
		err = s.checkReferer(r.Referer(), target)
	}
	if err != nil {
		return nil, err
	}
	i := &invitation{preAuthCode: query.Get("pre_auth_code"), redirectURI: query.Get("redirect_uri")}
	if i.sets, err = parseSets(query.Get("category_id_list")); err != nil {
		return nil, err
	}
	i.accounts, err = s.candidates(query)
	return i, err
}

func (s *Sim) checkLink(query url.Values) (*url.URL, error) {
	if query.Get("component_appid") != string(s.config.AppID) {
		return nil, complain("component_appid 错误：没有这个第三方平台", "component_appid is not that of a third-party platform")
	}
	if s.openPreAuth(query.Get("pre_auth_code")) == nil {
		return nil, complain("链接已失效：pre_auth_code 不存在、已过期或已使用", "the link has ended: pre_auth_code is unknown, expired or used")
	}
	target, err := url.Parse(query.Get("redirect_uri"))
	if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
		return nil, complain("redirect_uri 错误", "redirect_uri is not an address")
	}
	return target, nil
}

// checkReferer requires that the linking page, the redirect and the registered domain have the same
// host.
func (s *Sim) checkReferer(referer string, target *url.URL) error {
	if s.behaviour.AnyReferer {
		return nil
	}
	host := "" // also without a Referer: WeChat then cannot know which page links
	if from, err := url.Parse(referer); err == nil {
		host = from.Host
	}
	registered := s.config.StartPageHost
	if host != "" && host == target.Host && (registered == "" || registered == host) {
		return nil
	}
	return complain(
		"请确认授权入口页所在域名，与授权后回调页的域名相同，并且，此两者都必须与申请第三方平台时填写的授权发起页域名相同。授权入口页所在域名：%s，授权后回调页的域名：%s，授权发起页域名：%s",
		"the page that links here, redirect_uri and the registered start page must be on the same host. The linking page's host (from Referer): %s; redirect_uri's host: %s; the registered host: %s",
		orNone(host), target.Host, orNone(registered))
}

func orNone(text string) string {
	if text == "" {
		return "（无 / none）"
	}
	return text
}

func parseSets(text string) ([]wechat.PermissionSet, error) {
	if text == "" {
		return nil, nil
	}
	var sets []wechat.PermissionSet
	for part := range strings.SplitSeq(text, "|") {
		id, err := strconv.Atoi(part)
		if err != nil {
			return nil, complain("category_id_list 错误", "category_id_list is not numbers joined by |")
		}
		sets = append(sets, wechat.PermissionSet(id))
	}
	return sets, nil
}

// maxOffered limits the length of the page.
const maxOffered = 50

// candidates returns the accounts that the merchant may choose from. biz_appid takes precedence
// over auth_type.
func (s *Sim) candidates(query url.Values) ([]Account, error) {
	if id := wechat.AppID(query.Get("biz_appid")); id != "" {
		return s.onlyCandidate(id)
	}
	suits, err := kindsOf(query.Get("auth_type"))
	if err != nil {
		return nil, err
	}
	var offered []Account
	for place := 0; place < len(s.accounts) && len(offered) < maxOffered; place++ {
		if a := s.accounts[place]; a != nil && a.profile != nil && a.profile.active() && suits(a.profile.Kind) {
			offered = append(offered, *a.profile)
		}
	}
	if len(offered) == 0 {
		return nil, complain("没有可授权的帐号", "you administer no account of this kind")
	}
	return offered, nil
}

func (s *Sim) onlyCandidate(id wechat.AppID) ([]Account, error) {
	a := s.find(id)
	if a == nil || !a.details().filled(a.place).active() {
		return nil, complain("您不是 biz_appid 指定帐号的管理员", "you do not administer the account that biz_appid names")
	}
	return []Account{a.details().filled(a.place)}, nil
}

// kindsOf reads auth_type: 1 is official accounts, 2 mini programs, 3 both and the default, 6 all.
// No account here is of the kinds 4, 5 and 8.
func kindsOf(authType string) (func(Kind) bool, error) {
	switch authType {
	case "", "3", "6":
		return func(Kind) bool { return true }, nil
	case "1":
		return func(k Kind) bool { return k != MiniProgram }, nil
	case "2":
		return func(k Kind) bool { return k == MiniProgram }, nil
	case "4", "5", "8":
		return func(Kind) bool { return false }, nil
	}
	return nil, complain("auth_type 错误", "auth_type is not one of 1, 2, 3, 4, 5, 6, 8")
}

// consentByForm accepts only what the page offered.
func (s *Sim) consentByForm(r *http.Request, i *invitation) (Redirect, error) {
	r.Body = http.MaxBytesReader(nil, r.Body, maxRequestBody)
	if err := r.ParseForm(); err != nil {
		return Redirect{}, complain("表单错误", "the form cannot be read")
	}
	id := wechat.AppID(r.PostForm.Get("appid"))
	at := slices.IndexFunc(i.accounts, func(a Account) bool { return a.AppID == id })
	if at < 0 {
		return Redirect{}, complain("不能授权这个帐号", "this account was not offered")
	}
	chosen := s.chosenSets(r.PostForm["set"], i.accounts[at], i.sets)
	if len(chosen) == 0 {
		return Redirect{}, complain("请至少选择一个权限集", "at least one permission set must be chosen")
	}
	redirect, err := s.Consent(r.Context(), i.preAuthCode, id, chosen...)
	if err != nil {
		return Redirect{}, complain("授权失败，请重新打开链接", "consent failed: %v", err)
	}
	return redirect, nil
}

func (s *Sim) chosenSets(ticked []string, a Account, only []wechat.PermissionSet) []wechat.PermissionSet {
	var chosen []wechat.PermissionSet
	for _, set := range s.offeredIn(a, only) {
		if slices.Contains(ticked, strconv.Itoa(int(set.id))) {
			chosen = append(chosen, set.id)
		}
	}
	return chosen
}

func (s *Sim) offeredIn(a Account, only []wechat.PermissionSet) []permissionSet {
	return slices.DeleteFunc(s.offered(a.Kind), func(set permissionSet) bool {
		return only != nil && !slices.Contains(only, set.id)
	})
}
