package wechatsim

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"wxplatform/wechat"
)

var (
	// ErrUnknownAccount says that the simulator has no such account.
	ErrUnknownAccount = errors.New("wechatsim: no such account")
	// ErrNotAuthorized says that the account is not authorized to the component.
	ErrNotAuthorized = errors.New("wechatsim: the account is not authorized to the component")
)

// Kind is the kind of an account.
type Kind string

const (
	Subscription Kind = "subscription" // 订阅号, a subscription account
	Service      Kind = "service"      // 服务号, a service account
	MiniProgram  Kind = "miniprogram"  // 小程序, a mini program
)

// Unverified is the VerifyType of an account that WeChat has not verified. 0 means verified.
const Unverified = -1

// Account is a merchant's account. When it is added, each empty field but Alias gets a value.
type Account struct {
	AppID           wechat.AppID    `json:"appid"`
	Kind            Kind            `json:"kind"`
	UserName        wechat.UserName `json:"user_name"` // the original id, gh_…
	NickName        string          `json:"nick_name"`
	Alias           string          `json:"alias"` // the WeChat id; may be empty
	Principal       string          `json:"principal_name"`
	VerifyType      int             `json:"verify_type"`
	Status          int             `json:"account_status"` // 1 normal, 14 cancelled, 16 banned, 18 warned, 19 frozen
	CustomerService bool            `json:"customer_service"`
	Agents          []Agent         `json:"agents"`
}

// Agent is a customer-service account and the person who uses it.
type Agent struct {
	KFAccount wechat.KFAccount `json:"kf_account"`
	Nick      string           `json:"nick"`
	Online    bool             `json:"online"`
	Unbound   bool             `json:"unbound"` // no person's WeChat is bound to it yet
}

// Verified reports whether WeChat has verified the account.
func (a Account) Verified() bool { return a.VerifyType != Unverified }

// MayServe reports whether the account may use customer-service sessions.
func (a Account) MayServe() bool { return a.Kind != MiniProgram && a.Verified() }

// MayMessage reports whether the account may send customer messages.
func (a Account) MayMessage() bool { return a.Kind == MiniProgram || a.Verified() }

// active accounts are shown on the consent page.
func (a Account) active() bool { return a.Status == 1 || a.Status == 18 }

func (a Account) agent(kf wechat.KFAccount) (Agent, bool) {
	i := slices.IndexFunc(a.Agents, func(g Agent) bool { return g.KFAccount == kf })
	if i < 0 {
		return Agent{}, false
	}
	return a.Agents[i], true
}

// account is an Account and its state. A million of them must fit into memory, so what few accounts
// have is behind a pointer.
type account struct {
	place   uint32
	appID   wechat.AppID
	profile *Account         // nil for a synthetic account that was never changed
	grant   *grant           // nil while it is not authorized to the component
	service *customerService // nil until its customer service is used
	meter   meter
}

// grant is one authorization, from consent to withdrawal. A later authorization is a new one.
type grant struct {
	sets      []wechat.PermissionSet
	at        time.Time
	exchanged bool // one of its auth codes was, so the list shows its refresh token
	told      bool // its permission sets were sent to the component
	access    chain
	refresh   chain
}

var appIDFormat = regexp.MustCompile(`^wx[0-9a-f]{16}$`)

// AddAccount adds an account that is not authorized to the component, and returns it with its empty
// fields filled.
func (s *Sim) AddAccount(a Account) (Account, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := uint32(len(s.accounts))
	a = a.filled(place)
	if !appIDFormat.MatchString(string(a.AppID)) {
		return Account{}, fmt.Errorf("wechatsim: appid %q is not wx and 16 hex digits", a.AppID)
	}
	if s.find(a.AppID) != nil || a.AppID == s.config.AppID {
		return Account{}, fmt.Errorf("wechatsim: appid %s exists already", a.AppID)
	}
	s.accounts = append(s.accounts, &account{place: place, appID: a.AppID, profile: &a})
	s.places[a.AppID] = place
	return a, nil
}

func (a Account) filled(place uint32) Account {
	a.AppID = cmp.Or(a.AppID, wechat.AppID(fmt.Sprintf("wxacc0%012x", place)))
	a.Kind = cmp.Or(a.Kind, Service)
	a.UserName = cmp.Or(a.UserName, wechat.UserName(fmt.Sprintf("gh_%012x", place)))
	a.NickName = cmp.Or(a.NickName, fmt.Sprintf("商家 %d", place))
	a.Principal = cmp.Or(a.Principal, a.NickName+"有限公司")
	a.Status = cmp.Or(a.Status, 1)
	a.Agents = slices.Clone(a.Agents)
	return a
}

// Account returns an account, or ErrUnknownAccount.
func (s *Sim) Account(id wechat.AppID) (Account, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.find(id)
	if a == nil {
		return Account{}, ErrUnknownAccount
	}
	return a.details().filled(a.place), nil
}

// Accounts returns the accounts that were added one by one, in that order, without the synthetic
// ones.
func (s *Sim) Accounts() []Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []Account{}
	for _, place := range s.places {
		all = append(all, s.at(place).details().filled(place))
	}
	slices.SortFunc(all, func(a, b Account) int { return cmp.Compare(s.places[a.AppID], s.places[b.AppID]) })
	return all
}

// ChangeAccount changes anything but the appid. The authorization stays, as at WeChat. It fails
// with ErrUnknownAccount.
func (s *Sim) ChangeAccount(id wechat.AppID, change func(*Account)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.find(id)
	if a == nil {
		return ErrUnknownAccount
	}
	changed := a.details().filled(a.place)
	change(&changed)
	changed.AppID = id
	a.profile = &changed
	return nil
}

// SetAgent adds an agent to an account, or changes the one with the same KFAccount.
func (s *Sim) SetAgent(id wechat.AppID, agent Agent) error {
	return s.ChangeAccount(id, func(a *Account) {
		i := slices.IndexFunc(a.Agents, func(g Agent) bool { return g.KFAccount == agent.KFAccount })
		if i < 0 {
			a.Agents = append(a.Agents, agent)
			return
		}
		a.Agents[i] = agent
	})
}

// find returns the account, or nil. Here and in all unexported methods below, the caller holds the
// lock.
func (s *Sim) find(id wechat.AppID) *account {
	place, known := s.placeOf(id)
	if !known {
		return nil
	}
	return s.at(place)
}

func (s *Sim) placeOf(id wechat.AppID) (uint32, bool) {
	if place, known := s.places[id]; known {
		return place, true
	}
	return s.syntheticPlace(id)
}

// at returns the account with that place in the order of accounts, or nil.
func (s *Sim) at(place uint32) *account {
	if int(place) >= len(s.accounts) {
		return nil
	}
	if s.accounts[place] == nil {
		s.accounts[place] = s.newSynthetic(place)
	}
	return s.accounts[place]
}

func (a *account) details() Account {
	if a.profile == nil {
		return syntheticProfile(a.appID)
	}
	return *a.profile
}
