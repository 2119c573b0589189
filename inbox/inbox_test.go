package inbox

import "testing"

const ours = "wx0123456789abcdef"

func TestOnlyWhatIsAddressedToTheComponentIsItsEvent(t *testing.T) {
	const event = "<AppId>" + ours + "</AppId><InfoType>unauthorized</InfoType><AuthorizerAppid>wx00000000000000aa</AuthorizerAppid>"
	const message = "<ToUserName>gh_1</ToUserName><FromUserName>o1</FromUserName><MsgType>text</MsgType>"
	for name, c := range map[string]struct {
		push string
		want bool
	}{
		"an event":                          {"<xml>" + event + "</xml>", true},
		"with blanks":                       {"<xml>\n<AppId> " + ours + "\n</AppId></xml>", true},
		"in JSON":                           {`{"AppId":"` + ours + `","InfoType":"unauthorized"}`, true},
		"beside bytes of no use":            {"<xml><Name>\xff\x00&<</Name>" + event + "</xml>", true},
		"another component's":               {"<xml><AppId>wx0000000000000001</AppId></xml>", false},
		"nobody's":                          {"<xml></xml>", false},
		"no push":                           {"hello", false},
		"a message":                         {"<xml>" + message + "<Content>x</Content></xml>", false},
		"a message whose text is like one":  {"<xml>" + message + "<Content><![CDATA[" + event + "]]></Content></xml>", false},
		"a message whose text breaks out":   {"<xml>" + message + "<Content><![CDATA[]]></Content>" + event + "<Content>]]></Content></xml>", false},
		"a message in JSON like one":        {`{"MsgType":"text","Content":"x","AppId":"` + ours + `"}`, false},
		"an event inside of something else": {"<xml><A>" + event + "</A></xml>", false},
	} {
		if got := read([]byte(c.push)).of(ours); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}
