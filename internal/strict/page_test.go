package strict

import (
	"errors"
	"net/http/httptest"
	"slices"
	"testing"
)

func TestAListsQueryIsReadStrictly(t *testing.T) {
	for target, want := range map[string]Page{
		"/":                    {pageDefault, ""},
		"/?limit=1":            {1, ""},
		"/?limit=500&after=wx": {500, "wx"},
		"/?status=pending":     {pageDefault, ""},
	} {
		page, query, err := ListQuery(httptest.NewRequest("GET", target, nil), "status")
		if err != nil || page != want {
			t.Errorf("%s: got %+v, %v, want %+v", target, page, err, want)
		}
		if target == "/?status=pending" && query.Get("status") != "pending" {
			t.Errorf("got the filters %v, want status", query)
		}
	}
	for _, target := range []string{"/?limit=0", "/?limit=501", "/?limit=-1", "/?limit=x", "/?limit=1&limit=2", "/?state=pending"} {
		var fault *Fault
		if page, _, err := ListQuery(httptest.NewRequest("GET", target, nil), "status"); !errors.As(err, &fault) {
			t.Errorf("%s: got %+v, %v, want a fault", target, page, err)
		}
	}
}

func TestAPageNamesTheNextOneOnlyIfThereIsOne(t *testing.T) {
	name := func(s string) string { return "after " + s }
	for limit, want := range map[int]struct {
		page []string
		next string
	}{
		1: {[]string{"a"}, "after a"},
		2: {[]string{"a", "b"}, "after b"},
		3: {[]string{"a", "b", "c"}, ""},
		4: {[]string{"a", "b", "c"}, ""},
	} {
		read := []string{"a", "b", "c"}[:min(limit+1, 3)]
		if page, next := Cut(Page{Limit: limit}, read, name); !slices.Equal(page, want.page) || next != want.next {
			t.Errorf("limit %d: got %q and next %q, want %q and %q", limit, page, next, want.page, want.next)
		}
	}
}
