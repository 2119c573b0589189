package relay

import (
	"slices"
	"strings"
	"testing"

	"wxplatform/tenant"
	"wxplatform/wechat"
)

func loaded(t *testing.T) *Catalogue {
	t.Helper()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRowsAreOrderedAndUnique(t *testing.T) {
	all := loaded(t).All()
	if len(all) < 700 {
		t.Fatalf("got %d APIs, want all", len(all))
	}
	for i := 1; i < len(all); i++ {
		a, b := all[i-1], all[i]
		if a.Path > b.Path || a.Path == b.Path && a.Method >= b.Method {
			t.Errorf("%s %s stands before %s %s", a.Method, a.Path, b.Method, b.Path)
		}
	}
}

func TestNoPathDiffersFromAnotherByCaseOnly(t *testing.T) {
	paths := map[string]string{}
	for _, a := range loaded(t).All() {
		folded := strings.ToLower(a.Path)
		if other := paths[folded]; other != "" && other != a.Path {
			t.Errorf("got %s and %s, want one", a.Path, other)
		}
		paths[folded] = a.Path
	}
}

func TestEveryCellHasAKnownValue(t *testing.T) {
	for _, a := range loaded(t).All() {
		known := slices.Contains([]string{"GET", "POST"}, a.Method) &&
			slices.Contains([]BodyKind{NoBody, JSONBody, MultipartBody, RawBody}, a.Body) &&
			slices.Contains([]AnswerKind{JSONAnswer, EitherAnswer}, a.Answer) &&
			slices.Contains([]Verification{VerifiedYes, VerifiedNo, VerifiedSome, VerifiedUnknown}, a.Verified) &&
			slices.Contains([]SetRule{Required, Guessed, AnySet, Unsupported, NotKnown}, a.Sets) &&
			slices.Contains([]Certainty{Documented, Inferred, Unsure}, a.Certainty)
		for _, kind := range a.Kinds {
			known = known && slices.Contains([]Kind{Subscription, ServiceAccount, MiniProgram, MiniGame, Store}, kind)
		}
		if !known || a.English+a.Chinese == "" {
			t.Errorf("%s %s has an unknown value or no name: %+v", a.Method, a.Path, a)
		}
	}
}

func TestAGETHasNoBody(t *testing.T) {
	for _, a := range loaded(t).All() {
		if a.Method == "GET" && a.Body != NoBody {
			t.Errorf("GET %s: got the body %s, want none", a.Path, a.Body)
		}
	}
}

func TestNoRowIsDenied(t *testing.T) {
	c := loaded(t)
	for _, a := range c.All() {
		if c.Denied(a.Path) {
			t.Errorf("%s is denied", a.Path)
		}
	}
}

func TestEveryRowIsBelowARootAndWrittenPlainly(t *testing.T) {
	for _, a := range loaded(t).All() {
		first, _, deeper := strings.Cut(strings.TrimPrefix(a.Path, "/"), "/")
		if !deeper || !slices.Contains(roots, "/"+first) || !plain(a.Path) {
			t.Errorf("%s is below no root or not plain", a.Path)
		}
	}
}

// WeChat's paths and ours stand side by side at the root of one host.
func TestNoRootIsOneOfOurOwn(t *testing.T) {
	ours := []string{"/v1", "/oauth", "/.well-known", "/wechat", "/authorize", "/healthz", "/readyz", "/metrics", "/debug", "/docs", "/problems", "/openapi.json"}
	for _, root := range loaded(t).Roots() {
		if slices.Contains(ours, root) {
			t.Errorf("%s is a path of WeChat's and of ours", root)
		}
	}
}

func TestEveryFamilyHasTwoScopes(t *testing.T) {
	for _, a := range loaded(t).All() {
		for _, scope := range []string{a.Family + ":read", a.Family + ":write", string(a.Scope())} {
			if _, err := tenant.ParseScopes(scope); err != nil {
				t.Errorf("%s: %v", a.Path, err)
			}
		}
	}
}

func TestEverySetIsKnown(t *testing.T) {
	c := loaded(t)
	for _, a := range c.All() {
		for _, set := range a.AnyOf {
			if _, known := c.sets[set]; !known {
				t.Errorf("%s needs the permission set %d, which sets.tsv does not have", a.Path, set)
			}
		}
	}
}

// A call is refused on the word of WeChat's page only.
func TestRequiredSetsAreDocumented(t *testing.T) {
	for _, a := range loaded(t).All() {
		if a.Sets == Required && (len(a.AnyOf) == 0 || a.Certainty != Documented) {
			t.Errorf("%s: got the sets %v, %s, want some, documented", a.Path, a.AnyOf, a.Certainty)
		}
		if (a.Sets == Guessed) != (a.Certainty == Inferred && a.Sets != Unsupported) {
			t.Errorf("%s: got the rule %s and the certainty %s, want guessed and inferred together", a.Path, a.Sets, a.Certainty)
		}
		if a.Sets == AnySet && len(a.AnyOf) > 0 {
			t.Errorf("%s: got any set and %v, want one of both", a.Path, a.AnyOf)
		}
	}
}

func TestKindsAreSureOnlyWhereDocumented(t *testing.T) {
	for _, a := range loaded(t).All() {
		if a.KindsSure && (a.Certainty != Documented || len(a.Kinds) == 0) {
			t.Errorf("%s: got the kinds %v for sure, and it is %s", a.Path, a.Kinds, a.Certainty)
		}
	}
}

func TestGETsWithSideEffectsAreWrites(t *testing.T) {
	c := loaded(t)
	for _, path := range []string{
		"/cgi-bin/menu/delete", "/customservice/kfaccount/del", "/customservice/kfaccount/setadmin",
		"/customservice/kfaccount/canceladmin", "/wxa/undocodeaudit", "/wxa/revertcoderelease",
		"/wxa/revertgrayrelease", "/cgi-bin/message/wxopen/activityid/create", "/wxa/resetusersessionkey",
		"/device/getqrcode", "/wxa/sec/vod/authorizedrama", "/wxa/business/insurance_freight/open",
	} {
		if a, ok := c.Find("GET", path); !ok || !a.Write {
			t.Errorf("GET %s: got %v, write %v, want a write", path, ok, a.Write)
		}
	}
	for _, a := range c.All() {
		if strings.Contains(a.Notes, "side effect") && !a.Write {
			t.Errorf("%s %s has a side effect and is a read", a.Method, a.Path)
		}
	}
}

func TestWhatSpendsACodeIsNotSafe(t *testing.T) {
	for _, path := range []string{"/wxa/business/getuserphonenumber", "/wxa/getpluginopenpid", "/intp/quickcheckstudentidentity"} {
		if a, ok := loaded(t).Find("POST", path); !ok || !a.SingleUse || a.Safe {
			t.Errorf("%s: got single-use %v, safe %v, want true, false", path, a.SingleUse, a.Safe)
		}
	}
	for _, a := range loaded(t).All() {
		if a.SingleUse && a.Safe {
			t.Errorf("%s spends a code and is safe to repeat", a.Path)
		}
	}
}

func TestWhatAffectsOthersIsForTheOperator(t *testing.T) {
	only := map[string]bool{"/cgi-bin/clear_quota": true, "/cgi-bin/openapi/quota/clear": true, "/cgi-bin/openapi/rid/get": true}
	for _, a := range loaded(t).All() {
		want := only[a.Path] || strings.HasPrefix(a.Path, "/cgi-bin/open/")
		if a.OperatorOnly != want || (a.Scope() == tenant.OperatorAPIs) != want {
			t.Errorf("%s: got operator only %v, scope %s, want %v", a.Path, a.OperatorOnly, a.Scope(), want)
		}
	}
}

func TestSessionsNeedOneOfFourSets(t *testing.T) {
	sessions := 0
	for _, a := range loaded(t).All() {
		if a.Family != "kfsession" {
			continue
		}
		sessions++
		if want := []wechat.PermissionSet{1, 6, 100, 101}; !slices.Equal(a.AnyOf, want) || a.Sets != Required {
			t.Errorf("%s: got %v, %s, want %v, required", a.Path, a.AnyOf, a.Sets, want)
		}
	}
	if sessions != 5 {
		t.Errorf("got %d APIs of sessions, want 5", sessions)
	}
}

func TestAMistakeInTheTableIsAnError(t *testing.T) {
	names := strings.ReplaceAll(catalogueColumns, " ", "\t") + "\n"
	row := "GET\t/cgi-bin/x/y\tx\t-\tnone\tjson\tread\tsafe\tmenu\tofficial\tno\t15\trequired\tdoc\tpage\t-\t-\n"
	if all, err := readCatalogue(names + row); err != nil || len(all) != 1 || !all[0].Safe || all[0].Write || all[0].Chinese != "" {
		t.Fatalf("got %+v, %v, want one API", all, err)
	}
	for what, text := range map[string]string{
		"no names":         row,
		"a cell missing":   names + strings.TrimSuffix(row, "\t-\n") + "\n",
		"a set not number": names + strings.Replace(row, "\t15\t", "\tfifteen\t", 1),
	} {
		if _, err := readCatalogue(text); err == nil {
			t.Errorf("%s: got no error", what)
		}
	}
}

func TestFamiliesAreThoseOfTheRows(t *testing.T) {
	var got, want []string
	for _, family := range Families() {
		got = append(got, family.Name)
	}
	for _, a := range loaded(t).All() {
		want = append(want, a.Family)
	}
	slices.Sort(want)
	if want = slices.Compact(want); !slices.Equal(got, want) {
		t.Errorf("got the families %q, want %q", got, want)
	}
}
