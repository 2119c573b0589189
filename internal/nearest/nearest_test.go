package nearest

import "testing"

func TestEditsAreInsertedDeletedOrReplacedBytes(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "ac", 1}, {"ac", "abc", 1},
		{"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"ab", "ba", 2},
	} {
		if got := edits(c.a, c.b); got != c.want {
			t.Errorf("%q to %q: got %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestTheNearestNameIsFound(t *testing.T) {
	names := []string{"PLATFORM_LISTEN", "PLATFORM_TENANT_RATE", "PLATFORM_TENANT_RATS", "/customservice/kfsession/close", "/cgi-bin/menu/create", "x"}
	for misspelt, want := range map[string]string{
		"PLATFORM_TENANT_RAT":             "PLATFORM_TENANT_RATE", // the first of two that are as near
		"PLATFORM_LISTEN":                 "PLATFORM_LISTEN",
		"platform_listne":                 "PLATFORM_LISTEN",
		"/customservice/KFSession/closed": "/customservice/kfsession/close",
		"/cgi-bin/menu":                   "/cgi-bin/menu/create",
		"":                                "x",
	} {
		if got := Name(misspelt, names); got != want {
			t.Errorf("%q: got %q, want %q", misspelt, got, want)
		}
	}
}
