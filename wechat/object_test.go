package wechat

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// object parses text and collects what was odd about it.
func object(t testing.TB, text string) (Object, *[]string) {
	t.Helper()
	var odd []string
	o, ok := parseObject([]byte(text), "", func(field, what string) { odd = append(odd, field+" "+what) })
	if !ok {
		t.Fatalf("got no object in %q", text)
	}
	return o, &odd
}

func TestTextIsReadInEveryShape(t *testing.T) {
	for _, c := range []struct {
		json, want string
		ok         bool
		odd        string
	}{
		{`"ab"`, "ab", true, ""},
		{`""`, "", true, ""},
		{`"a` + "\x14" + `b"`, "ab", true, ""},
		{`"a\u0000b\u0014"`, "ab", true, "x control"},
		{"\"a\xffb\"", "ab", true, ""},
		{`"a\ud83db"`, "ab", true, "x control"},
		{`"\ud83d\ude00"`, "😀", true, ""},
		{`"a\"b\\"`, `a"b\`, true, ""},
		{`12`, "12", true, "x type"},
		{`null`, "", false, "x unreadable"},
		{`true`, "", false, "x unreadable"},
		{`{}`, "", false, "x unreadable"},
		{`["a"]`, "", false, "x unreadable"},
		{`"a\q"`, "", false, "x unreadable"},
	} {
		o, odd := object(t, `{"x":`+c.json+`}`)
		got, ok := o.Text("x")
		if got != c.want || ok != c.ok || strings.Join(*odd, ",") != c.odd {
			t.Errorf("%s: got %q, %v, odd %q, want %q, %v, %q", c.json, got, ok, *odd, c.want, c.ok, c.odd)
		}
	}
}

func TestNumbersAreReadInEveryShape(t *testing.T) {
	for _, c := range []struct {
		json string
		want int64
		ok   bool
		odd  string
	}{
		{`7200`, 7200, true, ""},
		{`-1`, -1, true, ""},
		{`7200.0`, 7200, true, "x type"},
		{`7.2e3`, 7200, true, "x type"},
		{`"7200"`, 7200, true, "x type"},
		{`" 7200 "`, 7200, true, "x type"},
		{`"7200.0"`, 7200, true, "x type"},
		{`0.5`, 0, false, "x unreadable"},
		{`1e400`, 0, false, "x unreadable"},
		{`99999999999999999999`, 0, false, "x unreadable"},
		{`""`, 0, false, "x unreadable"},
		{`"NaN"`, 0, false, "x unreadable"},
		{`null`, 0, false, "x unreadable"},
		{`true`, 0, false, "x unreadable"},
		{`[1]`, 0, false, "x unreadable"},
	} {
		o, odd := object(t, `{"x":`+c.json+`}`)
		got, ok := o.Int("x")
		if got != c.want || ok != c.ok || strings.Join(*odd, ",") != c.odd {
			t.Errorf("%s: got %d, %v, odd %q, want %d, %v, %q", c.json, got, ok, *odd, c.want, c.ok, c.odd)
		}
	}
}

func TestALifeIsClamped(t *testing.T) {
	for text, want := range map[string]time.Duration{
		`{"x":7200}`: 2 * time.Hour, `{"x":"600"}`: 10 * time.Minute, `{"x":86400}`: 24 * time.Hour, `{"x":1}`: time.Second,
		`{}`: 2 * time.Hour, `{"x":null}`: 2 * time.Hour, `{"x":0}`: 2 * time.Hour, `{"x":-5}`: 2 * time.Hour, `{"x":86401}`: 2 * time.Hour,
		`{"x":7200000}`: 2 * time.Hour, `{"x":"soon"}`: 2 * time.Hour,
	} {
		o, odd := object(t, text)
		if got := o.Life("x"); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
		if plain := text == `{"x":7200}` || text == `{"x":86400}` || text == `{"x":1}`; plain == (len(*odd) > 0) {
			t.Errorf("%s: got odd %q", text, *odd)
		}
	}
}

func TestNamesAreComparedExactlyAndTheLastReadableOneCounts(t *testing.T) {
	o, _ := object(t, `{"X":"upper","x":"first","x":"last","x":null,"\u0079":"escaped"}`)
	if got, _ := o.Text("x"); got != "last" {
		t.Errorf("got %q, want the last readable one", got)
	}
	if got, _ := o.Text("y"); got != "escaped" {
		t.Errorf("got %q, want a name with an escape read", got)
	}
	if o.Has("x ") || !o.Has("X") {
		t.Error("got names compared loosely")
	}
}

func TestANameIsCutAt256Characters(t *testing.T) {
	o, odd := object(t, `{"x":"`+strings.Repeat("微", 300)+`"}`)
	if got, ok := o.Name("x"); !ok || got != strings.Repeat("微", 256) || !slices.Contains(*odd, "x clamped") {
		t.Errorf("got %d bytes, %v, odd %q, want 256 characters", len(got), ok, *odd)
	}
}

func TestAppidsMustBePlausible(t *testing.T) {
	for text, want := range map[string]bool{
		`"wx5a3e1c0b7d2f4801"`: true, `" wx5a3e1c0b7d2f4801 "`: true, `""`: false, `"wx"`: false, `"WX5A3E1C0B7D2F4801"`: false, `7`: false, `null`: false,
	} {
		o, _ := object(t, `{"x":`+text+`}`)
		if id, ok := o.AppID("x"); ok != want || ok && id != "wx5a3e1c0b7d2f4801" {
			t.Errorf("%s: got %q, %v, want %v", text, id, ok, want)
		}
	}
}

func TestABadPermissionSetIsPassedOver(t *testing.T) {
	for text, want := range map[string]string{
		`[{"funcscope_category":{"id":"1"}},{"funcscope_category":{"id":6}}]`:                                                                "1,6",
		`[null,{},7,{"funcscope_category":null},{"funcscope_category":{"id":{}}},[1],"x",{"funcscope_category":{"id":6.0,"name":"\u0000"}}]`: "6",
		`[{"funcscope_category":{"id":0}},{"funcscope_category":{"id":-1}},{"funcscope_category":{"id":1e12}}]`:                              "",
		`[]`: "", `null`: "", `{}`: "", `"1,6"`: "",
	} {
		o, _ := object(t, `{"func_info":`+text+`}`)
		if got, _ := o.PermissionSets("func_info"); got.String() != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestSetsThatAreNotAllTakeNoneAway(t *testing.T) {
	known := PermissionSets{1, 6}
	for text, want := range map[string]string{
		`[{"funcscope_category":{"id":6}},{"funcscope_category":{"id":11}}]`: "6,11",
		`[{"funcscope_category":{"id":11}},{}]`:                              "1,6,11",
		`[null]`:                                                             "1,6", `[]`: "1,6", `null`: "1,6",
	} {
		o, _ := object(t, `{"x":`+text+`}`)
		if got := known.After(o.PermissionSets("x")); got.String() != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestAListCountsTheEntriesThatItPassesOver(t *testing.T) {
	o, odd := object(t, `{"list":[{"a":1},null,{"a":2},7]}`)
	list, ok := o.List("list")
	if !ok || list.Len != 4 || len(list.Objects) != 2 || !slices.Equal(*odd, []string{"list unreadable", "list unreadable"}) {
		t.Errorf("got %d of %d, %v, odd %q, want 2 of 4", len(list.Objects), list.Len, ok, *odd)
	}
}

// A faulty answer must not take many times its size in memory.
func TestAnEndlessListIsNotRead(t *testing.T) {
	for _, entry := range []string{"{}", "0"} {
		text := `{"list":[` + strings.Repeat(entry+",", mostEntries-1) + entry + `]}`
		o, _ := object(t, text)
		if list, ok := o.List("list"); !ok || list.Len != mostEntries {
			t.Errorf("got %d, %v, want %d entries", list.Len, ok, mostEntries)
		}
		o, _ = object(t, strings.Replace(text, "]", ","+entry+"]", 1))
		if list, ok := o.List("list"); ok {
			t.Errorf("got %d entries read", list.Len)
		}
	}
}

func TestMembersWithOneNameAgree(t *testing.T) {
	o, _ := object(t, `{"a":1,"b":"x","a":1,"b":"y","c":null,"C":2}`)
	for name, want := range map[string]bool{"a": true, "b": false, "c": true, "none": true} {
		if got := o.Agrees(name); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func TestASecretHasNoBlanksAround(t *testing.T) {
	o, odd := object(t, `{"a":" \u200bsecret\ufeff ","b":" \u200b","c":"in side"}`)
	for name, want := range map[string]string{"a": "secret", "b": "", "c": "in side"} {
		if got, ok := o.Secret(name); got.Reveal() != want || ok != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", name, got.Reveal(), ok, want)
		}
	}
	slices.Sort(*odd)
	if !slices.Equal(*odd, []string{"a control", "b unreadable"}) {
		t.Errorf("got odd %q", *odd)
	}
}

// A single-use value must not be lost because something else in the answer is broken.
func TestMembersOfABrokenObjectAreFound(t *testing.T) {
	for name, text := range map[string]string{
		"an empty value":          `{"a":,"token":"t"}`,
		"a word":                  `{"a":nul,"token":"t"}`,
		"quotes in a name":        `{"nick":"a"b","token":"t"}`,
		"no comma":                `{"a":1 "token":"t"}`,
		"two commas":              `{"a":1,,"token":"t",}`,
		"an unclosed list":        `{"token":"t","a":[{"id":1}`,
		"a wrong bracket":         `{"a":[1,2},"token":"t"}`,
		"cut":                     `{"token":"t","a":"unfini`,
		"cut in a number":         `{"token":"t","a":72`,
		"something behind":        `{"token":"t"}{"token":"other"}`,
		"no quotes":               `{a:1,"token":"t"}`,
		"layout":                  "\ufeff \r\n{\r\n\t\"token\" :\t\"t\"\n}\n",
		"a single quote":          `{'a':'b',"token":"t"}`,
		"a bracket in a string":   `{"a":"}{][","token":"t"}`,
		"an escape in a string":   `{"a":"\\\"}","token":"t"}`,
		"a raw newline in string": "{\"a\":\"x\ny\",\"token\":\"t\"}",
	} {
		t.Run(name, func(t *testing.T) {
			o, _ := object(t, text)
			if got, ok := o.Text("token"); !ok || got != "t" {
				t.Errorf("got %q, %v, want it found in %s", got, ok, text)
			}
		})
	}
}

func TestWhatIsCutIsNotRead(t *testing.T) {
	for _, text := range []string{`{"x":"abc`, `{"x":720`, `{"x":"abc\`, `{"x":`, `{"x"`, `{"x":-`} {
		o, _ := object(t, text)
		if got, ok := o.Text("x"); ok {
			t.Errorf("%s: got %q", text, got)
		}
		if got, ok := o.Int("x"); ok {
			t.Errorf("%s: got %d", text, got)
		}
	}
}

func TestOnlyObjectsAreObjects(t *testing.T) {
	for _, text := range []string{``, ` `, `null`, `[]`, `[{"a":1}]`, `"{}"`, `0`, `<xml>`, "\xef\xbb\xbf"} {
		if _, ok := ParseObject([]byte(text)); ok {
			t.Errorf("got %q taken for an object", text)
		}
	}
}

// Each member of a valid JSON object reads as encoding/json reads it.
func TestValidObjectsReadAsEncodingJSONReadsThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.MapOf(rapid.StringMatching(`[a-z_]{1,6}`), anyJSON(2)).Draw(t, "members")
		text, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		o, ok := ParseObject(text)
		if !ok || !o.Whole() || len(o.members) != len(members) {
			t.Fatalf("got %d members of %s", len(o.members), text)
		}
		for name, want := range members {
			switch want := want.(type) {
			case string:
				if got, ok := o.Text(name); clean(want) != got || !ok {
					t.Fatalf("%s: got %q, want %q", name, got, want)
				}
			case int:
				if got, ok := o.Int(name); got != int64(want) || !ok {
					t.Fatalf("%s: got %d, want %d", name, got, want)
				}
			case map[string]any:
				if got, ok := o.Object(name); !ok || len(got.members) != len(want) {
					t.Fatalf("%s: got %d members, want %d", name, len(got.members), len(want))
				}
			case []any:
				if got, ok := o.List(name); !ok || got.Len != len(want) {
					t.Fatalf("%s: got %d entries, want %d", name, got.Len, len(want))
				}
			}
		}
	})
}

func clean(text string) string {
	text, _ = scrubText(text)
	return text
}

func anyJSON(depth int) *rapid.Generator[any] {
	leaf := rapid.OneOf(rapid.String().AsAny(), rapid.IntRange(-1e9, 1e9).AsAny(), rapid.Bool().AsAny(), rapid.Just[any](nil))
	if depth == 0 {
		return leaf
	}
	return rapid.OneOf(leaf,
		rapid.SliceOfN(anyJSON(depth-1), 0, 3).AsAny(),
		rapid.MapOfN(rapid.StringMatching(`[a-z]{1,3}`), anyJSON(depth-1), 0, 3).AsAny())
}

// No input makes the decoder panic or take long, and nothing that it returns has control bytes.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		`{"authorizer_info":{"nick_name":"a\u0000b","verify_type_info":{"id":-1}},"authorization_info":{"func_info":[{"funcscope_category":{"id":"1"}}]}}`,
		`{"authorization_info":{"authorizer_appid":"wx5a3e1c0b7d2f4801","authorizer_access_token":"a","expires_in":"7200","authorizer_refresh_token":"r"}}`,
		`{"total_count":3,"list":[{"authorizer_appid":"","refresh_token":"refreshtoken@@@x"},null]}`,
		`{"errcode":"40001","errmsg":"x rid: 666188b4-774b1b9f-5cbb8e23"}`, "\ufeff{\"x\":\"\x14\xff\"}", `{"x":`, `{"x":[{`, `{"x":"\ud83d`, `{"""":""}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		o, ok := ParseObject(text)
		if ok {
			readAll(t, o, 4)
		}
	})
}

func readAll(t *testing.T, o Object, depth int) {
	for _, m := range o.members {
		if text, ok := o.Text(m.name); ok && text != clean(text) {
			t.Fatalf("got %q", text)
		}
		o.Int(m.name)
		o.AppID(m.name)
		o.Life(m.name)
		o.PermissionSets(m.name)
		if depth == 0 {
			continue
		}
		if inner, ok := o.Object(m.name); ok {
			readAll(t, inner, depth-1)
		}
		list, _ := o.List(m.name)
		for _, one := range list.Objects {
			readAll(t, one, depth-1)
		}
	}
}

func ExampleObject() {
	answer := []byte(`{"expires_in":"7200","nick_name":"a\u0000b","func_info":[null,{"funcscope_category":{"id":"6"}}]}`)
	o, _ := ParseObject(answer)
	name, _ := o.Name("nick_name")
	sets, _ := o.PermissionSets("func_info")
	_, told := o.Int("verify_type")
	fmt.Println(o.Life("expires_in"), name, sets, told)
	// Output: 2h0m0s ab 6 false
}
