package wechatsim

import (
	"slices"
	"time"

	"wxplatform/wechat"
)

// auth is the state of an auth code.
type auth struct {
	owner   uint32
	grant   *grant
	expires time.Time
	used    bool
}

type tokenAnswer struct {
	AccessToken  string `json:"authorizer_access_token"`
	ExpiresIn    int    `json:"expires_in"`
	RefreshToken string `json:"authorizer_refresh_token"`
}

type funcInfo struct {
	Category struct {
		ID wechat.PermissionSet `json:"id"`
	} `json:"funcscope_category"`
}

func funcInfos(sets []wechat.PermissionSet) []funcInfo {
	infos := make([]funcInfo, len(sets))
	for i, set := range sets {
		infos[i].Category.ID = set
	}
	return infos
}

// queryAuth uses up the code: a second exchange is refused as invalid.
func (s *Sim) queryAuth(c *call) (any, error) {
	a, err := s.burn(c.body.AuthorizationCode)
	if err != nil {
		return nil, err
	}
	if s.behaviour.RotateOnExchange {
		s.renewRefreshToken(a.grant, s.config.Times.RefreshGrace)
	}
	a.grant.exchanged, a.grant.told = true, c.fault == ""
	type info struct {
		AppID wechat.AppID `json:"authorizer_appid"`
		tokenAnswer
		FuncInfo []funcInfo `json:"func_info"`
	}
	return struct {
		Info info `json:"authorization_info"`
	}{info{a.appID, s.newAccessToken(a), funcInfos(a.grant.sets)}}, nil
}

func (s *Sim) burn(text string) (*account, error) {
	c, genuine := s.codes.read(text, authCode)
	if !genuine {
		return nil, refuse(61009)
	}
	known := s.authCodes.items[c.number]
	switch {
	case known == nil: // it is genuine, so it was forgotten because it is old
		return nil, refuse(61010)
	case known.used:
		return nil, refuse(61009)
	case !s.now().Before(known.expires):
		return nil, refuse(61010)
	}
	a := s.at(known.owner)
	if a.grant == nil {
		return nil, refuse(61003)
	}
	if a.grant != known.grant {
		return nil, refuse(61009)
	}
	known.used = true
	return a, nil
}

// newAccessToken issues a new token on every call, as WeChat does. The newest one counts, and older
// ones expire after the overlap.
func (s *Sim) newAccessToken(a *account) tokenAnswer {
	life := s.config.Times.AccessToken
	a.grant.access.issue(s.nextNumber(), s.now(), life, s.config.Times.Overlap)
	return tokenAnswer{s.lastAccessToken(a), seconds(life), s.refreshToken(a)}
}

func (s *Sim) lastAccessToken(a *account) string {
	return s.codes.write(code{kind: accessToken, owner: a.place, number: a.grant.access.newest.number})
}

func (s *Sim) refreshToken(a *account) string {
	return s.codes.write(code{kind: refreshToken, owner: a.place, number: a.grant.refresh.newest.number})
}

func (s *Sim) renewRefreshToken(g *grant, grace time.Duration) {
	g.refresh.issue(s.nextNumber(), s.now(), never, grace)
}

func (s *Sim) authorizerToken(c *call) (any, error) {
	a, err := s.authorizedAccount(c.body.AuthorizerAppID)
	if err != nil {
		return nil, err
	}
	means, genuine := s.codes.read(c.body.RefreshToken, refreshToken)
	// Numbers are unique among all accounts, so another account's refresh token is not in this
	// chain.
	if !genuine || a.grant.refresh.check(means.number, s.now()) != nil {
		return nil, refuse(61023)
	}
	if s.behaviour.RotateOnRefresh {
		s.renewRefreshToken(a.grant, s.config.Times.RefreshGrace)
	}
	return s.newAccessToken(a), nil
}

func (s *Sim) authorizedAccount(id wechat.AppID) (*account, error) {
	if !appIDFormat.MatchString(string(id)) {
		return nil, refuse(40013)
	}
	a := s.find(id)
	if a == nil || a.grant == nil {
		return nil, refuse(61003)
	}
	return a, nil
}

type listAnswer struct {
	Total int      `json:"total_count"`
	List  []listed `json:"list"`
}

type listed struct {
	AppID        wechat.AppID `json:"authorizer_appid"`
	RefreshToken string       `json:"refresh_token,omitempty"` // missing until an auth code is exchanged
	AuthTime     int64        `json:"auth_time"`
}

const maxListed = 500

func (s *Sim) authorizerList(c *call) (any, error) {
	if c.body.Count > maxListed {
		return nil, refuse(40170)
	}
	if c.body.Count < 0 || c.body.Offset < 0 {
		return nil, refuse(40097)
	}
	if s.behaviour.Field {
		return s.fieldList(c.body.Offset, c.body.Count), nil
	}
	start := min(c.body.Offset, len(s.authorized))
	end := min(start+c.body.Count, len(s.authorized))
	list := make([]listed, 0, end-start)
	for _, place := range s.authorized[start:end] {
		list = append(list, s.listing(place))
	}
	return listAnswer{len(s.authorized), list}, nil
}

func (s *Sim) listing(place uint32) listed {
	a := s.peek(place)
	l := listed{AppID: a.appID, AuthTime: a.grant.at.Unix()}
	if a.grant.exchanged {
		l.RefreshToken = s.refreshToken(a)
	}
	return l
}

// authorize does what follows when a merchant presses the button. The caller has checked that it is
// allowed.
func (s *Sim) authorize(a *account, sets []wechat.PermissionSet, preAuthText string) Redirect {
	sets = sortedSets(sets)
	event := s.setGrant(a, sets)
	r := Redirect{AuthCode: s.newAuthCode(a), ExpiresIn: seconds(s.config.Times.AuthCode)}
	pushed := r.AuthCode
	if s.behaviour.SeparateCodes {
		pushed = s.newAuthCode(a)
	}
	if event != "" {
		s.pushAuthorization(event, a.appID, pushed, preAuthText)
	}
	return r
}

// setGrant stores the permission sets and returns the event to push. Authorizing again without a
// change has no event, but issues a new refresh token all the same.
func (s *Sim) setGrant(a *account, sets []wechat.PermissionSet) (event string) {
	switch {
	case a.grant == nil:
		a.grant = &grant{at: s.now()}
		s.authorized = append(s.authorized, a.place)
		event = "authorized"
	case !slices.Equal(a.grant.sets, sets):
		event = "updateauthorized"
	}
	a.grant.told = a.grant.told && slices.Equal(a.grant.sets, sets)
	a.grant.sets = sets
	s.renewRefreshToken(a.grant, s.config.Times.RefreshGrace)
	return event
}

func sortedSets(sets []wechat.PermissionSet) []wechat.PermissionSet {
	sets = slices.Clone(sets)
	slices.Sort(sets)
	return slices.Compact(sets)
}

func (s *Sim) newAuthCode(a *account) string {
	number := s.nextNumber()
	s.authCodes.put(number, &auth{owner: a.place, grant: a.grant, expires: s.now().Add(s.config.Times.AuthCode)}, s.now())
	return s.codes.write(code{kind: authCode, owner: a.place, number: number})
}

// Authorize authorizes an account without pushes, as if consent and exchange had happened long ago,
// and returns its refresh token. Without sets it grants all that are offered.
func (s *Sim) Authorize(id wechat.AppID, sets ...wechat.PermissionSet) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.find(id)
	if a == nil {
		return "", ErrUnknownAccount
	}
	s.setGrant(a, sortedSets(s.orOffered(a, sets)))
	a.grant.exchanged = true
	return s.refreshToken(a), nil
}

func (s *Sim) orOffered(a *account, sets []wechat.PermissionSet) []wechat.PermissionSet {
	if len(sets) > 0 {
		return sets
	}
	for _, set := range s.offered(a.details().Kind) {
		sets = append(sets, set.id)
	}
	return sets
}

// ChangeSets changes what a merchant granted, as in the merchant's own console: no link, no
// redirect, but a code in the pushed updateauthorized.
func (s *Sim) ChangeSets(id wechat.AppID, sets ...wechat.PermissionSet) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.grantOf(id); err != nil {
		return err
	}
	s.authorize(s.find(id), sets, "")
	return nil
}

// Unauthorize withdraws a merchant's authorization: its tokens are invalid at once, and
// unauthorized is pushed.
func (s *Sim) Unauthorize(id wechat.AppID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.grantOf(id); err != nil {
		return err
	}
	a := s.find(id)
	a.grant = nil
	i := slices.Index(s.authorized, a.place)
	s.authorized = slices.Delete(s.authorized, i, i+1)
	s.pushEvent("unauthorized", id, element{"AuthorizerAppid", string(id)})
	return nil
}

func (s *Sim) grantOf(id wechat.AppID) (*grant, error) {
	a := s.find(id)
	if a == nil {
		return nil, ErrUnknownAccount
	}
	if a.grant == nil {
		return nil, ErrNotAuthorized
	}
	return a.grant, nil
}

// LastAccessToken returns an account's newest access token, or "" if there is none.
func (s *Sim) LastAccessToken(id wechat.AppID) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.grantOf(id)
	if err != nil || g.access.newest.number == 0 {
		return ""
	}
	return s.lastAccessToken(s.find(id))
}

// Works reports whether WeChat would accept this access token now.
func (s *Sim) Works(token string) bool {
	c, genuine := s.codes.read(token, accessToken)
	s.mu.Lock()
	defer s.mu.Unlock()
	return genuine && s.checkAccessToken(&call{means: c}) == nil
}

// RefreshToken returns an account's newest refresh token, or "" if it is not authorized.
func (s *Sim) RefreshToken(id wechat.AppID) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	place, known := s.placeOf(id)
	if !known || s.peek(place).grant == nil {
		return ""
	}
	return s.refreshToken(s.peek(place))
}

// ReplaceRefreshToken replaces a refresh token without telling anyone, as has happened without an
// explanation: the old one is refused at once with 61023, and api_get_authorizer_list has the new
// one.
func (s *Sim) ReplaceRefreshToken(id wechat.AppID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.grantOf(id)
	if err != nil {
		return err
	}
	s.renewRefreshToken(g, 0)
	return nil
}

// Granted returns the permission sets that an account granted, or nil.
func (s *Sim) Granted(id wechat.AppID) []wechat.PermissionSet {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.grantOf(id)
	if err != nil {
		return nil
	}
	return slices.Clone(g.sets)
}
