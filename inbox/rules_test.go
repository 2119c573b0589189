package inbox

import (
	"fmt"
	"testing"
	"time"

	"wxplatform/wechat"
)

func TestWhatAPushAsksFor(t *testing.T) {
	for _, c := range []struct {
		infoType, msgType string
		want              action
	}{
		{"component_verify_ticket", "", keepTicket},
		{"authorized", "", exchangeCode},
		{"updateauthorized", "", exchangeCode},
		{"notify_third_fasteregister", "", exchangeCode},
		{"unauthorized", "", endAuthorization},
		{"notify_third_fastregisterbetaapp", "", nothing},
		{"Authorized", "", nothing},
		{"", "", nothing},
		{"", "text", answerTester},
		{"unauthorized", "text", answerTester}, // what a customer wrote is never an event
	} {
		n := notice{InfoType: c.infoType, message: message{Type: c.msgType}}
		if got := n.action(); got != c.want {
			t.Errorf("%q, message %q: got %d, want %d", c.infoType, c.msgType, got, c.want)
		}
	}
}

func TestAnAuthorizationHasTheCodesOfItsEvent(t *testing.T) {
	n := read([]byte("<xml><InfoType>authorized</InfoType><AuthorizerAppid>wx00000000000000aa</AuthorizerAppid>" +
		"<AuthorizationCode>code</AuthorizationCode><PreAuthCode>pre</PreAuthCode></xml>"))
	got := n.authorization(time.Now())
	if got.AppID != "wx00000000000000aa" || got.Code.Reveal() != "code" || got.PreAuthCode.Reveal() != "pre" {
		t.Errorf("got %q %q %q, want each of the event's fields", got.AppID, got.Code.Reveal(), got.PreAuthCode.Reveal())
	}
}

func TestWhatTheReleaseTestIsAnswered(t *testing.T) {
	for name, c := range map[string]struct {
		message
		reply string
		later bool
	}{
		"its text":              {message{Type: "text", Content: "TESTCOMPONENT_MSG_TYPE_TEXT"}, "TESTCOMPONENT_MSG_TYPE_TEXT_callback", false},
		"an auth code":          {message{Type: "text", Content: "QUERY_AUTH_CODE:queryauthcode@@@x"}, "", true},
		"an event":              {message{Type: "event", Event: "LOCATION"}, "LOCATIONfrom_callback", false},
		"an event with no name": {message{Type: "event"}, "", false},
		"another text":          {message{Type: "text", Content: "hello"}, "", false},
		"a text inside another": {message{Type: "text", Content: "x QUERY_AUTH_CODE:y"}, "", false},
		"the text as an image":  {message{Type: "image", Content: "TESTCOMPONENT_MSG_TYPE_TEXT"}, "", false},
	} {
		if reply, later := c.release(); reply != c.reply || later != c.later {
			t.Errorf("%s: got %q, later %v, want %q, later %v", name, reply, later, c.reply, c.later)
		}
	}
}

func TestOnlyTheReleaseTestsOwnAccountsAreTesters(t *testing.T) {
	for _, c := range []struct {
		to   wechat.UserName
		path wechat.AppID
		want bool
	}{
		{"gh_3c884a361561", "wx570bc396a51b8ff8", true},
		{"gh_3c884a361561", "wxd101a85aa106f53e", false}, // the URL of another tester
		{"gh_3c884a361561", "wx00000000000000aa", false},
		{"gh_1a2b3c4d5e6f", "wx570bc396a51b8ff8", false},
		{"gh_1a2b3c4d5e6f", "", false},
		{"", "", false},
	} {
		if got := (message{To: c.to}).fromTester(c.path); got != c.want {
			t.Errorf("%q at %q: got %v, want %v", c.to, c.path, got, c.want)
		}
	}
}

func TestOnlyARecentTimestampIsBelieved(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for text, want := range map[string]bool{
		"1800000000": true,
		fmt.Sprint(now.Add(-10 * time.Minute).Unix()):             true,
		fmt.Sprint(now.Add(10 * time.Minute).Unix()):              true,
		fmt.Sprint(now.Add(-10*time.Minute - time.Second).Unix()): false,
		fmt.Sprint(now.Add(10*time.Minute + time.Second).Unix()):  false,
		"18000000001":   false, // the nonce's first digit taken for the timestamp's last
		"180000000":     false,
		"01800000000":   false,
		"+180000000":    false,
		"1800000000.0":  false,
		"1800000000000": false,
		"":              false,
		"now":           false,
	} {
		if got := recent(text, now); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

// A wrong time would switch off the search for codes that were brought through another invitation.
func TestAPushWithoutAPlausibleTimeHasNone(t *testing.T) {
	received := time.Unix(1_800_000_000, 0)
	for text, want := range map[string]int64{
		"1800000000": 1_800_000_000, "1800000600": 1_800_000_600, "1800000601": 0, // ten minutes ahead, and more
		"1799913600": 1_799_913_600, "1799913599": 0, // a day ago, and more
		"1413192605": 0, "1293840000": 0,
		"": 0, "today": 0, "1.5": 0, "0": 0, "-1800000000": 0,
		"1800000000000": 0, "4611686018427387904": 0, "9223372036854775807": 0, "99999999999999999999": 0,
	} {
		n := notice{CreateTime: text}
		for _, got := range []time.Time{n.created(received), n.authorization(received).Created} {
			if got.IsZero() != (want == 0) || want != 0 && got.Unix() != want {
				t.Errorf("%q: got %v, want %d", text, got, want)
			}
		}
	}
}
