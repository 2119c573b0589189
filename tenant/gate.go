package tenant

import (
	"fmt"
	"net/http"
	"net/url"

	"wxplatform/internal/requestlog"
	"wxplatform/internal/trace"
)

// Gate finds the caller of a request by the JWT that the request carries, and adds the caller's
// tenant and client to the request's log line. Each group of routes has the Gate that reads the JWT
// where the group's callers put it.
type Gate struct {
	Tenants *Registry
	// Query names the query parameter that carries the JWT. If it is "", the JWT is a bearer token
	// in the Authorization header. Nothing but the named place is read, but two Authorization headers
	// are refused in either case.
	Query string
}

// Caller finds the caller of r and counts the request against its tenant's limit. It fails like
// Registry.Authenticate, or with a *RateError.
func (g Gate) Caller(r *http.Request) (Caller, error) {
	_, span := trace.Begin(r.Context(), trace.AdmitCaller)
	defer span.End(false)
	caller, err := g.authenticate(r)
	if err != nil {
		return Caller{}, err
	}
	requestlog.Add(r.Context(), "tenant", string(caller.Tenant))
	requestlog.Add(r.Context(), "client", string(caller.Client))
	return caller, g.Tenants.spend(caller.Tenant, caller.limit)
}

// Tenant finds the caller of r for a route that concerns the whole tenant and needs a scope. It
// fails like Caller and Caller.May. A JWT that is bound to one account is not enough
// (ErrInsufficientScope).
func (g Gate) Tenant(r *http.Request, need Scope) (Caller, error) {
	caller, err := g.Caller(r)
	if err != nil {
		return Caller{}, err
	}
	if caller.AppID != "" {
		return Caller{}, fmt.Errorf("%w: the token is bound to one account", ErrInsufficientScope)
	}
	return caller, caller.May(need)
}

// authenticate refuses a second Authorization header: a proxy in front may check one, and the
// platform would believe the other.
func (g Gate) authenticate(r *http.Request) (Caller, error) {
	if len(r.Header["Authorization"]) > 1 {
		return Caller{}, fmt.Errorf("%w: the Authorization header is given twice", ErrInvalidToken)
	}
	if g.Query == "" {
		return g.Tenants.Authenticate(r.Context(), r.Header.Get("Authorization"))
	}
	token, err := queryToken(r.URL.RawQuery, g.Query)
	if err != nil {
		return Caller{}, err
	}
	return g.Tenants.AuthenticateToken(r.Context(), token)
}

// queryToken reads the JWT from a query parameter. If the parameter comes twice, one reader would
// believe the first and another the last, so neither is believed.
func queryToken(query, name string) (string, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", fmt.Errorf("%w: the query cannot be read", ErrInvalidToken)
	}
	switch tokens := values[name]; {
	case len(tokens) > 1:
		return "", fmt.Errorf("%w: %s is given twice", ErrInvalidToken, name)
	case len(tokens) == 0 || tokens[0] == "":
		return "", ErrNoToken
	default:
		return tokens[0], nil
	}
}
