package relay

// Family is a group of APIs. Those that read need the scope Name + ":read", those that write need
// Name + ":write".
type Family struct {
	Name  string
	About string // what its APIs are for, such as "menus of Official Accounts"
}

// Families returns the families, ordered by name.
func Families() []Family {
	return []Family{
		{"account", "the account itself: name, avatar, categories, links, privacy settings, quotas"},
		{"ads", "advertisements and their conversions"},
		{"analytics", "statistics, logs and feedback"},
		{"cards", "cards, coupons and invoices"},
		{"cloud", "cloud development"},
		{"code", "code of mini programs: commit, audit, release, domains, testers, plug-ins"},
		{"comments", "comments on articles, and reviews of purchases"},
		{"delivery", "express and local delivery, waybills, freight insurance"},
		{"devices", "devices, beacons and their licenses"},
		{"kfaccount", "kf accounts"},
		{"kfsession", "customer-service sessions"},
		{"links", "QR codes, short links, URL schemes"},
		{"live", "live broadcasts"},
		{"media", "media, material, drafts, publishing, dramas and books"},
		{"menu", "menus of Official Accounts"},
		{"messages", "customer-service, mass, template and subscription messages"},
		{"orders", "orders, shipping information, payments and shops"},
		{"security", "checks of content, risk of users"},
		{"services", "all others: stores, city services, consultants, service market, JS-SDK tickets"},
		{"users", "users, tags, the blacklist, phone numbers"},
		{"vision", "images, OCR and speech"},
	}
}
