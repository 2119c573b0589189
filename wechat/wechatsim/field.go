package wechatsim

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"wxplatform/wechat"
)

// Behaviour.Field makes answers and pushes odd in the ways that operators of such platforms
// reported. Each oddity below names its heading in docs/wechat.md. A platform that tolerates them
// loses nothing: tokens are whole, and errcodes are the true ones.

// chance chooses the oddities of an answer or a push, from the seed and its number alone.
type chance struct{ *rand.Rand }

const (
	answerStream = 2 // 1 is Sim.random's
	pushStream   = 3
)

func (s *Sim) chance(stream, n uint64) chance {
	return chance{rand.New(rand.NewPCG(s.config.Seed+n, stream))}
}

// in returns true once in n times.
func (c chance) in(n int) bool { return c.IntN(n) == 0 }

func pick[T any](c chance, from ...T) T { return from[c.IntN(len(from))] }

// oddAnswer is an answer that is being made odd.
type oddAnswer struct {
	chance
	call *call
	sim  *Sim
	root *value
}

// oddity is something that happens to some answers.
type oddity struct {
	path string // like that of a Fault
	once int    // one in so many answers
	do   func(*oddAnswer)
}

const (
	infoPath    = "/cgi-bin/component/api_get_authorizer_info"
	listPath    = "/cgi-bin/component/api_get_authorizer_list"
	sessionPath = "/customservice/kfsession/getsession"
	waitPath    = "/customservice/kfsession/getwaitcase"
)

// The order matters: numbers are changed last, including those of members that were added before.
func oddities() []oddity {
	return []oddity{
		{infoPath, 1, (*oddAnswer).loseSets},                       // "Field reports"
		{infoPath, 3, (*oddAnswer).denyVerification},               // "Field reports"
		{infoPath, 2, (*oddAnswer).addProfile},                     // "Profile of an authorizer": documented members that the samples do not have
		{"/cgi-bin/component/*", 2, (*oddAnswer).describeSets},     // "Exchange of an auth code": type, name, desc and confirm_info
		{"/cgi-bin/component/*", 2, (*oddAnswer).spoilSets},        // "Field reports": entries that say nothing
		{"/cgi-bin/component/api_*", 4, (*oddAnswer).loseExpiry},   // "Field reports"
		{listPath, 2, (*oddAnswer).emptyTokens},                    // "List of authorizers": refresh_token is empty or absent
		{"*", 2, (*oddAnswer).spoilNames},                          // "Field reports"
		{sessionPath, 2, (*oddAnswer).renameAgent},                 // "Customer-service calls", "Field reports"
		{sessionPath, 3, (*oddAnswer).loseCreateTime},              // "Customer-service sessions": absent if nobody serves the customer
		{waitPath, 2, (*oddAnswer).addToWaitCases},                 // "Field reports"
		{"/customservice/kfsession/get*", 3, (*oddAnswer).sayOK},   // "Customer-service sessions": the answers of 2014 had errcode and errmsg
		{"/cgi-bin/customservice/*", 2, (*oddAnswer).numberAgents}, // "Field reports"
		{"*", 3, (*oddAnswer).hint},                                // "Common rules": the end of errmsg before 2020
		{"*", 3, (*oddAnswer).addMembers},                          // "Profile of an authorizer": members are added without notice
		{"*", 2, (*oddAnswer).flipNumbers},                         // "Field reports"
	}
}

// makeOdd changes an answer and how it is sent. The caller holds the lock.
func (s *Sim) makeOdd(c *call, a answer) answer {
	s.oddAnswers++
	o := &oddAnswer{s.chance(answerStream, s.oddAnswers), c, s, &value{raw: a.body}}
	for _, odd := range oddities() {
		if o.in(odd.once) && matches(odd.path, c.url) {
			odd.do(o)
		}
	}
	a.body = o.root.text()
	o.wrap(&a)
	return a
}

// wrap changes what is around the JSON. Kept connections end unannounced (docs/wechat.md, "Field
// reports"), and content types vary (docs/wechat.md, "Hosts and time-outs").
func (o *oddAnswer) wrap(a *answer) {
	if o.in(6) {
		a.body = append([]byte(byteOrderMark), a.body...)
	}
	if o.in(4) {
		a.body = append(bytes.Clone(a.body), '\n')
	}
	if o.in(3) {
		a.contentType = pick(o.chance, "text/plain", "text/plain; charset=utf-8", "application/json")
	}
	a.closes = o.in(4)
}

// loseSets removes the permission sets from every second profile, but not from the first that has
// them: a platform that did not exchange the code has no other source.
func (o *oddAnswer) loseSets() {
	g, err := o.sim.grantOf(o.call.appID)
	authorization := o.root.find("authorization_info", false)
	if err != nil || authorization == nil {
		return
	}
	if !g.told || o.in(2) {
		g.told = g.told || o.call.fault == ""
		return
	}
	switch o.IntN(5) {
	case 0:
		o.root.drop("authorization_info")
	case 1:
		authorization.become([]byte("null"))
	case 2:
		authorization.become([]byte("{}"))
	case 3:
		o.root.find("authorization_info.func_info", true).become([]byte("null"))
	case 4:
		o.root.drop("authorization_info.func_info")
	}
}

func (o *oddAnswer) denyVerification() {
	if id := o.root.find("authorizer_info.verify_type_info.id", false); id != nil {
		id.become([]byte("-1"))
	}
}

func (o *oddAnswer) addProfile() {
	if info := o.root.find("authorizer_info", false); info != nil {
		info.child("idc", true).become([]byte("1"))
		info.child("register_type", true).become([]byte("0"))
		info.child("basic_config", true).become([]byte(`{"is_phone_configured":true,"is_email_configured":true}`))
		info.child("channels_info", true).become([]byte("{}"))
	}
}

// sets calls do with each list of permission sets that has one.
func (o *oddAnswer) sets(do func(list *value)) {
	o.root.each(func(key string, v *value) {
		if v.split(); key == "func_info" && len(v.members) > 0 {
			do(v)
		}
	})
}

func (o *oddAnswer) describeSets() {
	o.sets(func(list *value) {
		entry := list.members[o.IntN(len(list.members))].value
		entry.find("funcscope_category.type", true).become([]byte("1"))
		entry.find("funcscope_category.name", true).become([]byte(`"消息管理"`))
		entry.find("funcscope_category.desc", true).become([]byte(`""`))
		entry.find("confirm_info", true).become([]byte(`{"need_confirm":0,"already_confirm":0,"can_confirm":0}`))
	})
}

func (o *oddAnswer) spoilSets() {
	o.sets(func(list *value) {
		bad := pick(o.chance, `null`, `{}`, `{"funcscope_category":null}`, `{"funcscope_category":{}}`, `{"funcscope_category":{"id":null}}`)
		list.members = slices.Insert(list.members, o.IntN(len(list.members)+1), member{value: &value{raw: []byte(bad)}})
	})
}

// loseExpiry spares pre-auth codes, because nobody reported one without an expiry, and durations
// that are not WeChat's, because no platform could know them.
func (o *oddAnswer) loseExpiry() {
	o.root.each(func(_ string, v *value) { v.dropExpiry() })
	o.root.dropExpiry()
}

func (v *value) dropExpiry() {
	if v.split(); v.index("component_access_token") < 0 && v.index("authorizer_access_token") < 0 {
		return
	}
	if life := v.find("expires_in", false); life != nil && string(life.raw) == "7200" {
		v.drop("expires_in")
	}
}

func (o *oddAnswer) emptyTokens() {
	list := o.root.find("list", false)
	if list == nil {
		return
	}
	list.split()
	for _, m := range list.members {
		if m.value.find("refresh_token", false) == nil {
			m.value.child("refresh_token", true).become([]byte(`""`))
		}
	}
}

var names = []string{"nick_name", "principal_name", "signature", "kf_nick"}

// spoilNames appends a control byte, a NUL or an emoji to a name, the byte unescaped, as WeChat
// does.
func (o *oddAnswer) spoilNames() {
	o.root.each(func(key string, v *value) {
		if text, is := bytes.CutSuffix(v.raw, []byte(`"`)); is && slices.Contains(names, key) {
			v.become(slices.Concat(text, []byte(pick(o.chance, "\x14", "\x00", `\u0000`, "🌸", "\x14🌸\x07")+`"`)))
		}
	})
}

// renameAgent answers with the other name of an agent.
func (o *oddAnswer) renameAgent() {
	served := o.root.find("kf_account", false)
	if served == nil || o.call.account == nil {
		return
	}
	profile := o.call.account.details().filled(o.call.account.place)
	if prefix, is := strings.CutSuffix(string(served.raw), "@"+profile.Alias+`"`); is && profile.Alias != "" {
		served.become([]byte(prefix + "@" + string(profile.UserName) + `"`))
	}
}

func (o *oddAnswer) loseCreateTime() {
	if served := o.root.find("kf_account", false); served != nil && string(served.raw) == `""` {
		o.root.drop("createtime")
	}
}

func (o *oddAnswer) addToWaitCases() {
	list := o.root.find("waitcaselist", false)
	if list == nil {
		return
	}
	list.split()
	for _, m := range list.members {
		latest := m.value.find("latest_time", false)
		m.value.child("createtime", true).become(latest.raw)
		m.value.child("kf_account", true).become([]byte(`""`))
	}
}

func (o *oddAnswer) sayOK() {
	if o.root.find("errcode", false) == nil {
		o.root.child("errcode", true).become([]byte("0"))
		o.root.child("errmsg", true).become([]byte(`"ok"`))
	}
}

func (o *oddAnswer) numberAgents() {
	o.root.each(func(key string, v *value) {
		if key == "kf_id" {
			v.become(bytes.Trim(v.raw, `"`))
		}
	})
}

func (o *oddAnswer) hint() {
	msg := o.root.find("errmsg", false)
	if msg == nil {
		return
	}
	if text, _, has := bytes.Cut(msg.raw, []byte(" rid: ")); has {
		msg.become(append(bytes.Clone(text), pick(o.chance, ` hint: [tp9AvA04171107]"`, `, hints: [ req_id: tp9AvA04171107 ]"`)...))
	}
}

func (o *oddAnswer) addMembers() {
	if o.root.split(); o.root.open == '{' {
		o.root.child("new_info", true).become([]byte(`{"id":7,"list":[null,"",{}],"note":null}`))
	}
}

// flipNumbers writes some numbers as texts and some as floats.
func (o *oddAnswer) flipNumbers() {
	o.root.each(func(_ string, v *value) {
		if _, err := strconv.Atoi(string(v.raw)); err != nil || v.open != 0 || o.in(2) {
			return
		}
		v.become([]byte(fmt.Sprintf(pick(o.chance, `"%s"`, `"%s"`, `%s.0`), v.raw)))
	})
}

// maxFieldPage is how many accounts a page has at most, whatever is asked for.
const maxFieldPage = 100

// fieldList returns a page of the list with an entry that names no account, and that counts like
// the others.
func (s *Sim) fieldList(offset, count int) listAnswer {
	total := len(s.authorized)
	if total > 0 {
		total++
	}
	page := listAnswer{Total: total, List: []listed{}}
	for i := offset; i < min(offset+min(count, maxFieldPage), total); i++ {
		switch i {
		case nobodysPlace:
			page.List = append(page.List, listed{RefreshToken: "refreshtoken@@@x", AuthTime: s.started.Unix()})
		case 0:
			page.List = append(page.List, s.listing(s.authorized[0]))
		default:
			page.List = append(page.List, s.listing(s.authorized[i-1]))
		}
	}
	return page
}

const nobodysPlace = 1

// sameAgent returns the name under which the simulator knows an agent. According to reports the
// agents of an account are named prefix@alias and prefix@gh_…, in letters of either case.
func (s *Sim) sameAgent(a Account, kf wechat.KFAccount) wechat.KFAccount {
	prefix, at, _ := strings.Cut(string(kf), "@")
	suffixes := []string{a.Alias, string(a.UserName)}
	isOne := func(suffix string) bool { return strings.EqualFold(suffix, at) }
	if !s.behaviour.Field || !slices.ContainsFunc(suffixes, isOne) {
		return kf
	}
	for _, suffix := range suffixes {
		if name := wechat.KFAccount(prefix + "@" + suffix); a.knows(name) {
			return name
		}
	}
	return kf
}

func (a Account) knows(kf wechat.KFAccount) bool {
	_, known := a.agent(kf)
	return known
}
