package relay

// Family is a group of APIs. Those that read need the scope Name + ":read", those that write need
// Name + ":write".
type Family struct {
	Name    string
	About   string // what its APIs are for, such as "menus of Official Accounts"
	Chinese string // the same in Chinese
}

// Families returns the families, ordered by name.
func Families() []Family {
	return []Family{
		{"account", "the account itself: name, avatar, categories, links, privacy settings, quotas", "账号本身：名称、头像、类目、链接、隐私设置、调用额度"},
		{"ads", "advertisements and their conversions", "广告与转化"},
		{"analytics", "statistics, logs and feedback", "统计、日志与反馈"},
		{"cards", "cards, coupons and invoices", "卡券与发票"},
		{"cloud", "cloud development", "云开发"},
		{"code", "code of mini programs: commit, audit, release, domains, testers, plug-ins", "小程序代码：上传、审核、发布、域名、体验者、插件"},
		{"comments", "comments on articles, and reviews of purchases", "文章评论与购物评价"},
		{"delivery", "express and local delivery, waybills, freight insurance", "快递与同城配送、电子面单、运费险"},
		{"devices", "devices, beacons and their licenses", "硬件设备、周边（beacon）与设备授权"},
		{"kfaccount", "kf accounts", "客服帐号"},
		{"kfsession", "customer-service sessions", "客服会话"},
		{"links", "QR codes, short links, URL schemes", "二维码、短链接、URL Scheme"},
		{"live", "live broadcasts", "直播"},
		{"media", "media, material, drafts, publishing, dramas and books", "临时与永久素材、草稿、发布、短剧与图书"},
		{"menu", "menus of Official Accounts", "公众号自定义菜单"},
		{"messages", "customer-service, mass, template and subscription messages", "客服消息、群发、模板消息与订阅消息"},
		{"orders", "orders, shipping information, payments and shops", "订单、发货信息、支付与店铺"},
		{"security", "checks of content, risk of users", "内容安全与用户风险等级"},
		{"services", "all others: stores, city services, consultants, service market, JS-SDK tickets", "其他：门店、城市服务、导购、服务市场、JS-SDK ticket"},
		{"users", "users, tags, the blacklist, phone numbers", "用户、标签、黑名单、手机号"},
		{"vision", "images, OCR and speech", "图像处理、OCR 与语音"},
	}
}
