package openapi

import (
	"slices"
	"strings"

	"wxplatform/relay"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

const nativePrefix = "/v1/authorizers/{appid}"

// addAPIs adds the APIs of the catalogue, at both doors. A path of routes.json stays as it is.
func (b *builder) addAPIs(catalogue *relay.Catalogue) {
	own := sorted(b.paths)
	byPath := map[string][]relay.API{}
	for _, a := range catalogue.All() {
		byPath[a.Path] = append(byPath[a.Path], a)
	}
	for path, apis := range byPath {
		if !slices.Contains(own, nativePrefix+path) {
			b.paths[nativePrefix+path] = nativeItem(apis)
		}
		if !slices.Contains(own, path) {
			b.paths[path] = b.dropIn(apis)
		}
	}
	b.addOthers(catalogue.Roots())
}

// nativeItem describes the APIs of one path below /v1/authorizers/{appid}.
func nativeItem(apis []relay.API) object {
	item := object{"parameters": []any{ref("parameters", "appid"), ref("parameters", "query")}}
	for _, a := range apis {
		id := operationID(a.Path)
		if len(apis) > 1 {
			id = strings.ToLower(a.Method) + strings.ToUpper(id[:1]) + id[1:]
		}
		item[strings.ToLower(a.Method)] = native(a, id)
	}
	return item
}

func native(a relay.API, id string) object {
	tag := a.Family
	if a.OperatorOnly {
		tag = "operator"
	}
	operation := object{
		"operationId": id, "summary": strings.TrimSpace(a.English + " " + a.Chinese), "tags": []any{tag},
		"security": needs(a.Scope()), "responses": object{"200": ref("responses", answers[a.Answer]), "default": ref("responses", "Relayed")},
		"x-wechat": facts(a),
	}
	if a.Link != "" {
		operation["externalDocs"] = object{"url": a.Link}
	}
	addBody(operation, a)
	return operation
}

// answers are the responses of routes.json by the kind of answer.
var answers = map[relay.AnswerKind]string{relay.JSONAnswer: "WeChat", relay.EitherAnswer: "WeChatFile"}

func needs(scope tenant.Scope) []any {
	return []any{object{"oauth": []any{string(scope)}}}
}

func addBody(operation object, a relay.API) {
	if a.Body != relay.NoBody {
		operation["requestBody"] = ref("requestBodies", string(a.Body))
	}
}

// facts are what the catalogue knows of an API, under the names that platform api list --json has.
func facts(a relay.API) object {
	known := object{"permission_set_rule": string(a.Sets), "certainty": string(a.Certainty), "writes": a.Write}
	for name, is := range map[string]bool{"safe_to_repeat": a.Write && a.Safe, "spends_a_code": a.SingleUse} {
		if is {
			known[name] = true
		}
	}
	if len(a.AnyOf) > 0 {
		known["permission_sets"] = anys(a.AnyOf, func(set wechat.PermissionSet) any { return int(set) })
	}
	if len(a.Kinds) > 0 {
		known["account_kinds"] = anys(a.Kinds, func(kind relay.Kind) any { return string(kind) })
	}
	if a.Verified != relay.VerifiedUnknown {
		known["verification"] = string(a.Verified)
	}
	if a.Notes != "" {
		known["notes"] = a.Notes
	}
	return known
}

func anys[T any](all []T, as func(T) any) (list []any) {
	for _, one := range all {
		list = append(list, as(one))
	}
	return list
}

// operationID is the API's path in camel case: WeChat's own names are not unique.
func operationID(path string) string {
	words := strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '_' || r == '-' || r == '.' })
	for i := range words[1:] {
		words[i+1] = strings.ToUpper(words[i+1][:1]) + words[i+1][1:]
	}
	return strings.Join(words, "")
}

// dropIn refers to the description of all paths that take the same methods and kinds of bodies.
func (b *builder) dropIn(apis []relay.API) object {
	name, item := "drop-in", object{}
	for _, a := range apis {
		name += "-" + strings.ToLower(a.Method) + "-" + string(a.Body)
		operation := atDropIn("WeChat's API at WeChat's own path, for SDKs. It is described at the native door. 供 SDK 使用。", "drop-in")
		addBody(operation, a)
		item[strings.ToLower(a.Method)] = operation
	}
	item["parameters"] = []any{ref("parameters", "query")}
	b.section("pathItems")[name] = item
	return ref("pathItems", name)
}

func atDropIn(summary, tag string) object {
	return object{
		"summary": summary, "tags": []any{tag}, "security": []any{object{"sdk": []any{}}},
		"responses": object{"200": ref("responses", "DropIn")},
	}
}

// addOthers adds the paths that stand for APIs that the catalogue does not list.
func (b *builder) addOthers(roots []string) {
	const summary = "An API of WeChat's that this document does not list. 未列出的微信接口。"
	native, dropIn := object{}, object{}
	for _, method := range []string{"get", "post"} {
		native[method] = object{
			"summary": summary, "tags": []any{"other"}, "security": needs(tenant.WeChatAny),
			"responses": object{"200": ref("responses", "WeChatFile"), "default": ref("responses", "Relayed")},
		}
		dropIn[method] = atDropIn(summary, "other")
	}
	for _, item := range []object{native, dropIn} {
		item["post"].(object)["requestBody"] = ref("requestBodies", "raw")
		item["parameters"] = []any{ref("parameters", "path"), ref("parameters", "query")}
	}
	native["parameters"] = append(native["parameters"].([]any), ref("parameters", "appid"))
	b.paths[nativePrefix+"/{path}"] = native
	b.section("pathItems")["other"] = dropIn
	for _, root := range roots {
		b.paths[root+"/{path}"] = ref("pathItems", "other")
	}
}

// scopes are all scopes with what they allow.
func scopes() object {
	all := object{
		string(tenant.AuthorizersRead): "the tenant's accounts and invitations", string(tenant.AuthorizersWrite): "make and cancel invitations",
		string(tenant.AuditRead): "who changed what, of all that is the tenant's",
		string(tenant.WeChatAny): "WeChat's APIs that the catalogue does not list", string(tenant.OperatorAPIs): "WeChat's APIs that affect other callers; for the operator's own clients",
	}
	for _, family := range relay.Families() {
		all[family.Name+":read"] = "read: " + family.About
		all[family.Name+":write"] = "change: " + family.About
	}
	return all
}
