package wechatsim

import (
	"slices"

	"wxplatform/wechat"
)

// The accounts of a new simulator. None is authorized to the component yet.
const (
	SampleService     wechat.AppID = "wx5a3e1c0b7d2f4801" // verified; its agents test1@test and test2@test are online
	SampleOfficial    wechat.AppID = "wx5a3e1c0b7d2f4802" // a verified subscription account
	SampleUnverified  wechat.AppID = "wx5a3e1c0b7d2f4803"
	SampleMiniProgram wechat.AppID = "wx5a3e1c0b7d2f4804"
)

// SampleCustomer is a valid openid: 28 characters, the first an o.
const SampleCustomer wechat.OpenID = "oDF3iY9ffA-hqb2vVvbr7qxf6A0Q"

func (s *Sim) addSamples() {
	for _, a := range []Account{
		{AppID: SampleService, Kind: Service, UserName: "gh_5a3e1c0b7d01", NickName: "四季花店", Alias: "test", Principal: "杭州四季花卉有限公司", CustomerService: true,
			Agents: []Agent{{KFAccount: "test1@test", Nick: "小梅", Online: true}, {KFAccount: "test2@test", Nick: "小兰", Online: true}}},
		{AppID: SampleOfficial, Kind: Subscription, UserName: "gh_5a3e1c0b7d02", NickName: "老王读书会", Alias: "laowang", Principal: "成都老王文化传播有限公司", CustomerService: true,
			Agents: []Agent{{KFAccount: "reader@laowang", Nick: "书童", Online: true}}},
		{AppID: SampleUnverified, Kind: Subscription, UserName: "gh_5a3e1c0b7d03", NickName: "巷口小面", Principal: "个人", VerifyType: Unverified},
		{AppID: SampleMiniProgram, Kind: MiniProgram, UserName: "gh_5a3e1c0b7d04", NickName: "快递小助手", Principal: "深圳快送科技有限公司", CustomerService: true,
			Agents: []Agent{{KFAccount: "kf1@gh_5a3e1c0b7d04", Nick: "小快", Online: true}}},
	} {
		if _, err := s.AddAccount(a); err != nil {
			panic("wechatsim: a sample account is faulty: " + err.Error())
		}
	}
}

// permissionSet is a permission set with its name, for the consent page.
type permissionSet struct {
	id       wechat.PermissionSet
	zh, en   string
	miniOnly bool
}

// permissionSets are the documented ones (docs/wechat.md, "Permission sets") that mean something to
// a merchant. 100 and 101 are in no public table, but APIs are listed under them.
var permissionSets = []permissionSet{
	{1, "消息管理", "message management", false},
	{2, "用户管理", "user management", false},
	{3, "帐号服务", "account service", false},
	{4, "网页服务", "web service", false},
	{6, "微信多客服", "customer service", false},
	{7, "群发与通知", "mass sending and notification", false},
	{8, "微信卡券", "cards", false},
	{9, "微信扫一扫", "scan", false},
	{11, "素材管理", "material management", false},
	{13, "微信门店", "stores", false},
	{15, "自定义菜单", "menu management", false},
	{22, "城市服务", "city services", false},
	{24, "开放平台帐号管理", "open-platform account", false},
	{33, "小程序管理", "mini-program linking", false},
	{54, "服务号对话", "service-account dialogue", false},
	{89, "订阅通知", "subscription notices", false},
	{100, "内部权限集 100", "internal set 100", false},
	{101, "内部权限集 101", "internal set 101", false},
	{17, "获取小程序码", "mini-program code", true},
	{18, "开发管理与数据分析", "development and analysis", true},
	{19, "客服管理", "customer-service management", true},
	{25, "开放平台帐号管理", "open-platform account", true},
	{30, "小程序基本信息管理", "basic information", true},
	{31, "小程序认证名称检测", "verification-name check", true},
	{40, "插件管理", "plug-ins", true},
	{45, "物流服务", "logistics", true},
}

func namedSets() []wechat.PermissionSet {
	ids := make([]wechat.PermissionSet, len(permissionSets))
	for i, set := range permissionSets {
		ids[i] = set.id
	}
	return ids
}

// offered returns the sets that an account of this kind may grant to the component.
func (s *Sim) offered(kind Kind) []permissionSet {
	var sets []permissionSet
	for _, set := range permissionSets {
		if set.miniOnly == (kind == MiniProgram) && slices.Contains(s.config.PermissionSets, set.id) {
			sets = append(sets, set)
		}
	}
	return sets
}
