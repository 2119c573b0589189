package trace

// Key is the name of an attribute.
type Key string

// The attributes. Where OpenTelemetry has a name for one, it is used.
const (
	Method    Key = "http.request.method"       // a standard method, or "other"
	Route     Key = "http.route"                // the pattern of one of our routes, or "unmatched"
	Status    Key = "http.response.status_code" // ours, or WeChat's
	ErrorType Key = "error.type"                // of a request, the slug of its problem; of a call, Refused, NotSent or Unknown
	RequestID Key = "wxplatform.request_id"     // as in the response's Request-Id and in the log
	Tenant    Key = "wxplatform.tenant"         // the caller's, once it is authenticated
	Client    Key = "wxplatform.client"         // the caller's, once it is authenticated
	AppID     Key = "wxplatform.appid"          // of an account of that tenant
	API       Key = "wxplatform.api"            // a path of the catalogue
	Outcome   Key = "wxplatform.outcome"        // "inferred" if getsession settled the result of a close
	Source    Key = "wxplatform.token.source"   // Process, Redis, SQL, WeChat or Shared
	Template  Key = "url.template"              // of a call of WeChat: its path, without the query
	Code      Key = "wechat.errcode"            // 0 for a success
	Attempt   Key = "wechat.attempt"            // 1 for the first attempt at a call
)

// The values of Source: where a token came from.
const (
	Process = "process" // this process knew it
	Redis   = "redis"
	SQL     = "sql"
	WeChat  = "wechat" // it was refreshed
	Shared  = "shared" // another request of this process looked for it at the same time
)

// The values of ErrorType for a call of WeChat that failed.
const (
	Refused = "refused"
	NotSent = "not_sent"
	Unknown = "unknown" // WeChat may have acted
)
