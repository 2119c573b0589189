package wechatsim

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"wxplatform/wechat"
)

const syntheticPrefix = "wx5171"

// syntheticSets is shared by all synthetic accounts and never changed in place.
var syntheticSets = []wechat.PermissionSet{1, 2, 3, 6, 11}

// SyntheticAppID returns the appid of the i-th synthetic account, from 0.
func SyntheticAppID(i int) wechat.AppID {
	return wechat.AppID(fmt.Sprintf("%s%012x", syntheticPrefix, i))
}

// SyntheticKF returns the only agent of the i-th synthetic account, who is always online.
func SyntheticKF(i int) wechat.KFAccount {
	return wechat.KFAccount(fmt.Sprintf("kf1@shop%d", i))
}

// AddSynthetic adds n verified service accounts that are authorized to the component with the sets
// 1, 2, 3, 6 and 11. Nothing is pushed: RefreshToken and api_get_authorizer_list return what the
// exchanges would have. An account takes memory only once it is called.
func (s *Sim) AddSynthetic(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		place := uint32(len(s.accounts))
		s.accounts = append(s.accounts, nil)
		s.synthetic = append(s.synthetic, place)
		s.authorized = append(s.authorized, place)
	}
}

// peek is like at, but does not keep a synthetic account that it had to make: a walk through a
// million must not fill the memory.
func (s *Sim) peek(place uint32) *account {
	if a := s.accounts[place]; a != nil {
		return a
	}
	return s.newSynthetic(place)
}

// newSynthetic numbers the first refresh token by the account's place and above all others, so that
// it is the same whenever it is made.
func (s *Sim) newSynthetic(place uint32) *account {
	i := sort.Search(len(s.synthetic), func(i int) bool { return s.synthetic[i] >= place })
	g := &grant{sets: syntheticSets, at: s.started, exchanged: true}
	g.refresh.newest = issue{number: 1<<63 | uint64(place), expires: never}
	return &account{place: place, appID: SyntheticAppID(i), grant: g}
}

func (s *Sim) syntheticPlace(id wechat.AppID) (uint32, bool) {
	i, ok := syntheticNumber(id)
	if !ok || i >= len(s.synthetic) {
		return 0, false
	}
	return s.synthetic[i], true
}

func syntheticNumber(id wechat.AppID) (int, bool) {
	digits, ok := strings.CutPrefix(string(id), syntheticPrefix)
	i, err := strconv.ParseUint(digits, 16, 32)
	return int(i), ok && err == nil && SyntheticAppID(int(i)) == id
}

func syntheticProfile(id wechat.AppID) Account {
	i, _ := syntheticNumber(id)
	return Account{
		AppID:           id,
		Kind:            Service,
		UserName:        wechat.UserName(fmt.Sprintf("gh_5171%08x", i)),
		NickName:        fmt.Sprintf("合成商家 %d", i),
		Alias:           fmt.Sprintf("shop%d", i),
		CustomerService: true,
		Agents:          []Agent{{KFAccount: SyntheticKF(i), Nick: "客服", Online: true}},
	}
}
