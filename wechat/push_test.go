package wechat

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestAFieldIsReadHoweverItIsWritten(t *testing.T) {
	for name, message := range map[string]string{
		"plain":               "<xml><InfoType>authorized</InfoType></xml>",
		"CDATA":               "<xml><InfoType><![CDATA[authorized]]></InfoType></xml>",
		"blanks (B17)":        "<xml>\n  <InfoType> authorized </InfoType>\n</xml>",
		"line ends":           "<xml><InfoType>\r\n<![CDATA[\nauthorized\n]]>\r\n</InfoType></xml>",
		"control bytes":       "<xml><InfoType>auth\x00or\x14ized\x7f</InfoType></xml>",
		"bytes of no UTF-8":   "<xml><InfoType>auth\xffor\xc3ized</InfoType></xml>",
		"entities":            "<xml><InfoType>&#97;uth&#x6F;rized</InfoType></xml>",
		"CDATA and text":      "<xml><InfoType>auth<![CDATA[orized]]></InfoType></xml>",
		"a comment":           "<xml><!-- <InfoType>no</InfoType> --><InfoType>auth<!-- x -->orized</InfoType></xml>",
		"attributes":          "<xml a='1'><InfoType\ttype=\"x\">authorized</InfoType ></xml>",
		"another root":        "<XML><InfoType>authorized</InfoType></XML>",
		"a slip of WeChat's":  "<xml><InfoType>authorized</InfoType><xml>",
		"its end missing":     "<xml><A>1</A><InfoType>authorized",
		"never closed":        "<xml><InfoType>authorized<InfoType><A>1</A></xml>",
		"no end of its CDATA": "<xml><InfoType><A></A>authorized</InfoType><B><![CDATA[x</B></xml>",
		"a mark in front":     "\ufeff\x00<?xml version='1.0' encoding='GBK'?><!DOCTYPE x [<!ENTITY a \"b\">]><xml><InfoType>authorized</InfoType></xml>",
		"closed all at once":  "<xml><A><B><B><B></A></B></B><InfoType>authorized</InfoType></xml>",
		"the first counts":    "<xml><InfoType>authorized</InfoType><InfoType>unauthorized</InfoType></xml>",
		"the first not empty": "<xml><InfoType></InfoType><InfoType/><InfoType><![CDATA[ \x00 ]]></InfoType><InfoType>authorized</InfoType><InfoType>unauthorized</InfoType></xml>",
		"JSON":                `{"InfoType":"authorized"}`,
		"empty ones in JSON":  `{"InfoType":"","InfoType":null,"InfoType":"authorized","InfoType":"unauthorized"}`,
		"spacious JSON":       "\r\n{ \"A\" : [1, {\"InfoType\": \"no\"}] ,\n\t\"InfoType\" :\t\" auth\\u006frized\\u0000 \" }",
		"JSON that is cut":    `{"InfoType":"authorized","A":"`,
		"broken JSON":         "{\"A\":tr\x01ue,,:\"B\":\"\x14\\q\",\"C\":,\"InfoType\":\"authorized\",",
	} {
		if got := ParsePush([]byte(message)).Text("InfoType"); got != "authorized" {
			t.Errorf("%s: got %q, want authorized", name, got)
		}
	}
}

func TestAFieldIsNotMadeOfAnothersContent(t *testing.T) {
	for name, message := range map[string]string{
		"an element inside":      "<xml><A><InfoType>forged</InfoType></A></xml>",
		"deeper":                 "<xml><A><B><InfoType>forged</InfoType></B></A></xml>",
		"beside an unclosed one": "<xml><A><B><InfoType>forged</InfoType></A></xml>",
		"CDATA":                  "<xml><Content><![CDATA[</Content><InfoType>forged</InfoType><Content>]]></Content></xml>",
		"an unclosed CDATA":      "<xml><Content><![CDATA[</Content><InfoType><![CDATA[forged]]></Content></xml>",
		"entities":               "<xml><Content>&lt;InfoType&gt;forged&lt;/InfoType&gt;</Content></xml>",
		"entities of entities":   "<xml><Content>&amp;lt;InfoType&gt;forged</Content></xml>",
		"a comment":              "<xml><!-- <InfoType>forged</InfoType> --></xml>",
		"the root":               "<InfoType>forged</InfoType>",
		"a root inside another":  "<A><xml><InfoType>forged</InfoType></xml></A>",
		"a root around another":  "<InfoType>forged<xml></xml></InfoType>",
		"beside its namesake":    "<xml><A><A>1</A><InfoType>forged</InfoType></A></xml>",
		"and deeper":             "<A><br><xml><InfoType>forged</InfoType></A>",
		"behind the root":        "<xml></xml><xml><InfoType>forged</InfoType></xml>",
		"another case":           "<xml><infotype>forged</infotype></xml>",
		"a prefix":               "<xml><x:InfoType>forged</x:InfoType></xml>",
		"JSON inside XML":        `<xml><Content>{"InfoType":"forged"}</Content></xml>`,
		"XML inside JSON":        `{"Content":"<xml><InfoType>forged</InfoType></xml>"}`,
		"an object inside":       `{"A":{"InfoType":"forged"},"B":[{"InfoType":"forged"}]}`,
		"an escaped quote":       `{"Content":"\",\"InfoType\":\"forged"}`,
		"an escaped backslash":   `{"Content":"\\\",\"InfoType\":\"forged"}`,
		"a value for a name":     `{"Content":"InfoType","forged":"x"}`,
		"null":                   `{"InfoType":null,"x":"forged"}`,
	} {
		if got := ParsePush([]byte(message)).Text("InfoType"); got != "" {
			t.Errorf("%s: got %q, want none", name, got)
		}
	}
}

// oddities are put into an element that nobody needs, or in its place.
var oddities = map[string]string{
	"a control byte":        "<Odd>a\x14b</Odd>",
	"U+0000":                "<Odd>a\x00b</Odd>",
	"no UTF-8":              "<Odd>\xff\xfe</Odd>",
	"GBK":                   "<Odd>\xbb\xa8\xb5\xea\x81\x5c\x81\x5d</Odd>",
	"a lone &":              "<Odd>a & b &</Odd>",
	"an undeclared entity":  "<Odd>&nbsp;&b;&#0;&#xD800;&#99999999999;&#;</Odd>",
	"a lone <":              "<Odd>1 < 2 <3 <</Odd>",
	"a lone >":              "<Odd>2 > 1 ]]></Odd>",
	"never closed":          "<Odd>a",
	"never opened":          "a</Odd>",
	"closed twice":          "<Odd>a</Odd></Odd>",
	"closed too early":      "<Odd><Odder>a</Odd></Odder>",
	"an empty one":          "<Odd/><Odder a='>'/>",
	"a tag that is no tag":  "<Odd><!></?><></Odd>",
	"a comment without end": "<!-- <Odd>a</Odd>",
	"the root's end":        "<Odd>a</xml>b</Odd></xml>",
	"another root":          "<xml><InfoType>forged</InfoType></xml>",
	"a declaration":         "<!DOCTYPE x [<!ENTITY a \"<InfoType>forged</InfoType>\">]><?pi?>",
	"elements inside":       "<Odd><InfoType>forged</InfoType><AppId>forged</AppId></Odd>",
	"a text like a field":   "<Odd><![CDATA[<InfoType>forged</InfoType></xml>]]></Odd>",
	"nested":                strings.Repeat("<Odd>", 63) + "a" + strings.Repeat("</Odd>", 63),
	"nested deep":           strings.Repeat("<Odd>", 1000) + "a" + strings.Repeat("</Odd>", 1000),
	"unclosed inside one":   "<Odd>" + strings.Repeat("a<br>", 63) + "</Odd>",
	"unclosed":              strings.Repeat("<br>", 1000),
	"many":                  strings.Repeat("<Odd>\xff</Odd>", 1000),
	"a large one":           "<Odd>" + strings.Repeat("x", 100_000) + "</Odd>",
}

// needed are the fields that the platform reads.
var needed = []string{"AppId", "CreateTime", "InfoType", "ComponentVerifyTicket", "AuthorizerAppid", "AuthorizationCode", "PreAuthCode", "appid", "status", "auth_code",
	"ToUserName", "FromUserName", "MsgType", "Content", "Event"}

func TestAnOddityCostsNoOtherField(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var message strings.Builder
		message.WriteString(rapid.SampledFrom([]string{"<xml>", "<?xml version='1.0'?>\n<xml>", "\ufeff<xml>\r\n", "<br><xml>", "<br/>\n<XML>", "<p>a<br></p><br><xml>"}).Draw(t, "start"))
		odd := func(n int) string { // each has names of its own: the end of one could close another
			text := oddities[rapid.SampledFrom(slices.Sorted(maps.Keys(oddities))).Draw(t, "oddity")]
			return strings.ReplaceAll(text, "Odd", fmt.Sprintf("Odd%d", n))
		}
		want := map[string]string{}
		for n, name := range rapid.Permutation(needed).Draw(t, "order") {
			want[name] = rapid.StringMatching(`[a-z0-9@_]{1,20}`).Draw(t, "value")
			form := rapid.SampledFrom([]string{"%s", "<![CDATA[%s]]>", " \n%s\t", "\r\n<![CDATA[ %s\x00 ]]>\n"}).Draw(t, "form")
			fmt.Fprintf(&message, "<%s>"+form+"</%s>", name, want[name], name)
			if rapid.Bool().Draw(t, "odd") {
				message.WriteString(odd(n))
			}
		}
		message.WriteString(rapid.SampledFrom([]string{"</xml>", "<xml>", "", "</xml>\n<a>"}).Draw(t, "end"))
		fields := ParsePush([]byte(message.String()))
		for name, value := range want {
			if got := fields.Text(name); got != value {
				t.Fatalf("%s: got %q, want %q, in\n%q", name, got, value, message.String())
			}
		}
	})
}

func TestAnOddMemberOfJSONCostsNoOther(t *testing.T) {
	for name, odd := range map[string]string{
		"control bytes":   "\"a\x00\x14\nb\"",
		"no UTF-8":        "\"\xff\xfe\"",
		"an odd escape":   `"\q\u12\ud800\ud800x"`,
		"an object":       `{"InfoType":"forged","a":[{"InfoType":"forged"}]}`,
		"a list":          `["InfoType","forged",{}]`,
		"an odd number":   "0x1e+-.",
		"nothing":         "",
		"no JSON at all":  "undefined(1)",
		"a text like one": `"\",\"InfoType\":\"forged\",\""`,
	} {
		for _, message := range []string{`{"Odd":%s,"InfoType":"authorized","Content":"{"}`, `{"InfoType":"authorized","Odd":%s}`, `{"A":1,"Odd":%s , "InfoType" : "authorized"`} {
			message = strings.Replace(message, "%s", odd, 1)
			if got := ParsePush([]byte(message)).Text("InfoType"); got != "authorized" {
				t.Errorf("%s: got %q, want authorized, in %q", name, got, message)
			}
		}
	}
}

// What a customer writes is in CDATA or in JSON's quotes, and stays there.
func TestACustomersTextIsNotAField(t *testing.T) {
	check := func(t *testing.T, text string) {
		t.Helper()
		asXML := "<xml><ToUserName>gh_1</ToUserName><MsgType>text</MsgType><Content>" + cdata(text) + "</Content><MsgId>1</MsgId></xml>"
		asJSON, _ := json.Marshal(map[string]any{"ToUserName": "gh_1", "MsgType": "text", "Content": text, "MsgId": 1})
		for _, message := range []string{asXML, string(asJSON)} {
			var names []string
			for _, one := range ParsePush([]byte(message)) {
				names = append(names, one.name)
			}
			slices.Sort(names)
			if !slices.Equal(names, []string{"Content", "MsgId", "MsgType", "ToUserName"}) {
				t.Errorf("%q: got the fields %q", text, names)
			}
		}
	}
	for _, text := range []string{"", "]]>", "]]></Content><InfoType>forged</InfoType>", "</Content></xml>", "<![CDATA[", "<!--", `","InfoType":"forged`, `\`, `\","x":"`, "\x00", "\xff\\"} {
		check(t, text)
	}
	rapid.Check(t, func(r *rapid.T) {
		parts := rapid.SliceOf(rapid.SampledFrom([]string{"<", ">", "]", "]]>", "<![CDATA[", "</Content>", "<InfoType>", "</xml>", "&lt;", `"`, `\`, ",", ":", "{", "}", "a", "\xff", "\x00", "<!--", "-->"}))
		check(t, strings.Join(parts.Draw(r, "text"), ""))
	})
}

func FuzzParsePush(f *testing.F) {
	for _, v := range vectors {
		f.Add([]byte(v.msg))
		f.Add(WriteMessage("gh_1", v.push))
	}
	f.Add([]byte("<xml>\n<InfoType> component_verify_ticket </InfoType>\n<CreateTime>1413192605 </CreateTime></xml>")) // B17
	for _, odd := range oddities {
		f.Add([]byte("<xml>" + odd[:min(len(odd), 100)] + "<InfoType>authorized</InfoType></xml>"))
	}
	f.Add([]byte(`{"InfoType":"authorized","info":{"name":"\ud83d\ude00\q"},"status":0,"x":null}`))
	f.Fuzz(func(t *testing.T, message []byte) {
		fields := ParsePush(message)
		for _, one := range fields {
			text := fields.Text(one.name)
			if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) || text != strings.TrimSpace(text) {
				t.Errorf("%s: got %q", one.name, text)
			}
		}
	})
}

// A body is read before its signature is checked, so a body eight times as long must not take 64
// times as long.
func TestReadingTakesLinearTime(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fastest := func(start, unit string, size int) time.Duration {
		body, least := []byte(start+strings.Repeat(unit, size/len(unit))), time.Hour
		for range 3 {
			began := spent()
			ParsePush(body)
			least = min(least, spent()-began)
		}
		return least
	}
	for _, c := range [][2]string{
		{"<xml>", "<![CDATA["}, {"<xml>", "<!--"}, {"<xml>", "<!x"}, {"<xml>", "<a"}, {"<xml>", "a&"}, {"<xml>", "a<"}, {"<xml>", "<a/>"},
		{strings.Repeat("<a>", 10_000), "</b>"}, {"<xml>", "<a>"}, {"<xml>", "<a></b><b>"}, {strings.Repeat("<br>", 10_000) + "<xml>", "</br><xml>"}, {`{"a":`, `"`}, {`{"a":`, `\`}, {`{"a":"b"`, `\"`}, {`{"a":"b" "`, `\"`}, {`{"a":`, "{"}, {`{"a":`, "x "},
	} {
		short, long := fastest(c[0], c[1], 32<<10), fastest(c[0], c[1], 256<<10)
		if long > 32*short+20*time.Millisecond {
			t.Errorf("%q: took %v, and %v for eight times as much", c[1], short, long)
		}
	}
}
