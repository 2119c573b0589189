package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"wxplatform/relay"
)

// apiPage is a page that lists the catalogue. A test compares both pages with what print prints.
type apiPage struct {
	intro   string // up to the first family
	columns string
	chinese bool
}

// apiPages are docs/apis.md and docs/zh/apis.md.
var (
	apiPageEnglish = apiPage{englishIntro, "| API | name | scope | sets | notes |", false}
	apiPageChinese = apiPage{chineseIntro, "| 接口 | 名称 | scope | 权限集 | 备注 |", true}
)

// chineseWords are the words of the tables in Chinese. Notes and permission sets stay as they are.
var chineseWords = map[string]string{
	"any": "任意授权", "unsupported": "不对第三方开放", "unknown": "未知",
	"repeatable": "可重复", "file": "文件", "spends a code": "消耗 code",
}

// word returns a word of the tables in the page's language, in italics.
func (p apiPage) word(english string) string {
	if p.chinese {
		english = chineseWords[english]
	}
	return "*" + english + "*"
}

const englishIntro = "# WeChat's APIs\n" + `
[中文](zh/apis.md)

The platform relays these APIs of WeChat's for the accounts of a tenant. This page is made from the catalogue in ` + "`relay/catalogue.tsv`" + `:

` + "```sh" + `
go run ./cmd/platform api list --markdown > docs/apis.md
go run ./cmd/platform api list --markdown --chinese > docs/zh/apis.md
` + "```" + `

` + "`platform api show PATH`" + ` prints all that is known of one API, and what an operator changed by [PLATFORM_API_OFF and PLATFORM_API_UNCHECKED](operate/configure.md#settings).

- **Scope**: what the client's JWT must allow. An API that reads needs ` + "`FAMILY:read`" + `, one that writes ` + "`FAMILY:write`" + `. The scope ` + "`operator`" + ` is for the operator's own clients, because the API affects other callers.
- **Sets**: the merchant must have granted one of these permission sets. Where WeChat's page names them (no mark), a call without one of them is refused before WeChat is called. Sets with a question mark are guessed: the call is sent and WeChat decides. *any*: any authorization suffices. *unsupported*: WeChat's page says that third parties may not call it; the call is sent and WeChat decides. *unknown*: nothing is known.
- **Notes**: *repeatable* APIs change nothing a second time. *file* is an answer that may be binary. *spends a code* means that the platform never repeats the call.

An API that is not here is relayed only for clients with the scope ` + "`wechat:any`" + `. Never relayed, whatever the scope: ` + "`/cgi-bin/token`, `/cgi-bin/stable_token`, `/cgi-bin/clear_quota/v2`, `/cgi-bin/component/…` (but for privacy settings and options), `/componenttcb/…`, `/sns/…`" + ` but for the [login of users](login.md), the component's library of code templates, and the two settings of its advertising: they need the component's token, or take or return a secret.
`

const chineseIntro = "# 微信接口目录\n" + `
[English](../apis.md)

平台为租户的账号转发下列微信接口。本页由目录文件 ` + "`relay/catalogue.tsv`" + ` 生成：

` + "```sh" + `
go run ./cmd/platform api list --markdown > docs/apis.md
go run ./cmd/platform api list --markdown --chinese > docs/zh/apis.md
` + "```" + `

` + "`platform api show PATH`" + ` 列出某个接口的全部信息，以及运营者用 [PLATFORM_API_OFF 和 PLATFORM_API_UNCHECKED](operate/configure.md#配置项) 所做的改动。

- **scope**：客户端的 JWT 须包含的权限。读接口为 ` + "`类别:read`" + `，写接口为 ` + "`类别:write`" + `。` + "`operator`" + ` 只给运营者自己的客户端，因为这些接口会影响其他调用方。
- **权限集**：商家须授予其中之一。没有标记的出自微信文档，缺少时不请求微信，直接拒绝；带问号的是推测，照常转发，由微信判断。*任意授权*：有授权即可。*不对第三方开放*：微信文档说第三方平台不能调用，照常转发，由微信判断。*未知*：没有资料。
- **备注**：*可重复*的接口重复调用没有副作用。*文件*：应答可能是二进制。*消耗 code*：平台绝不重发。来自资料的说明保留英文原文。

没有列出的接口只对有 ` + "`wechat:any`" + ` 权限的客户端转发。无论什么权限都不转发的有：` + "`/cgi-bin/token`、`/cgi-bin/stable_token`、`/cgi-bin/clear_quota/v2`、`/cgi-bin/component/…`" + `（隐私设置和选项除外）、` + "`/componenttcb/…`、`/sns/…`" + `（[用户登录](login.md)除外）、第三方平台的代码模板库，以及它的两项广告设置：它们需要第三方平台的 token，或收发密钥。
`

// print prints the page.
func (p apiPage) print(out io.Writer) error {
	catalogue, err := relay.Load()
	if err != nil {
		return err
	}
	views := viewAPIs(catalogue, catalogue.All())
	var page strings.Builder
	page.WriteString(p.intro)
	for _, family := range relay.Families() {
		page.WriteString("\n## " + family.Name + "\n\n" + p.about(family) + "\n\n")
		page.WriteString(p.columns + "\n|---|---|---|---|---|\n")
		for _, v := range views {
			if v.Family == family.Name {
				page.WriteString(p.row(v))
			}
		}
	}
	_, err = io.WriteString(out, page.String())
	return err
}

// about is the sentence below a family's heading.
func (p apiPage) about(family relay.Family) string {
	if p.chinese {
		return family.Chinese + "。"
	}
	return strings.ToUpper(family.About[:1]) + family.About[1:] + "."
}

// row is the API's row.
func (p apiPage) row(v apiView) string {
	name := v.name()
	if p.chinese {
		name = cmp.Or(v.Chinese, v.English)
	}
	if v.Link != "" {
		name = "[" + name + "](" + v.Link + ")"
	}
	return fmt.Sprintf("| `%s %s` | %s | `%s` | %s | %s |\n", v.Method, v.Path, name, v.Scope, p.needs(v), p.remarks(v))
}

// needs is what the merchant must have granted.
func (p apiPage) needs(v apiView) string {
	sets := strings.ReplaceAll(v.numbers(), ",", ", ")
	switch {
	case v.Rule == relay.Required:
		return sets
	case v.Rule == relay.Guessed:
		return sets + "?"
	case len(v.Sets) > 0:
		return p.word(string(v.Rule)) + ", " + sets + "?"
	}
	return p.word(string(v.Rule))
}

// remarks are the notes of an API.
func (p apiPage) remarks(v apiView) string {
	var all []string
	if v.SingleUse {
		all = append(all, p.word("spends a code"))
	}
	if v.Writes && v.Safe {
		all = append(all, p.word("repeatable"))
	}
	if v.Answer == relay.EitherAnswer {
		all = append(all, p.word("file"))
	}
	if v.Body == relay.MultipartBody {
		all = append(all, "multipart")
	}
	if v.Notes != "" {
		all = append(all, v.Notes)
	}
	return strings.Join(all, "; ")
}
