package relay

import (
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// API is one server API of WeChat's, as the catalogue describes it.
type API struct {
	Method  string // GET or POST
	Path    string // WeChat's path, without a host
	English string // WeChat's name for it, such as "addDraft"; "" if none is known
	Chinese string

	Body      BodyKind // what WeChat's page says; callers may send another, or none
	Answer    AnswerKind
	Write     bool // it changes something at WeChat
	Safe      bool // repeating it cannot change anything a second time
	SingleUse bool // it uses up a code, so it is never repeated

	Family       string // the scopes are Family + ":read" and Family + ":write"
	OperatorOnly bool   // only clients with the scope operator may call it

	Kinds     []Kind                 // the kinds of account that have it; none means not known
	KindsSure bool                   // WeChat's page names the kinds
	Verified  Verification           // whether the account must be verified; advice only
	AnyOf     []wechat.PermissionSet // one of these is needed; none means that any authorization suffices, or that nothing is known
	Sets      SetRule
	Certainty Certainty
	Source    string
	Notes     string
	Link      string // WeChat's page, or ""

	scope tenant.Scope // Scope's answer, if it is known

	Off       bool // the operator switched it off: it is not relayed
	Unchecked bool // the operator switched its set check off: Sets is Guessed instead of Required
}

// BodyKind is what a request carries.
type BodyKind string

// The kinds of bodies.
const (
	NoBody        BodyKind = "none"
	JSONBody      BodyKind = "json"
	MultipartBody BodyKind = "multipart"
	RawBody       BodyKind = "raw"
)

// AnswerKind is what WeChat answers to a call that succeeds.
type AnswerKind string

// The kinds of answers. Either is binary, or JSON for some arguments.
const (
	JSONAnswer   AnswerKind = "json"
	EitherAnswer AnswerKind = "either"
)

// Kind is a kind of account.
type Kind string

// The kinds of accounts.
const (
	Subscription   Kind = "official"
	ServiceAccount Kind = "service"
	MiniProgram    Kind = "miniprogram"
	MiniGame       Kind = "minigame"
	Store          Kind = "store"
)

// Verification says whether an account must be verified by WeChat.
type Verification string

// What is known about verification. Some means that only some kinds of account must be verified.
const (
	VerifiedYes     Verification = "yes"
	VerifiedNo      Verification = "no"
	VerifiedSome    Verification = "some"
	VerifiedUnknown Verification = "unknown"
)

// SetRule says how the permission sets of an API are enforced.
type SetRule string

// The rules. Only Required refuses a call before WeChat is called.
const (
	Required    SetRule = "required"    // documented: one of AnyOf must be granted
	Guessed     SetRule = "guessed"     // inferred: WeChat decides
	AnySet      SetRule = "any"         // documented: any authorization suffices
	Unsupported SetRule = "unsupported" // WeChat's page says that third parties may not call it; it is forwarded and marked
	NotKnown    SetRule = "unknown"
)

// Certainty is how sure the row is.
type Certainty string

// How sure a row is.
const (
	Documented Certainty = "doc"
	Inferred   Certainty = "inferred"
	Unsure     Certainty = "unknown"
)

// Scope returns the scope that a call of the API needs: wechat:any if the catalogue does not list
// it.
func (a API) Scope() tenant.Scope {
	switch {
	case a.scope != "":
		return a.scope
	case a.OperatorOnly:
		return tenant.OperatorAPIs
	case a.Family == "":
		return tenant.WeChatAny
	case a.Write:
		return tenant.Scope(a.Family + ":write")
	}
	return tenant.Scope(a.Family + ":read")
}
