package main

import (
	"fmt"
	"io"
	"strings"

	"wxplatform/relay"
)

// apiPage is docs/apis.md up to the first family. A test compares the page with what printAPIPage
// prints.
const apiPage = "# WeChat's APIs\n" + `
The platform relays these APIs of WeChat's for the accounts of a tenant. This page is made from the catalogue in ` + "`relay/catalogue.tsv`" + `:

` + "```sh" + `
go run ./cmd/platform api list --markdown > docs/apis.md
` + "```" + `

` + "`platform api show PATH`" + ` prints all that is known of one API, and what an operator changed by [PLATFORM_API_OFF and PLATFORM_API_UNCHECKED](operate.md#settings).

- **Scope**: what the client's JWT must allow. An API that reads needs ` + "`FAMILY:read`" + `, one that writes ` + "`FAMILY:write`" + `. The scope ` + "`operator`" + ` is for the operator's own clients, because the API affects other callers.
- **Sets**: the merchant must have granted one of these permission sets. Where WeChat's page names them (no mark), a call without one of them is refused before WeChat is called. Sets with a question mark are guessed: the call is sent and WeChat decides. *any*: any authorization suffices. *unsupported*: WeChat's page says that third parties may not call it; the call is sent and WeChat decides. *unknown*: nothing is known.
- **Notes**: *repeatable* APIs change nothing a second time. *file* is an answer that may be binary. *spends a code* means that the platform never repeats the call.

An API that is not here is relayed only for clients with the scope ` + "`wechat:any`" + `. Never relayed, whatever the scope: ` + "`/cgi-bin/token`, `/cgi-bin/stable_token`, `/cgi-bin/clear_quota/v2`, `/cgi-bin/component/…` (but for privacy settings and options), `/componenttcb/…`, `/sns/…`" + ` but for the [login of users](login.md), the component's library of code templates, and the two settings of its advertising: they need the component's token, or take or return a secret.
`

// printAPIPage prints docs/apis.md.
func printAPIPage(out io.Writer) error {
	catalogue, err := relay.Load()
	if err != nil {
		return err
	}
	views := viewAPIs(catalogue, catalogue.All())
	var page strings.Builder
	page.WriteString(apiPage)
	for _, family := range relay.Families() {
		page.WriteString("\n## " + family.Name + "\n\n" + strings.ToUpper(family.About[:1]) + family.About[1:] + ".\n\n")
		page.WriteString("| API | name | scope | sets | notes |\n|---|---|---|---|---|\n")
		for _, v := range views {
			if v.Family == family.Name {
				page.WriteString(v.row())
			}
		}
	}
	_, err = io.WriteString(out, page.String())
	return err
}

// row is the API's row in docs/apis.md.
func (v apiView) row() string {
	name := v.name()
	if v.Link != "" {
		name = "[" + name + "](" + v.Link + ")"
	}
	return fmt.Sprintf("| `%s %s` | %s | `%s` | %s | %s |\n", v.Method, v.Path, name, v.Scope, v.needs(), v.remarks())
}

// needs is what the merchant must have granted, as docs/apis.md shows it.
func (v apiView) needs() string {
	sets := strings.ReplaceAll(v.numbers(), ",", ", ")
	switch {
	case v.Rule == relay.Required:
		return sets
	case v.Rule == relay.Guessed:
		return sets + "?"
	case len(v.Sets) > 0:
		return "*" + string(v.Rule) + "*, " + sets + "?"
	}
	return "*" + string(v.Rule) + "*"
}

// remarks are the notes of docs/apis.md.
func (v apiView) remarks() string {
	var all []string
	if v.SingleUse {
		all = append(all, "*spends a code*")
	}
	if v.Writes && v.Safe {
		all = append(all, "*repeatable*")
	}
	if v.Answer == relay.EitherAnswer {
		all = append(all, "*file*")
	}
	if v.Body == relay.MultipartBody {
		all = append(all, "multipart")
	}
	if v.Notes != "" {
		all = append(all, v.Notes)
	}
	return strings.Join(all, "; ")
}
