package wechatsim

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"time"

	"wxplatform/wechat"
)

// The credentials that a Config without any gets.
const (
	DefaultAppID  = wechat.AppID("wxc0c0c0c0c0c0c001")
	DefaultSecret = "c0ffee00c0ffee00c0ffee00c0ffee00"
	DefaultToken  = "simulatortoken"
	DefaultAESKey = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
)

// Config configures a simulator. The zero value is usable: a component with the default
// credentials, four sample accounts and no pushes.
type Config struct {
	AppID  wechat.AppID // of the component
	Secret string
	Token  string // signs pushes
	AESKey string // encrypts pushes

	EventURL   string // receives pushes to the component; if empty, nothing is pushed
	MessageURL string // receives pushes to an account; $APPID$ in it is replaced by the account's appid

	// StartPageHost is the registered domain, with its port, of the page that links to the consent
	// page. If empty, any domain is accepted that equals the host of redirect_uri.
	StartPageHost string
	// PermissionSets are the ones that the component asks merchants for. Empty means every set that
	// has a name here.
	PermissionSets []wechat.PermissionSet
	AllowedIPs     []string // addresses that may call; empty means all
	Quotas         map[string]Quota
	Times          Times
	Behaviour      Behaviour

	NoSamples bool   // do not add the sample accounts
	Seed      uint64 // 0 picks one. Two simulators with the same seed and the same requests issue the same tokens
	Now       func() time.Time
}

// Times are WeChat's durations, which tests may shorten. Zero means WeChat's own value, and a
// negative one means none at all.
type Times struct {
	ComponentToken time.Duration `help:"Life of a component token." default:"2h"`
	AccessToken    time.Duration `help:"Life of an access token." default:"2h"`
	Overlap        time.Duration `help:"How long a replaced token goes on working." default:"5m"`
	RefreshGrace   time.Duration `help:"How long a replaced refresh token goes on working." default:"5m"`
	PreAuthCode    time.Duration `help:"Life of a pre-auth code." default:"30m"`
	AuthCode       time.Duration `help:"Life of an auth code." default:"1h"`
	LoginCode      time.Duration `help:"Life of a code with which a user logs in." default:"5m"`
	UserToken      time.Duration `help:"Life of a user's access token." default:"2h"`
	UserRefresh    time.Duration `help:"Life of a user's refresh token." default:"720h"`
	Ticket         time.Duration `help:"Life of a ticket." default:"12h"`
	TicketInterval time.Duration `help:"How often a ticket is pushed." default:"10m"`
	TicketRenewal  time.Duration `help:"How often the pushed ticket is another one." default:"1h"`
	PushTimeout    time.Duration `help:"How long a push waits for its answer." default:"5s"`
	SessionIdle    time.Duration `help:"A session without a message ends after this time." default:"30m"`
	Allowance      time.Duration `help:"How long a customer's message allows answers." default:"48h"`
}

// Behaviour chooses between what WeChat is known to do and what it may do according to reports or
// documents. It may be changed at any time.
type Behaviour struct {
	RotateOnRefresh  bool `json:"rotate_on_refresh" help:"Every refresh gives another refresh token."`
	RotateOnExchange bool `json:"rotate_on_exchange" help:"Every exchange of an auth code gives another refresh token."`
	SeparateCodes    bool `json:"separate_codes" help:"The pushed auth code is not the one in the redirect."`
	RetryEvents      bool `json:"retry_events" help:"A refused component event is pushed three times, like a message."`
	AnyReferer       bool `json:"any_referer" help:"The consent page may be linked from anywhere."`
	Code61015        bool `json:"code_61015" help:"A component token on an account's API answers 61015 rather than 48001."`
	SilentSessions   bool `json:"silent_sessions" help:"Sessions created and closed by API push no event."`
	Field            bool `json:"field" kong:"-" help:"Everything is odd in the ways that real platforms met."`
	OneRefreshQuota  bool `json:"one_refresh_quota" help:"Refreshes of access tokens have one quota for the component, not one for each account."`
}

// Quota limits the calls of one API by one account, or by the component. 0 means no limit.
type Quota struct {
	PerDay    int `json:"per_day"` // answered 45009 beyond it; the day is Beijing's
	PerMinute int `json:"per_minute"`
}

func (c Config) withDefaults() Config {
	c.AppID = cmp.Or(c.AppID, DefaultAppID)
	c.Secret = cmp.Or(c.Secret, DefaultSecret)
	c.Token = cmp.Or(c.Token, DefaultToken)
	c.AESKey = cmp.Or(c.AESKey, DefaultAESKey)
	c.Seed = cmp.Or(c.Seed, randomSeed())
	c.Times = c.Times.withDefaults()
	if c.Now == nil {
		c.Now = time.Now
	}
	if len(c.PermissionSets) == 0 {
		c.PermissionSets = namedSets()
	}
	return c
}

func (t Times) withDefaults() Times {
	return Times{
		ComponentToken: orDefault(t.ComponentToken, 2*time.Hour),
		AccessToken:    orDefault(t.AccessToken, 2*time.Hour),
		Overlap:        orDefault(t.Overlap, 5*time.Minute),
		RefreshGrace:   orDefault(t.RefreshGrace, 5*time.Minute),
		PreAuthCode:    orDefault(t.PreAuthCode, 30*time.Minute),
		AuthCode:       orDefault(t.AuthCode, time.Hour),
		LoginCode:      orDefault(t.LoginCode, 5*time.Minute),
		UserToken:      orDefault(t.UserToken, 2*time.Hour),
		UserRefresh:    orDefault(t.UserRefresh, 720*time.Hour),
		Ticket:         orDefault(t.Ticket, 12*time.Hour),
		TicketInterval: orDefault(t.TicketInterval, 10*time.Minute),
		TicketRenewal:  orDefault(t.TicketRenewal, time.Hour),
		PushTimeout:    orDefault(t.PushTimeout, 5*time.Second),
		SessionIdle:    orDefault(t.SessionIdle, 30*time.Minute),
		Allowance:      orDefault(t.Allowance, 48*time.Hour),
	}
}

func orDefault(d, otherwise time.Duration) time.Duration {
	return max(cmp.Or(d, otherwise), 0)
}

func randomSeed() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:]) | 1
}
