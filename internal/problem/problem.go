// Package problem writes application/problem+json responses (RFC 9457). Which error becomes which
// problem is the caller's decision.
package problem

import (
	"encoding/json"
	"net/http"
)

// ContentType is the content type of every problem.
const ContentType = "application/problem+json"

// Problem is an error response.
type Problem struct {
	Slug      string         // identifies the case; the member type is /problems/<slug>
	Title     string         // the case in a few words, always the same
	Status    int            // the HTTP status
	Detail    string         // about this occurrence, without secrets; may be empty
	RequestID string         // the request's id, as in Request-Id
	Retryable bool           // whether the same request may be sent again unchanged
	More      map[string]any // members of this case only; they do not replace the others
}

// MarshalJSON writes RFC 9457's members, ours, and those in More.
func (p Problem) MarshalJSON() ([]byte, error) {
	members := map[string]any{}
	for name, value := range p.More {
		members[name] = value
	}
	members["type"] = "/problems/" + p.Slug
	members["title"] = p.Title
	members["status"] = p.Status
	members["request_id"] = p.RequestID
	members["retryable"] = p.Retryable
	if p.Detail != "" {
		members["detail"] = p.Detail
	}
	return json.Marshal(members)
}

// Write writes p as the response. It keeps the header fields that w has.
func (p Problem) Write(w http.ResponseWriter) error {
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", ContentType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	_, err = w.Write(append(body, '\n'))
	return err
}
