package problem

import (
	"encoding/json"
	"net/http/httptest"
	"testing"
)

func TestMembersOfACaseDoNotReplaceTheStandardOnes(t *testing.T) {
	w := httptest.NewRecorder()
	p := Problem{Slug: "no-session", Title: "No session", Status: 409, RequestID: "r1", More: map[string]any{"errcode": 65413, "status": 200}}
	if err := p.Write(w); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if w.Code != 409 || got["status"] != 409.0 || got["type"] != "/problems/no-session" || got["errcode"] != 65413.0 || got["retryable"] != false {
		t.Errorf("got %d %v, want 409 with type, status and errcode", w.Code, got)
	}
	if _, ok := got["detail"]; ok || w.Header().Get("Content-Type") != ContentType {
		t.Errorf("got %v (%s), want no empty detail, and a problem's content type", got, w.Header().Get("Content-Type"))
	}
}
