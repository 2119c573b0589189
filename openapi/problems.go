package openapi

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// groups are the problems that many routes share. A route that takes @jwt or more takes those of
// @all, too.
var groups = map[string][]string{
	"@all":     {"invalid-request", "overloaded", "unavailable", "internal-error"},
	"@jwt":     {"@all", "invalid-token", "token-expired", "insufficient-scope", "tenant-suspended", "tenant-limit"},
	"@body":    {"too-large", "wrong-content-type"},
	"@account": {"unknown-authorizer", "authorization-revoked", "reauthorization-required", "account-not-eligible", "permission-set-missing", "wechat-unavailable"},
	"@wechat":  {"wechat-unavailable", "platform-misconfigured", "token-rejected", "wechat-quota", "wechat-refused", "outcome-unknown", "invalid-openid"},
	"@kf": {
		"kf-not-enabled", "unknown-kf-account", "kf-account-not-bound", "kf-nickname-invalid", "kf-account-invalid", "kf-account-limit",
		"kf-account-exists", "kf-worker-exists", "kf-already-invited", "kf-wechat-id-invalid", "kf-worker-limit", "kf-invitation-pending",
		"kf-account-bound", "no-session", "served-by-another", "kf-offline", "kf-parameter-invalid", "kf-span-too-long",
	},
}

// relayed are the problems of WeChat's APIs at the native door.
var relayed = []string{"@jwt", "@account", "@wechat", "@kf", "too-large", "length-required", "unknown-api", "api-not-relayed", "api-switched-off", "method-not-allowed"}

// expand replaces groups by the slugs in them.
func expand(names []string) (slugs []string) {
	for _, name := range names {
		if group, is := groups[name]; is {
			slugs = append(slugs, expand(group)...)
		} else {
			slugs = append(slugs, name)
		}
	}
	return slugs
}

// named returns the problems with these slugs, or of these groups. A slug may have several
// statuses.
func (b *builder) named(names ...string) []Problem {
	slugs := expand(names)
	return slices.DeleteFunc(slices.Clone(b.problems), func(p Problem) bool { return !slices.Contains(slugs, p.Slug) })
}

// addProblems adds to the operations of a path the answers that x-problems lists.
func (b *builder) addProblems(item object) error {
	for _, operation := range operations(item) {
		names := texts(operation["x-problems"])
		delete(operation, "x-problems")
		for _, slug := range expand(names) {
			if !slices.ContainsFunc(b.problems, func(p Problem) bool { return p.Slug == slug }) {
				return fmt.Errorf("x-problems: there is no problem %q", slug)
			}
		}
		b.addAnswers(operation["responses"].(object), b.named(names...))
	}
	return nil
}

func texts(list any) (all []string) {
	for _, one := range listOf(list) {
		all = append(all, one.(string))
	}
	return all
}

func listOf(list any) []any {
	all, _ := list.([]any)
	return all
}

// addAnswers adds an answer for each status that the problems have. A status may have another
// answer already: then it has the content of both.
func (b *builder) addAnswers(responses object, problems []Problem) {
	byStatus := map[string][]Problem{}
	for _, p := range problems {
		status := strconv.Itoa(p.Status)
		byStatus[status] = append(byStatus[status], p)
	}
	for status, some := range byStatus {
		made := b.answer(slugsOf(some), some)
		if other, has := responses[status].(object); has {
			other["content"].(object)[problemJSON] = made["content"].(object)[problemJSON]
			continue
		}
		responses[status] = made
	}
}

func slugsOf(problems []Problem) string {
	var slugs []string
	for _, p := range problems {
		slugs = append(slugs, p.Slug)
	}
	return strings.Join(slugs, ", ")
}

const problemJSON = "application/problem+json"

// answer is a response that is one of the problems. Its examples are named by their slugs.
func (b *builder) answer(description string, problems []Problem) object {
	examples := object{}
	for _, p := range problems {
		examples[b.exampleName(p)] = ref("examples", b.exampleName(p))
	}
	return object{"description": description, "content": object{problemJSON: object{"schema": ref("schemas", "Problem"), "examples": examples}}}
}

// exampleName is the slug, with the status if the slug has several.
func (b *builder) exampleName(p Problem) string {
	for _, other := range b.problems {
		if other.Slug == p.Slug && other.Status != p.Status {
			return p.Slug + "-" + strconv.Itoa(p.Status)
		}
	}
	return p.Slug
}

func (p Problem) example() object {
	return object{"type": "/problems/" + p.Slug, "title": p.Title, "status": p.Status, "retryable": p.Retryable, "request_id": "4rkey0rym52fw4zypn1v"}
}

// problemSchema describes every problem.
func (b *builder) problemSchema() object {
	var types []any
	for _, p := range b.problems {
		if address := any("/problems/" + p.Slug); !slices.Contains(types, address) {
			types = append(types, address)
		}
	}
	return object{
		"type": "object", "required": []any{"type", "title", "status", "retryable", "request_id"},
		"properties": object{
			"type":            object{"type": "string", "description": "Which problem it is, and the address of its page. Programs branch on it.", "enum": types},
			"title":           object{"type": "string"},
			"status":          object{"type": "integer"},
			"retryable":       object{"type": "boolean", "description": "Whether the same request may be sent again unchanged."},
			"request_id":      object{"type": "string", "description": "As in the header Request-Id."},
			"detail":          object{"type": "string"},
			"errcode":         object{"type": "integer", "description": "WeChat's, if WeChat refused."},
			"errmsg":          object{"type": "string"},
			"rid":             object{"type": "string", "description": "WeChat's id of the call."},
			"wechat":          object{"type": "object", "description": "WeChat's whole answer to a relayed call that it refused."},
			"required_any_of": object{"type": "array", "items": object{"type": "integer"}, "description": "The permission sets of which one is missing."},
			"granted":         object{"type": []any{"array", "null"}, "items": object{"type": "integer"}, "description": "The permission sets that the merchant granted."},
			"verified":        object{"type": "boolean"},
		},
	}
}
