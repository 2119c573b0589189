// Package problem writes application/problem+json (RFC 9457). It knows no domain: which error becomes which problem is the caller's table.
package problem

import (
	"encoding/json"
	"net/http"
)

// ContentType is that of every problem.
const ContentType = "application/problem+json"

// Problem is what a caller reads instead of an answer.
type Problem struct {
	Slug      string         // names the case; type is /problems/<slug>
	Title     string         // the case in a few words, always the same
	Status    int            // HTTP's
	Detail    string         // this occurrence, without secrets; may be empty
	RequestID string         // the request's id, as in Request-Id
	Retryable bool           // whether the same request may be sent again as it is
	More      map[string]any // members of this case alone; they do not replace the others
}

// MarshalJSON puts the members of RFC 9457 and ours beside those of the case.
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

// Write answers with p. The headers that w has already are kept.
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
