package authorizer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"

	"wxplatform/component"
	"wxplatform/internal/seal"
	"wxplatform/token"
	"wxplatform/wechat"
)

// api is what this package asks WeChat for itself.
type api struct {
	component *component.Component
	wechat    *wechat.Client
}

// RefreshPath is the API that gives an authorizer's access token for its refresh token.
const RefreshPath = "/cgi-bin/component/api_authorizer_token"

// tokenRequest returns the call that asks for an access token of id with the component token with
// (docs/wechat.md, "Refresh of an access token"). It reads the refresh token into answer even if
// the access token is missing, but nothing of an answer that names another account.
func (a api) tokenRequest(id wechat.AppID, with token.Token, refresh seal.Secret, answer *token.Answer) wechat.Call {
	anothers := false // a reading of the answer found another account in it
	return wechat.Call{
		Method: http.MethodPost,
		Path:   RefreshPath,
		As:     wechat.ComponentToken,
		Token:  with.Access,
		Body: wechat.JSON(map[string]string{
			"component_appid":          string(a.component.AppID),
			"authorizer_appid":         string(id),
			"authorizer_refresh_token": refresh.Reveal(),
		}),
		Once: true,
		Read: func(o wechat.Object) (lacks string) {
			*answer = token.Answer{} // from an earlier reading: see wechat.Call.Once
			if other, ok := o.AppID("authorizer_appid"); ok && other != id {
				anothers = true // WeChat need not name it
			}
			if anothers {
				return "authorizer_appid"
			}
			answer.Refresh, _ = o.Secret("authorizer_refresh_token")
			answer.ExpiresIn = o.Life("expires_in")
			var ok bool
			if answer.Access, ok = o.Secret("authorizer_access_token"); !ok {
				return "authorizer_access_token"
			}
			return ""
		},
	}
}

// readProfile calls api_get_authorizer_info (docs/wechat.md, "Profile of an authorizer"). The
// answer must have an authorizer_info that tells something; Profile.with reads it.
func (a api) readProfile(ctx context.Context, id wechat.AppID) (wechat.Object, error) {
	var answer wechat.Object
	_, err := a.component.Call(ctx, wechat.Call{
		Method: http.MethodPost,
		Path:   "/cgi-bin/component/api_get_authorizer_info",
		Body:   wechat.JSON(map[string]string{"component_appid": string(a.component.AppID), "authorizer_appid": string(id)}),
		Read: func(o wechat.Object) (lacks string) {
			answer = o
			if info, _ := o.Object("authorizer_info"); !tells(info) {
				return "authorizer_info"
			}
			authorization, _ := o.Object("authorization_info")
			if other, ok := authorization.AppID("authorizer_appid"); ok && other != id {
				return "authorization_info.authorizer_appid" // it is another account's
			}
			return ""
		},
	})
	if err != nil {
		return wechat.Object{}, fmt.Errorf("profile of %s: %w", id, err)
	}
	return answer, nil
}

// tells reports whether an authorizer_info has a readable member.
func tells(info wechat.Object) bool {
	quiet, _ := wechat.ParseObject(info.JSON()) // what is odd counts when Profile.with reads it
	for _, name := range []string{"user_name", "alias", "nick_name", "principal_name"} {
		if _, ok := quiet.Text(name); ok {
			return true
		}
	}
	service, _ := quiet.Object("service_type_info")
	verify, _ := quiet.Object("verify_type_info")
	_, typed := service.Int("id")
	_, verified := verify.Int("id")
	_, status := quiet.Int("account_status")
	return typed || verified || status || isMiniProgram(quiet)
}

// with returns p after an answer of api_get_authorizer_info. What the answer does not say stays as
// it was.
func (p Profile) with(answer wechat.Object) Profile {
	info, _ := answer.Object("authorizer_info")
	take(info, "user_name", &p.UserName)
	take(info, "alias", &p.Alias)
	take(info, "nick_name", &p.NickName)
	take(info, "principal_name", &p.PrincipalName)
	p.Kind = p.kind(info)
	if verify, ok := info.Object("verify_type_info"); ok {
		takeInt(verify, "id", &p.VerifyType)
	}
	takeInt(info, "account_status", &p.AccountStatus)
	p.PermissionSets = p.PermissionSets.After(permissionSets(answer))
	return p
}

// permissionSets returns the sets in the authorization_info of an answer. all says that the
// merchant granted no others. In a broken answer any part of the list may be missing.
func permissionSets(answer wechat.Object) (sets wechat.PermissionSets, all bool) {
	authorization, _ := answer.Object("authorization_info")
	sets, all = authorization.PermissionSets("func_info")
	return sets, all && answer.Whole()
}

func take[T ~string](o wechat.Object, name string, into *T) {
	if text, ok := o.Name(name); ok {
		*into = T(text)
	}
}

func takeInt(o wechat.Object, name string, into *int) {
	if n, ok := o.Int(name); ok && n == int64(int32(n)) {
		*into = int(n)
	}
}

// isMiniProgram reports whether info has a MiniProgramInfo, which is WeChat's own test for a mini
// program, because the numbers of service types overlap. An empty or broken one says nothing.
func isMiniProgram(info wechat.Object) bool {
	program, ok := info.Object("MiniProgramInfo")
	return ok && !program.Empty() && program.Whole()
}

// kind returns the kind of account that info describes. A mini program stays one if MiniProgramInfo
// is missing, because accounts never change their kind.
func (p Profile) kind(info wechat.Object) Kind {
	service, _ := info.Object("service_type_info")
	id, told := service.Int("id")
	switch {
	case isMiniProgram(info), p.Kind == MiniProgram:
		return MiniProgram
	case id == 2:
		return Service
	case told, p.Kind == Unread:
		return Official
	}
	return p.Kind
}

// listedAtOnce is the most that WeChat lists at once (docs/wechat.md, "List of authorizers").
const listedAtOnce = 500

// ListPage is one page of WeChat's list of the accounts that authorized the component.
type ListPage struct {
	Entries []Listing
	Named   []wechat.AppID // every account on the page, with those whose refresh token is unreadable
	Len     int            // of the page as it came, with the entries that say nothing
	Total   int64          // of all pages, by WeChat's count; negative if it did not say
}

// Walk is how far a reading of the list is. Its zero value is the beginning.
type Walk struct {
	Seen     int                 // entries; the next page begins behind them
	accounts map[uint64]struct{} // hashes of the appids seen, because a million of them would take much memory
	seed     maphash.Seed
}

// Ends adds a page, and reports whether it is the last one. WeChat's count decides, or an empty
// page if more entries were seen than it counts. An empty page before the count is reached fails
// with an error: an account that was not seen may still be listed. So does a page without a new
// account, because a list that ignores the offset would never end; only the last page may consist
// of entries that say nothing.
func (w *Walk) Ends(p ListPage) (last bool, err error) {
	w.Seen += p.Len
	isNew, counted := w.add(p.Named), int64(w.Seen) == p.Total
	early := p.Len == 0 && (p.Total < 0 || int64(w.Seen) < p.Total)
	lastSaysNothing := counted && len(p.Named) == 0
	if early || p.Len > 0 && !isNew && !lastSaysNothing {
		return true, fmt.Errorf("%w: %d entries, of %d by its own count", errListCut, w.Seen, p.Total)
	}
	return p.Len == 0 || counted, nil
}

// add reports whether one of the accounts was not seen before.
func (w *Walk) add(named []wechat.AppID) (isNew bool) {
	if w.accounts == nil {
		w.accounts, w.seed = map[uint64]struct{}{}, maphash.MakeSeed()
	}
	before := len(w.accounts)
	for _, id := range named {
		w.accounts[maphash.String(w.seed, string(id))] = struct{}{}
	}
	return len(w.accounts) > before
}

// errListCut means that WeChat's list ended early, or would not end.
var errListCut = errors.New("WeChat's list ended early or repeats itself")

// listPage reads the page that begins behind offset entries. WeChat may return fewer entries than
// requested.
func (a api) listPage(ctx context.Context, offset int) (ListPage, error) {
	var page ListPage
	_, err := a.component.Call(ctx, wechat.Call{
		Method: http.MethodPost,
		Path:   "/cgi-bin/component/api_get_authorizer_list",
		Body:   wechat.JSON(map[string]any{"component_appid": a.component.AppID, "offset": offset, "count": listedAtOnce}),
		Read: func(o wechat.Object) (lacks string) {
			list, ok := o.List("list")
			if !ok {
				return "list"
			}
			page = ListPage{Len: list.Len, Total: -1}
			page.Entries, page.Named = listings(list)
			if total, ok := o.Int("total_count"); ok {
				page.Total = total
			}
			return ""
		},
	})
	return page, err
}

// listings returns the entries of a list that say which refresh token an account has, or that it
// has none, and the accounts of all entries. An entry without a token does not hide another one of
// the same account.
func listings(list wechat.List) (entries []Listing, named []wechat.AppID) {
	at := make(map[wechat.AppID]int, len(list.Objects))
	for _, entry := range list.Objects {
		id, ok := entry.AppID("authorizer_appid")
		if !ok {
			continue
		}
		named = append(named, id)
		refresh, known := listedToken(entry)
		if !known {
			continue
		}
		switch i, again := at[id]; {
		case again && entries[i].Refresh.IsZero():
			entries[i].Refresh = refresh
		case !again || !refresh.IsZero():
			at[id] = len(entries)
			entries = append(entries, Listing{id, refresh})
		}
	}
	return entries, named
}

// listedToken returns the refresh token of an entry, which is empty if the entry is whole and has
// none. What cannot be read is not known: it may be a token.
func listedToken(entry wechat.Object) (refresh seal.Secret, known bool) {
	if refresh, ok := entry.Secret("refresh_token"); ok {
		return refresh, true
	}
	var told struct {
		RefreshToken string `json:"refresh_token"` // null and absent are "" too
	}
	err := json.Unmarshal(entry.JSON(), &told)
	return seal.Secret{}, err == nil && told.RefreshToken == ""
}

// QuotaPath is the API that tells how much of a quota is used.
const QuotaPath = "/cgi-bin/openapi/quota/get"

// readQuota asks for WeChat's quota for access tokens and how much of it is used (docs/wechat.md,
// "Quota calls"). Both are 0 if WeChat does not tell.
func (a api) readQuota(ctx context.Context) (limit, used int64, err error) {
	with, err := a.component.Token(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("component token: %w", err)
	}
	return a.readQuotaWith(ctx, with)
}

// readQuotaWith is readQuota with the component token with. An answer without a quota is no answer
// of WeChat's.
func (a api) readQuotaWith(ctx context.Context, with token.Token) (limit, used int64, err error) {
	_, err = a.wechat.Do(ctx, wechat.Call{
		Method: http.MethodPost,
		Path:   QuotaPath,
		As:     wechat.ComponentTokenAsAccess,
		Token:  with.Access,
		Body:   wechat.JSON(map[string]string{"cgi_path": RefreshPath}),
		Read: func(o wechat.Object) (lacks string) {
			told, ok := o.Object("quota")
			if !ok {
				return "quota"
			}
			limit, _ = told.Int("daily_limit")
			used, _ = told.Int("used")
			return ""
		},
	})
	return max(0, limit), max(0, used), err
}
