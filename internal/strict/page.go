package strict

import (
	"net/http"
	"net/url"
	"strconv"
)

const (
	pageMost    = 500
	pageDefault = 100
)

// Page is the part of a list that a caller asks for: up to Limit entries, those that follow After.
// Every list of the API has the same form: the query has limit and after, and the answer has next,
// the after of the next page, if there is one.
type Page struct {
	Limit int    // 1 to 500
	After string // "" for the first page; otherwise any text that a caller sent
}

// ListQuery reads a page and the values of the named filters from r's query. It fails with a
// *Fault, also for a parameter that is neither.
func ListQuery(r *http.Request, filters ...string) (Page, url.Values, error) {
	query, err := Query(r, append([]string{"limit", "after"}, filters...)...)
	if err != nil {
		return Page{}, nil, err
	}
	limit, err := pageSize(query.Get("limit"))
	return Page{limit, query.Get("after")}, query, err
}

func pageSize(text string) (int, error) {
	if text == "" {
		return pageDefault, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > pageMost {
		return 0, &Fault{Field: "limit", Why: "is not a number from 1 to " + strconv.Itoa(pageMost)}
	}
	return n, nil
}

// Cut returns the entries of page p and its next. entries are one more than p.Limit if others
// follow; name is the after that leads behind an entry.
func Cut[T any](p Page, entries []T, name func(T) string) (page []T, next string) {
	if len(entries) <= p.Limit {
		return entries, ""
	}
	return entries[:p.Limit], name(entries[p.Limit-1])
}
