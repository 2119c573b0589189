package invitation

import "wxplatform/wechat"

// page is what one of the merchant's pages says, in Chinese and in English.
type page struct {
	Status        int
	Title, Say    string // Chinese
	Note          string // below the button; may be empty
	TitleEN       string
	SayEN, NoteEN string
	Tenant        string       // the name of the tenant that invites
	Account       wechat.AppID // the only account that may authorize; "" means any
	Button        string       // where the button leads; "" means no button
	ButtonText    string
	ButtonTextEN  string
	Retry         bool // show a button that loads this address again
	ReloadSeconds int
	RequestID     string
}

// The page of a pending invitation.
var (
	pageInvited = page{
		Status:       200,
		Title:        "微信公众号授权",
		Say:          "请求您授权其代为管理您的微信公众号，权限以您在微信页面上勾选的为准。",
		TitleEN:      "Authorize your Official Account",
		SayEN:        "asks you to let it manage your WeChat Official Account for you, within the permissions that you tick on WeChat's page.",
		ButtonText:   "前往微信授权",
		ButtonTextEN: "Continue to WeChat",
	}
	notePC       = "点击后由公众号管理员用手机微信扫码确认。" + noteAlways
	noteMobile   = "请在手机微信中打开本页，由公众号管理员点击并确认。" + noteAlways
	noteAlways   = "微信页面上显示的是服务商所用第三方平台的名称。如微信提示链接失效，请刷新本页后再试。您可以随时在微信公众平台取消授权。"
	notePCEN     = "The account's administrator scans a code with WeChat and confirms. " + noteAlwaysEN
	noteMobileEN = "Open this page in WeChat on the phone of the account's administrator, who then confirms. " + noteAlwaysEN
	noteAlwaysEN = "WeChat's page shows the name of the third-party platform that is used for this. If WeChat says that the link has expired, reload this page. You can withdraw your authorization at any time on WeChat's own platform."
)

// The pages of invitations that are not pending.
var (
	pageUnknown = page{
		Status:  404,
		Title:   "链接无效",
		Say:     "这个授权链接不存在，请检查链接是否完整，或向发给您链接的服务商索取新的链接。",
		TitleEN: "This link is not valid",
		SayEN:   "There is no such invitation. Please check that the link is complete, or ask the sender for a new one.",
	}
	pageUsed = page{
		Status:  410,
		Title:   "已完成授权",
		Say:     "这个链接已经完成授权，无需再次操作。如需授权其他公众号，请向服务商索取新的链接。",
		TitleEN: "Already authorized",
		SayEN:   "This link has already been used, and no other action is needed. To authorize another account, please ask for a new link.",
	}
	pageEnded = page{
		Status:  410,
		Title:   "链接已失效",
		Say:     "这个授权链接已被使用、取消或已过期。如需授权，请向服务商索取新的链接。",
		TitleEN: "This link has expired",
		SayEN:   "It has been used or cancelled, or it is too old. If you still want to authorize, please ask for a new link.",
	}
)

// The pages that say how an auth code came out, as far as that is known.
var (
	pageWait = page{
		Status:        200,
		Title:         "正在确认授权",
		Say:           "正在等待微信确认，本页会自动刷新，请稍候。",
		Note:          "如果一分钟后仍未完成，可以关闭本页，到服务商处查看授权结果。",
		TitleEN:       "Waiting for WeChat",
		SayEN:         "WeChat is confirming your authorization. This page reloads by itself.",
		NoteEN:        "If it takes longer than a minute, you can close this page and look for the result where you started.",
		ReloadSeconds: 2,
	}
	pageUnproven = page{
		Status:       200,
		Title:        "未能确认授权",
		Say:          "微信没有发来新的确认。如果您之前已经授权过并且没有改变权限，请用同一个浏览器重新打开授权链接，再确认一次。",
		TitleEN:      "Not confirmed",
		SayEN:        "WeChat sent no new confirmation. If you had authorized before and changed nothing, open the link again and confirm once more in this same browser.",
		ButtonText:   "重新打开授权链接",
		ButtonTextEN: "Open the link again",
	}
	pageRefused = page{
		Status:       400,
		Title:        "授权未完成",
		Say:          "微信没有确认这次授权，可能已经过期或已经用过，请重新开始。",
		TitleEN:      "The authorization was not completed",
		SayEN:        "WeChat did not confirm it: it has expired, or it was already used. Please start again.",
		ButtonText:   "重新开始",
		ButtonTextEN: "Start again",
	}
	pageUnavailable = page{
		Status:  503,
		Title:   "暂时无法完成",
		Say:     "系统或微信暂时没有响应，请稍后重试。",
		Note:    "如果您已经在微信确认，这次确认仍然有效，无需重新授权。",
		TitleEN: "Temporarily unavailable",
		SayEN:   "WeChat or this platform did not answer in time. Please try again in a moment.",
		NoteEN:  "If you have already confirmed in WeChat, your confirmation remains valid.",
		Retry:   true,
	}
)

// The pages that ask to come again later. Each comes with Retry-After.
var (
	pageTooMany = page{
		Status:  429,
		Title:   "访问过于频繁",
		Say:     "这个授权链接在短时间内被打开或提交了太多次，请稍候片刻再试。",
		Note:    "如果您已经在微信确认，这次确认仍然有效，请到服务商处查看授权结果。",
		TitleEN: "Too many requests",
		SayEN:   "This link was opened or submitted too often in a short time. Please wait a moment and try again.",
		NoteEN:  "If you have already confirmed in WeChat, your confirmation remains valid: look for the result where you started.",
		Retry:   true,
	}
	pageTries = page{
		Status:  429,
		Title:   "尝试次数过多",
		Say:     "这个浏览器已提交过多次授权，均未成功。请一小时后再试，或向服务商索取新的链接。",
		Note:    pageTooMany.Note,
		TitleEN: "Too many attempts",
		SayEN:   "This browser has submitted too many authorizations for this link. Please try again in an hour, or ask the sender for a new link.",
		NoteEN:  pageTooMany.NoteEN,
	}
	pageQuota = page{
		Status:  503,
		Title:   "微信接口调用次数已用完",
		Say:     "平台在微信的接口调用次数暂时用完，现在无法授权。请稍后再试，最迟在北京时间零点恢复。",
		Note:    pageTooMany.Note,
		TitleEN: "WeChat's quota is used up",
		SayEN:   "WeChat accepts no more calls from this platform for now, so you cannot authorize. Please try again later; the quota is restored at 00:00 in Beijing at the latest.",
		NoteEN:  pageTooMany.NoteEN,
		Retry:   true,
	}
)

// invited is the page of i, which is pending.
func (i Invitation) invited(v visit) page {
	p := pageInvited
	p.Tenant, p.Account, p.Button = v.tenant, i.AppID, v.consent
	p.Note, p.NoteEN = notePC, notePCEN
	if i.Kind == Mobile {
		p.Note, p.NoteEN = noteMobile, noteMobileEN
	}
	return p
}

// ended is the page of i, which is not pending.
func (i Invitation) ended() page {
	if i.Status == Authorized {
		return pageUsed
	}
	return pageEnded
}
