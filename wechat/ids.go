package wechat

import (
	"slices"
	"strconv"
	"strings"
)

// AppID identifies an account at WeChat: an authorizer's, or the component's own.
type AppID string

// OpenID identifies a customer of one account.
type OpenID string

// KFAccount names a customer-service account, prefix@weixinid. Its format is WeChat's; this module
// looks only for the one @.
type KFAccount string

// UserName is an account's original id, gh_…, which pushes carry as ToUserName.
type UserName string

// PermissionSet is the number of a permission set (权限集), which merchants grant to
// a component.
type PermissionSet int

// PermissionSets are the permission sets that a merchant granted.
type PermissionSets []PermissionSet

// HasAny reports whether one of wanted was granted. It is true if wanted is empty.
func (granted PermissionSets) HasAny(wanted []PermissionSet) bool {
	return len(wanted) == 0 || slices.ContainsFunc(wanted, func(s PermissionSet) bool { return slices.Contains(granted, s) })
}

// After returns what is granted after an answer that lists sets. all says that the list was read
// completely. An empty list changes nothing, and an incomplete one takes no set away.
func (granted PermissionSets) After(sets PermissionSets, all bool) PermissionSets {
	if len(sets) == 0 {
		return granted
	}
	if all {
		return sets
	}
	known := slices.Concat(granted, sets)
	slices.Sort(known)
	return slices.Compact(known)
}

// String joins the numbers with commas: "1,6,100".
func (granted PermissionSets) String() string {
	parts := make([]string, len(granted))
	for i, s := range granted {
		parts[i] = strconv.Itoa(int(s))
	}
	return strings.Join(parts, ",")
}

// ParsePermissionSets reads what String wrote, and skips what is not a number.
func ParsePermissionSets(text string) PermissionSets {
	sets := PermissionSets{}
	for part := range strings.SplitSeq(text, ",") {
		if n, err := strconv.Atoi(strings.TrimSpace(part)); err == nil {
			sets = append(sets, PermissionSet(n))
		}
	}
	return sets
}

// Plausible reports whether id looks like an appid: wx and 16 digits or lowercase letters.
func (id AppID) Plausible() bool {
	rest, ok := strings.CutPrefix(string(id), "wx")
	return ok && len(rest) == 16 && !strings.ContainsFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'z') })
}
