package wechatsim

import (
	"wxplatform/wechat"
)

type number struct {
	ID int `json:"id"`
}

// businessInfo says which functions the account has switched on. Nothing here depends on it.
type businessInfo struct {
	OpenStore int `json:"open_store"`
	OpenScan  int `json:"open_scan"`
	OpenPay   int `json:"open_pay"`
	OpenCard  int `json:"open_card"`
	OpenShake int `json:"open_shake"`
}

type authorizerInfo struct {
	NickName        string           `json:"nick_name"`
	HeadImg         string           `json:"head_img"`
	ServiceType     number           `json:"service_type_info"`
	VerifyType      number           `json:"verify_type_info"`
	UserName        wechat.UserName  `json:"user_name"`
	PrincipalName   string           `json:"principal_name"`
	BusinessInfo    businessInfo     `json:"business_info"`
	Alias           string           `json:"alias"`
	QRCodeURL       string           `json:"qrcode_url"`
	AccountStatus   int              `json:"account_status"`
	Signature       string           `json:"signature,omitempty"`
	MiniProgramInfo *miniProgramInfo `json:"MiniProgramInfo,omitempty"`
}

// miniProgramInfo is present for mini programs only.
type miniProgramInfo struct {
	Network     network    `json:"network"`
	Categories  []category `json:"categories"`
	VisitStatus int        `json:"visit_status"`
}

type network struct {
	RequestDomain   []string
	WsRequestDomain []string
	UploadDomain    []string
	DownloadDomain  []string
	BizDomain       []string
	UDPDomain       []string
}

type category struct {
	First  string `json:"first"`
	Second string `json:"second"`
}

type authorizationInfo struct {
	AppID        wechat.AppID `json:"authorizer_appid"`
	RefreshToken string       `json:"authorizer_refresh_token,omitempty"`
	FuncInfo     []funcInfo   `json:"func_info"`
}

func (s *Sim) authorizerInfo(c *call) (any, error) {
	a, err := s.authorizedAccount(c.body.AuthorizerAppID)
	if err != nil {
		return nil, err
	}
	return struct {
		Authorizer    authorizerInfo    `json:"authorizer_info"`
		Authorization authorizationInfo `json:"authorization_info"`
	}{infoOf(a.details().filled(a.place)), s.authorizationOf(a)}, nil
}

// authorizationOf has the refresh token only for mini programs, as in WeChat's samples.
func (s *Sim) authorizationOf(a *account) authorizationInfo {
	info := authorizationInfo{AppID: a.appID, FuncInfo: funcInfos(a.grant.sets)}
	if a.details().Kind == MiniProgram && a.grant.exchanged {
		info.RefreshToken = s.refreshToken(a)
	}
	return info
}

func infoOf(a Account) authorizerInfo {
	info := authorizerInfo{
		NickName:      a.NickName,
		HeadImg:       "https://wx.qlogo.cn/mmopen/" + string(a.UserName) + "/0",
		ServiceType:   number{serviceTypes[a.Kind]},
		VerifyType:    number{a.VerifyType},
		UserName:      a.UserName,
		PrincipalName: a.Principal,
		Alias:         a.Alias,
		QRCodeURL:     "https://mmbiz.qpic.cn/mmbiz_jpg/" + string(a.UserName) + "/0",
		AccountStatus: a.Status,
	}
	if a.Kind == MiniProgram {
		info.Signature = a.NickName + "为您服务"
		info.MiniProgramInfo = newMiniProgramInfo()
	}
	return info
}

var serviceTypes = map[Kind]int{Subscription: 0, Service: 2, MiniProgram: 0}

func newMiniProgramInfo() *miniProgramInfo {
	domains := []string{"https://www.example.com"}
	return &miniProgramInfo{
		Network: network{
			RequestDomain: domains, WsRequestDomain: []string{"wss://www.example.com"}, UploadDomain: domains,
			DownloadDomain: domains, BizDomain: []string{}, UDPDomain: []string{},
		},
		Categories: []category{{"生活服务", "快递"}},
	}
}
