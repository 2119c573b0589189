package wechatsim

import (
	"slices"

	"wxplatform/wechat"
)

// credential is the token that a call must carry.
type credential int

const (
	noToken      credential = iota // the secret may be in its body
	ofComponent                    // a component token
	ofAuthorizer                   // an access token
	ofEither
	ofUser // the token of a user who logged in
)

// endpoint is one of WeChat's APIs.
type endpoint struct {
	path    string
	method  string
	needs   credential
	sets    []wechat.PermissionSet // one of them must be granted
	suits   func(Account) bool     // which kinds of account have the API; nil means all
	act     func(*Sim, *call) (any, error)
	uploads bool  // its body is a form with a file, which is read only after the faults that strike before
	id      uint8 // its place in the list: the meters keep it instead of a string
}

var (
	sessionSets = []wechat.PermissionSet{1, 6, 100, 101}
	messageSets = []wechat.PermissionSet{1, 6, 19, 100, 101}
)

const (
	componentTokenPath  = "/cgi-bin/component/api_component_token"
	authorizerTokenPath = "/cgi-bin/component/api_authorizer_token"
	customSendPath      = "/cgi-bin/message/custom/send"
)

// endpoints returns the APIs that the simulator has, by path.
func endpoints(l *library) map[string]endpoint {
	known := map[string]endpoint{}
	for i, e := range slices.Concat(componentAPIs(), quotaAPIs(), sessionAPIs(), messageAPIs(), menuAPIs(), userAPIs(), loginAPIs(), l.apis()) {
		e.id = uint8(i)
		known[e.path] = e
	}
	return known
}

func componentAPIs() []endpoint {
	const base = "/cgi-bin/component/"
	return []endpoint{
		{path: base + "api_start_push_ticket", method: "POST", needs: noToken, act: (*Sim).startPushTicket},
		{path: componentTokenPath, method: "POST", needs: noToken, act: (*Sim).componentToken},
		{path: base + "api_create_preauthcode", method: "POST", needs: ofComponent, act: (*Sim).createPreAuthCode},
		{path: base + "api_query_auth", method: "POST", needs: ofComponent, act: (*Sim).queryAuth},
		{path: authorizerTokenPath, method: "POST", needs: ofComponent, act: (*Sim).authorizerToken},
		{path: base + "api_get_authorizer_info", method: "POST", needs: ofComponent, act: (*Sim).authorizerInfo},
		{path: base + "api_get_authorizer_list", method: "POST", needs: ofComponent, act: (*Sim).authorizerList},
	}
}

func quotaAPIs() []endpoint {
	return []endpoint{
		{path: "/cgi-bin/component/clear_quota", method: "POST", needs: ofComponent, act: (*Sim).clearComponentQuota},
		{path: "/cgi-bin/component/clear_quota/v2", method: "POST", needs: noToken, act: (*Sim).clearQuotaBySecret},
		{path: "/cgi-bin/clear_quota", method: "POST", needs: ofEither, act: (*Sim).clearQuota},
		{path: "/cgi-bin/openapi/quota/get", method: "POST", needs: ofEither, act: (*Sim).quotaOf},
		{path: "/cgi-bin/getcallbackip", method: "GET", needs: ofEither, act: (*Sim).addresses},
		{path: "/cgi-bin/get_api_domain_ip", method: "GET", needs: ofEither, act: (*Sim).addresses},
	}
}

func sessionAPIs() []endpoint {
	const base = "/customservice/kfsession/"
	e := func(method, name string, act func(*Sim, *call) (any, error)) endpoint {
		return endpoint{path: base + name, method: method, needs: ofAuthorizer, sets: sessionSets, suits: Account.MayServe, act: act}
	}
	return []endpoint{
		e("POST", "create", (*Sim).createSession),
		e("POST", "close", (*Sim).closeSession),
		e("GET", "getsession", (*Sim).getSession),
		e("GET", "getsessionlist", (*Sim).getSessionList),
		e("GET", "getwaitcase", (*Sim).getWaitCase),
	}
}

func messageAPIs() []endpoint {
	e := func(method, path string, act func(*Sim, *call) (any, error)) endpoint {
		return endpoint{path: path, method: method, needs: ofAuthorizer, sets: messageSets, suits: Account.MayMessage, act: act}
	}
	return []endpoint{
		e("POST", customSendPath, (*Sim).customSend),
		e("GET", "/cgi-bin/customservice/getkflist", (*Sim).kfList),
		e("GET", "/cgi-bin/customservice/getonlinekflist", (*Sim).onlineKFList),
	}
}
