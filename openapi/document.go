package openapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"wxplatform/relay"
)

// routesJSON describes the platform's own routes, in OpenAPI. The answers that are problems are not
// in it: x-problems lists their slugs, or groups of them.
//
//go:embed routes.json
var routesJSON []byte

// object is a JSON object.
type object = map[string]any

// Problem is a problem type that routes may answer with.
type Problem struct {
	Slug      string
	Status    int
	Title     string
	Retryable bool
}

// builder is a document that is being made.
type builder struct {
	problems   []Problem
	paths      object
	components object
}

// Document returns the OpenAPI document of the platform: its own routes, and those of the APIs in
// the catalogue at both doors. The same arguments give the same bytes.
func Document(catalogue *relay.Catalogue, problems []Problem) ([]byte, error) {
	b := &builder{problems: problems}
	if err := b.readRoutes(); err != nil {
		return nil, fmt.Errorf("read routes.json: %w", err)
	}
	b.addComponents()
	for path, item := range b.paths {
		if err := b.addProblems(item.(object)); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	b.addAPIs(catalogue)
	return write(object{
		"openapi": "3.1.0", "info": info(), "servers": []any{object{"url": "/"}}, "tags": tags(),
		"paths": b.paths, "components": b.components,
	}), nil
}

func (b *builder) readRoutes() error {
	var own struct{ Paths, Components object }
	if err := json.Unmarshal(routesJSON, &own); err != nil {
		return err
	}
	b.paths, b.components = own.Paths, own.Components
	return nil
}

// addComponents adds the components that are made from tables.
func (b *builder) addComponents() {
	b.section("securitySchemes")["oauth"] = object{
		"type": "oauth2", "description": "A JWT of /oauth/token in the Authorization header.",
		"flows": object{"clientCredentials": object{"tokenUrl": "/oauth/token", "scopes": scopes()}},
	}
	b.section("schemas")["Problem"] = b.problemSchema()
	for _, p := range b.problems {
		b.section("examples")[b.exampleName(p)] = object{"value": p.example()}
	}
	b.section("responses")["Relayed"] = b.answer("A problem. WeChat's refusals have its whole answer in the member wechat.", b.named(relayed...))
}

// section returns a part of the components, such as "schemas".
func (b *builder) section(name string) object {
	part, _ := b.components[name].(object)
	if part == nil {
		part = object{}
		b.components[name] = part
	}
	return part
}

// methods are the members of a path item that are operations, of those that routes use.
var methods = []string{"get", "post", "put", "patch", "delete"}

func operations(item object) (all []object) {
	for _, method := range methods {
		if operation, has := item[method].(object); has {
			all = append(all, operation)
		}
	}
	return all
}

func info() object {
	return object{
		"title": "wxplatform", "version": "1",
		"summary": "WeChat's APIs on behalf of merchants. 代商家调用微信接口。",
		"description": strings.Join([]string{
			"WeChat's APIs are available at two doors. The native door is WeChat's path below /v1/authorizers/{appid}, with a JWT of /oauth/token; its errors are problems (RFC 9457).",
			"The drop-in door is WeChat's own path with ?access_token=, for existing SDKs; its errors are an errcode and an errmsg. The two take the same requests, so each API is described once, at the native door.",
			"A path with {path} stands for WeChat's APIs that are not listed here; {path} may contain slashes.",
			"x-wechat says what is known of an API: permission_sets (the merchant must have granted any one of them) and how sure that is, which kinds of account have it, and whether it may be repeated.",
			"The type of a problem is the address of a page that explains it.",
		}, "\n\n"),
	}
}

// ownTags are the tags besides the families of WeChat's APIs.
var ownTags = [][2]string{
	{"tokens", "JWTs for clients, and the keys that verify them. 凭据。"},
	{"invitations", "Links that merchants follow to authorize. 授权邀请。"},
	{"authorizers", "The tenant's accounts. 已授权的帐号。"},
	{"audit", "Who changed what. 审计记录。"},
	{"logins", "Logins of an account's users. 用户登录。"},
	{"pages", "Pages for people. 页面。"},
	{"pushes", "What WeChat calls. 微信推送。"},
	{"operations", "For the operator, on an address of its own. 运维。"},
	{"operator", "WeChat's APIs that affect other callers, for the operator's own clients. 仅限运营者的微信接口。"},
	{"other", "WeChat's APIs that this document does not list. 未列出的微信接口。"},
	{"drop-in", "WeChat's own paths, for SDKs. 供 SDK 使用的微信原生路径。"},
}

func tags() (all []any) {
	for _, tag := range ownTags {
		all = append(all, object{"name": tag[0], "description": tag[1]})
	}
	for _, family := range relay.Families() {
		all = append(all, object{"name": family.Name, "description": "WeChat's APIs: " + family.About + "."})
	}
	return all
}

func ref(section, name string) object { return object{"$ref": "#/components/" + section + "/" + name} }

func sorted(m object) []string { return slices.Sorted(maps.Keys(m)) }
