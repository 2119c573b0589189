package login

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"wxplatform/internal/seal"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// Why a user's token is refused. A caller whose token is another tenant's or another account's
// learns no more than ErrToken or ErrRefreshToken.
var (
	ErrToken        = errors.New("this is no access token of a user that the caller got for this account")
	ErrTokenExpired = errors.New("the user's access token has expired")
	ErrRefreshToken = errors.New("this is no refresh token of a user that the caller got for this account, or it has expired")
)

// kind is what a user's token is for.
type kind string

const (
	accessToken  kind = "access_token" // these are the names of WeChat's members and parameters, too
	refreshToken kind = "refresh_token"
)

// userToken is a token of WeChat's for one user, and whom it was given to.
type userToken struct {
	tenant  tenant.ID
	client  tenant.ClientID
	appID   wechat.AppID
	expires time.Time
	token   seal.Secret
}

// sealer seals users' tokens. What callers hold is encrypted and authenticated, with everything
// that must be known to use it inside, so that the platform remembers nothing of it.
type sealer struct {
	ring *seal.Ring
	now  func() time.Time
}

const (
	sealedPrefix  = "wxu_"
	longestSealed = 4 << 10 // a longer text is refused
)

// sealed is what is encrypted of a userToken.
type sealed struct {
	Tenant  tenant.ID       `json:"t"`
	Client  tenant.ClientID `json:"c"`
	Expires int64           `json:"e"` // Unix seconds
	Token   string          `json:"s"`
}

// place binds a sealed token to its kind and its account. An account has fewer than 2^32 logins,
// which is within one key's limit (seal.Form2).
func place(what kind, id wechat.AppID) seal.Place {
	return seal.Place{"user of an account", string(what), string(id)}
}

// seal returns a text of letters, digits, "_" and "-". The appid stands unencrypted in
// front of the rest; decryption fails if it is changed.
func (s sealer) seal(what kind, u userToken) seal.Secret {
	plain, err := json.Marshal(sealed{u.tenant, u.client, u.expires.Unix(), u.token.Reveal()})
	if err != nil {
		panic("login: a token cannot be encoded: " + err.Error()) // it is text
	}
	text := append([]byte{byte(len(u.appID))}, u.appID...)
	text = append(text, s.ring.Seal(seal.NewSecret(string(plain)), place(what, u.appID)...)...)
	return seal.NewSecret(sealedPrefix + base64.RawURLEncoding.EncodeToString(text))
}

// open returns what seal sealed for the same use. It fails with ErrToken, ErrTokenExpired or
// ErrRefreshToken.
func (s sealer) open(what kind, text string) (userToken, error) {
	u, ok := s.read(what, text)
	switch fresh := s.now().Before(u.expires); {
	case what == refreshToken && !(ok && fresh):
		return userToken{}, ErrRefreshToken
	case !ok:
		return userToken{}, ErrToken
	case !fresh:
		return userToken{}, ErrTokenExpired
	}
	return u, nil
}

// read accepts one spelling of a token: package base64 would skip line breaks.
func (s sealer) read(what kind, text string) (userToken, bool) {
	rest, ok := strings.CutPrefix(text, sealedPrefix)
	ok = ok && !strings.ContainsAny(text, "\r\n")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if !ok || err != nil || len(text) > longestSealed || len(raw) == 0 || len(raw) <= 1+int(raw[0]) {
		return userToken{}, false
	}
	id := wechat.AppID(raw[1 : 1+raw[0]])
	plain, err := s.ring.Open(raw[1+raw[0]:], place(what, id)...)
	var in sealed
	if err != nil || json.Unmarshal([]byte(plain.Reveal()), &in) != nil {
		return userToken{}, false
	}
	return userToken{in.Tenant, in.Client, id, time.Unix(in.Expires, 0), seal.NewSecret(in.Token)}, true
}
