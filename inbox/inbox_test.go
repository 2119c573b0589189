package inbox

import (
	"fmt"
	"testing"

	"wxplatform/internal/strict"
	"wxplatform/wechat"
)

const ours = "wx0123456789abcdef"

func TestOnlyAPushForTheComponentIsItsEvent(t *testing.T) {
	const event = "<AppId>" + ours + "</AppId><InfoType>unauthorized</InfoType><AuthorizerAppid>wx00000000000000aa</AuthorizerAppid>"
	const message = "<ToUserName>gh_1</ToUserName><FromUserName>o1</FromUserName><MsgType>text</MsgType>"
	for name, c := range map[string]struct {
		push string
		want bool
	}{
		"an event":                         {"<xml>" + event + "</xml>", true},
		"with blanks":                      {"<xml>\n<AppId> " + ours + "\n</AppId></xml>", true},
		"in JSON":                          {`{"AppId":"` + ours + `","InfoType":"unauthorized"}`, true},
		"with other bytes in it":           {"<xml><Name>\xff\x00&<</Name>" + event + "</xml>", true},
		"another component's":              {"<xml><AppId>wx0000000000000001</AppId></xml>", false},
		"nobody's":                         {"<xml></xml>", false},
		"no push":                          {"hello", false},
		"a message":                        {"<xml>" + message + "<Content>x</Content></xml>", false},
		"a message whose text is like one": {"<xml>" + message + "<Content><![CDATA[" + event + "]]></Content></xml>", false},
		"a message whose text breaks out":  {"<xml>" + message + "<Content><![CDATA[]]></Content>" + event + "<Content>]]></Content></xml>", false},
		"a message in JSON like one":       {`{"MsgType":"text","Content":"x","AppId":"` + ours + `"}`, false},
		"an event inside another element":  {"<xml><A>" + event + "</A></xml>", false},
	} {
		if got := read([]byte(c.push)).of(ours); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestAnEventAboutNoPlausibleAccountChangesNothing(t *testing.T) {
	const id = "wx00000000000000aa"
	event := func(kind, appid string) notice {
		return read([]byte("<xml><InfoType>" + kind + "</InfoType><AuthorizerAppid>" + appid + "</AuthorizerAppid></xml>"))
	}
	for _, kind := range []string{authorized, updated, withdrawn} {
		for appid, want := range map[string]Reason{
			id: "", " " + id + "\n": "", "<![CDATA[" + id + "\x00]]>": "",
			"": BadAppID, "wx": BadAppID, "gh_1": BadAppID, id + "1": BadAppID, "WX00000000000000AA": BadAppID, "wx' OR 1=1 --00000": BadAppID,
		} {
			if got := event(kind, appid).ignored(); got != want {
				t.Errorf("%s of %q: got %q, want %q", kind, appid, got, want)
			}
		}
	}
}

func TestARegistrationCountsIfItSucceededAndBringsACode(t *testing.T) {
	const appid, code = "<appid>wx00000000000000aa</appid>", "<auth_code>queryauthcode@@@x</auth_code>"
	for fields, want := range map[string]Reason{
		appid + "<status>0</status>" + code:                         "",
		appid + code + "<status> 0 </status>":                       "",
		appid + code:                                                "",
		"<appid>wx00000000000000aa<appid><status>0</status>" + code: "", // as in WeChat's own sample
		appid + "<status>0</status>":                                NotRegistered,
		appid + "<status>0</status><auth_code> </auth_code>":        NotRegistered,
		appid + "<status>100001</status>" + code:                    NotRegistered,
		appid + "<status>-1</status>" + code:                        NotRegistered,
		appid + "<status>failed</status>" + code:                    NotRegistered,
		"<status>0</status>" + code:                                 BadAppID,
		"<AuthorizerAppid>wx00000000000000aa</AuthorizerAppid><AuthorizationCode>x</AuthorizationCode><status>0</status>":                             NotRegistered,
		"<info><appid>wx00000000000000aa</appid></info><status>0</status>" + code:                                                                     BadAppID,
		appid + "<status>0</status>" + code + "<info><status>1</status><name><![CDATA[\xb5\xea & <appid>]]></name><code>1</code></info><msg>OK</msg>": "",
	} {
		n := read([]byte("<xml><AppId>" + ours + "</AppId><InfoType>" + registered + "</InfoType>" + fields + "</xml>"))
		if got := n.ignored(); got != want {
			t.Errorf("%s: got %q, want %q", fields, got, want)
		}
		if want == "" && (n.AppID != ours || n.AuthorizerAppID != "wx00000000000000aa" || n.Code != "queryauthcode@@@x") {
			t.Errorf("%s: got %+v", fields, n)
		}
	}
}

func TestEveryRefusalHasItsReason(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Reason
	}{
		{fmt.Errorf("%w: %w", ErrNotAuthentic, wechat.ErrSignature), BadSignature},
		{fmt.Errorf("%w: %w", ErrNotAuthentic, wechat.ErrEnvelope), BadEnvelope},
		{fmt.Errorf("%w: %w", ErrNotAuthentic, wechat.ErrComponent), OtherComponent},
		{fmt.Errorf("%w: %w", ErrNotAuthentic, wechat.ErrNoEncrypt), NoEncrypt},
		{fmt.Errorf("%w: %w", ErrNotAuthentic, errCut), Cut},
		{fmt.Errorf("%w: %w", ErrNotAuthentic, errContent), BadContent},
		{ErrClock, BadClock},
		{strict.ErrTooLarge, TooLarge},
		{fmt.Errorf("database unavailable"), ""},
	} {
		if got := reasonOf(c.err); got != c.want {
			t.Errorf("%v: got %q, want %q", c.err, got, c.want)
		}
	}
}
