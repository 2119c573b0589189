package main

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"wxplatform/inbox"
	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

const eventsPath = "/wechat/events"

func (w *world) event(infoType, more string) string {
	return fmt.Sprintf(`<xml><AppId>%s</AppId><CreateTime>%d</CreateTime><InfoType>%s</InfoType>%s</xml>`, w.sim.Config().AppID, time.Now().Unix(), infoType, more)
}

// stored counts the events in SQL, processed or not.
func (w *world) stored() int {
	w.t.Helper()
	n, err := db.One(anyContext, w.platform.db, db.Value[int], `SELECT COUNT(*) FROM events`)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func TestAPushThatIsNotAuthenticChangesNothing(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	about := w.sim.Config()
	ours, _ := wechat.NewEnvelope(about.AppID, []string{about.Token}, []string{about.AESKey})
	others, _ := wechat.NewEnvelope("wx0000000000000001", []string{about.Token}, []string{about.AESKey})
	wrongKey, _ := wechat.NewEnvelope(about.AppID, []string{about.Token}, []string{strings.Repeat("B", 42) + "A"})
	now := fmt.Sprint(time.Now().Unix())
	message := []byte(w.event("unauthorized", "<AuthorizerAppid>"+string(service)+"</AuthorizerAppid>"))
	good := ours.Seal(message, now, "n")
	signed := func(encrypt string) wechat.Push {
		parts := []string{about.Token, now, "n", encrypt}
		slices.Sort(parts)
		sum := sha1.Sum([]byte(strings.Join(parts, "")))
		return wechat.Push{Timestamp: now, Nonce: "n", Signature: hex.EncodeToString(sum[:]), Encrypt: encrypt}
	}
	bad := map[string]struct {
		wechat.Push
		why inbox.Reason
	}{
		"another signature":                {wechat.Push{Timestamp: good.Timestamp, Nonce: good.Nonce, Signature: strings.Repeat("0", 40), Encrypt: good.Encrypt}, inbox.BadSignature},
		"no signature":                     {wechat.Push{Timestamp: good.Timestamp, Nonce: good.Nonce, Encrypt: good.Encrypt}, inbox.BadSignature},
		"another nonce":                    {wechat.Push{Timestamp: good.Timestamp, Nonce: "m", Signature: good.Signature, Encrypt: good.Encrypt}, inbox.BadSignature},
		"another component":                {others.Seal(message, now, "n"), inbox.OtherComponent},
		"another key":                      {wrongKey.Seal(message, now, "n"), inbox.BadEnvelope},
		"no number for a time":             {ours.Seal(message, "soon", "n"), inbox.BadClock},
		"timestamp that is not ten digits": {ours.Seal(message, "0"+now, "n"), inbox.BadClock},
		"not base64":                       {signed("%%%%"), inbox.BadEnvelope},
		"not a block":                      {signed("AAAA"), inbox.BadEnvelope},
		"broken padding":                   {signed("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), inbox.BadEnvelope},
		"another AppId inside":             {ours.Seal([]byte(strings.Replace(string(message), string(about.AppID), "wx0000000000000001", 1)), now, "n"), inbox.BadContent},
		"no XML inside":                    {ours.Seal([]byte("hello"), now, "n"), inbox.BadContent},
	}
	w.settles()
	before := w.stored()
	refused := func(why inbox.Reason) int64 { return w.platform.inbox.Counts.Refused(why) }
	refuses := func(name string, push wechat.Push, why inbox.Reason) {
		t.Run(name, func(t *testing.T) {
			counted, want := refused(why), int64(1)
			w.wants(w.pushed(eventsPath, push), 403, "not-authentic")
			if why != inbox.BadContent { // a message that cannot be read is none of ours, but authentic
				want = 2
				w.wants(w.pushed("/wechat/"+string(service)+"/messages", push), 403, "not-authentic")
			}
			if got := refused(why) - counted; got != want {
				t.Errorf("got %d counted for %s, want %d", got, why, want)
			}
		})
	}
	for name, c := range bad {
		refuses(name, c.Push, c.why)
	}
	for name, off := range map[string]time.Duration{"eleven minutes old": -11 * time.Minute, "eleven minutes ahead": 11 * time.Minute} {
		refuses(name, ours.Seal(message, fmt.Sprint(time.Now().Add(off).Unix()), "n"), inbox.BadClock)
	}
	for name, c := range map[string]struct {
		body string
		why  inbox.Reason
	}{
		"nothing": {"", inbox.NoEncrypt}, "no XML": {"hello", inbox.NoEncrypt}, "no Encrypt": {"<xml><A>x</A></xml>", inbox.NoEncrypt}, "broken": {"<xml><Encrypt>x", inbox.BadSignature},
		"two":    {"<xml><Encrypt>x</Encrypt><Encrypt>y</Encrypt></xml>", inbox.NoEncrypt},
		"a bomb": {`<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><xml><Encrypt>&b;</Encrypt></xml>`, inbox.BadSignature},
		"deep":   {strings.Repeat("<a>", 20000), inbox.NoEncrypt},
	} {
		t.Run(name, func(t *testing.T) {
			counted := refused(c.why)
			w.wants(w.raw("POST", eventsPath+"?timestamp="+now+"&nonce=n&msg_signature=x", map[string]string{"Content-Type": "text/xml"}, c.body), 403, "not-authentic")
			if refused(c.why) != counted+1 {
				t.Errorf("got it not counted for %s", c.why)
			}
		})
	}
	w.wants(w.raw("POST", eventsPath+"?timestamp="+now+"&nonce=n&msg_signature=x", map[string]string{"Content-Type": "text/xml"}, "<xml>"+strings.Repeat("x", 300<<10)), 413, "too-large")
	w.cutPush()
	w.eventually("the cut one to be counted", func() bool { return refused(inbox.Cut) == 1 })
	if got := refused(inbox.TooLarge); got != 1 {
		t.Errorf("got %d counted as too large, want 1", got)
	}
	if got := w.scrape(`wxplatform_pushes_total{kind="clock"}`); got != "8" {
		t.Errorf("got %s counted by the clock, want 8", got)
	}
	if got := w.scrape(`wxplatform_pushes_refused_total{reason="component"}`); got != "2" {
		t.Errorf("got %s for another component, want 2", got)
	}
	if got := w.stored(); got != before {
		t.Errorf("got %d events stored, want none", got-before)
	}
	w.open(kfAccount)
	w.ok(w.shut(kfAccount))
}

// sealed returns a push of message, sealed as WeChat seals it now.
func (w *world) sealed(message string) wechat.Push {
	w.t.Helper()
	about := w.sim.Config()
	envelope, err := wechat.NewEnvelope(about.AppID, []string{about.Token}, []string{about.AESKey})
	if err != nil {
		w.t.Fatal(err)
	}
	return envelope.Seal([]byte(message), fmt.Sprint(time.Now().Unix()), "nonce1")
}

// The signature decides what is authentic. The form of the rest does not matter.
func TestAPushIsReadHoweverItIsWritten(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	ticket := func(n int, more string) (message, value string) {
		value = fmt.Sprintf("ticket@@@%d", n)
		return fmt.Sprintf("<xml>%s\n<AppId> %s\n</AppId><CreateTime>%d </CreateTime>\r\n<InfoType> component_verify_ticket </InfoType><ComponentVerifyTicket>\n%s\n</ComponentVerifyTicket></xml>",
			more, w.sim.Config().AppID, time.Now().Unix(), value), value
	}
	asXML := func(p wechat.Push) string { return string(wechat.WriteEvent("wx1", p)) }
	asJSON := func(p wechat.Push) string { return fmt.Sprintf(`{"AppId":"wx1","Encrypt":%q}`, p.Encrypt) }
	for n, c := range []struct {
		name, odd, contentType string
		body                   func(wechat.Push) string
	}{
		{"blanks in the elements (B17)", "", "text/xml", asXML},
		{"a control byte, no UTF-8, a lone & and an entity of nobody's", "<Name>\x14\x00\xbb\xa8 & &b; <3</Name>", "text/xml", asXML},
		{"an element that is never closed", "<Name>x", "text/xml", asXML},
		{"JSON that is called XML", "", "text/xml", asJSON},
		{"XML that is called JSON", "", "application/json", asXML},
		{"no content type", "", "", asXML},
		{"an envelope that is no XML", "", "text/xml", func(p wechat.Push) string {
			return "<xml><ToUserName>\xff & <\x00</ToUserName>" + asXML(p)[len("<xml>"):] + "x"
		}},
	} {
		message, value := ticket(n, c.odd)
		p := w.sealed(message)
		query := fmt.Sprintf("?timestamp=%s&nonce=%s&encrypt_type=aes&msg_signature=%s", p.Timestamp, p.Nonce, p.Signature)
		got := w.raw(http.MethodPost, eventsPath+query, map[string]string{"Content-Type": c.contentType}, c.body(p))
		if got.status != 200 || string(got.body) != "success" || w.platform.component.Newest().Value.Reveal() != value {
			t.Errorf("%s: got %d %s and the ticket %s, want success and %s", c.name, got.status, got.body, w.platform.component.Newest().Value.Reveal(), value)
		}
	}
}

// A push seen in 2013 was HTTP/1.0, with Connection: Keep-Alive and without a charset.
func TestAPushMayBeHTTP10(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.publicURL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := w.sealed(w.event("component_verify_ticket", "<ComponentVerifyTicket>ticket@@@old</ComponentVerifyTicket>"))
	body := string(wechat.WriteEvent("wx1", p))
	fmt.Fprintf(conn, "POST %s?timestamp=%s&nonce=%s&msg_signature=%s HTTP/1.0\r\nConnection: Keep-Alive\r\nPragma: no-cache\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s",
		eventsPath, p.Timestamp, p.Nonce, p.Signature, len(body), body)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != 200 || string(text) != "success" {
		t.Errorf("got %d %s, %v, want success", answer.StatusCode, text, err)
	}
}

func TestAMessageIsNoEventWhateverACustomerWrites(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.settles()
	before := w.stored()
	event := "<AppId>" + string(w.sim.Config().AppID) + "</AppId><InfoType>unauthorized</InfoType><AuthorizerAppid>" + string(service) + "</AuthorizerAppid>"
	message := "<xml><ToUserName>gh_1</ToUserName><FromUserName>o1</FromUserName><MsgType>text</MsgType><Content><![CDATA[]]></Content>" + event + "<Content>]]></Content></xml>"
	w.wants(w.push(eventsPath, message, time.Now()), 403, "not-authentic")
	if got := w.push("/wechat/"+string(service)+"/messages", message, time.Now()); string(got.body) != "success" {
		t.Errorf("got %d %s, want success", got.status, got.body)
	}
	if got := w.stored(); got != before {
		t.Errorf("got %d events stored, want none", got-before)
	}
}

// cutPush sends half of a push and closes the connection.
func (w *world) cutPush() {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.publicURL, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST %s?timestamp=1&nonce=n&msg_signature=x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n<xml><Encrypt>", eventsPath)
	_ = conn.Close()
}

func TestAnEventAboutNoPlausibleAccountIsCountedAndAnswered(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for _, message := range []string{
		w.event("authorized", "<AuthorizerAppid></AuthorizerAppid><AuthorizationCode>queryauthcode@@@x</AuthorizationCode>"),
		w.event("updateauthorized", "<AuthorizerAppid>wx1</AuthorizerAppid>"),
		w.event("unauthorized", "<AuthorizerAppid>null</AuthorizerAppid>"),
	} {
		if got := w.push(eventsPath, message, time.Now()); got.status != 200 || string(got.body) != "success" {
			t.Errorf("got %d %s, want success", got.status, got.body)
		}
	}
	counts := &w.platform.inbox.Counts
	if counts.Refused(inbox.BadAppID) != 3 || counts.Unknown.Load() != 3 || w.stored() != 0 {
		t.Errorf("got %d counted, %d unknown and %d stored, want 3, 3 and none", counts.Refused(inbox.BadAppID), counts.Unknown.Load(), w.stored())
	}
}

// registration is the event that a mini program was registered through the component, with the code
// that another event brought.
func (w *world) registration(appid wechat.AppID, status, code string) string {
	return w.event("notify_third_fasteregister", fmt.Sprintf("<appid>%s</appid><status>%s</status><auth_code>%s</auth_code><msg>OK</msg><info><name><![CDATA[\xb5\xea]]></name><code>1</code></info>", appid, status, code))
}

func TestAMiniProgramRegisteredThroughUsIsKept(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		const mini = wechatsim.SampleMiniProgram
		code := w.authCode(mini)
		for _, status := range []string{"100001", "-1"} {
			if got := w.push(eventsPath, w.registration(mini, status, code), time.Now()); string(got.body) != "success" {
				w.t.Errorf("got %d %s, want success", got.status, got.body)
			}
		}
		w.push(eventsPath, w.registration(mini, "0", ""), time.Now())
		if n := w.platform.inbox.Counts.Refused(inbox.NotRegistered); n != 3 || w.stored() != 0 {
			w.t.Errorf("got %d counted and %d stored, want 3 and none", n, w.stored())
		}
		if got := w.push(eventsPath, w.registration(mini, "0", code), time.Now()); string(got.body) != "success" {
			w.t.Fatalf("got %d %s, want success", got.status, got.body)
		}
		w.settles()
		var shown struct{ Tenant, State, Kind string }
		w.command(&shown, "authorizer", "show", string(mini))
		if shown.Tenant != "" || shown.State != "healthy" || shown.Kind != "miniprogram" {
			w.t.Errorf("got %+v, want a healthy mini program of nobody's", shown)
		}
	})
}

// authCode is the code of an authorization through a link that no invitation has, whose own event
// is lost.
func (w *world) authCode(id wechat.AppID) string {
	w.t.Helper()
	if err := w.sim.FaultPushes(wechatsim.PushFault{Kind: "authorized", Count: 1, Do: wechatsim.Lose}); err != nil {
		w.t.Fatal(err)
	}
	_, link := w.invitation("")
	page := w.raw("GET", strings.TrimPrefix(link, w.publicURL), nil, "")
	given, err := w.sim.Consent(anyContext, preAuthCode(w.t, string(page.body)), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return given.AuthCode
}

func TestAnAuthenticPushOfAnUnknownKindIsCountedAndAnswered(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for _, message := range []string{w.event("notify_icpfiling_verify_result", ""), w.event("", ""), w.event("component_verify_ticket", "")} {
		if got := w.push(eventsPath, message, time.Now()); got.status != 200 || string(got.body) != "success" {
			t.Errorf("got %d %s, want success", got.status, got.body)
		}
	}
	for _, message := range []string{`<xml><ToUserName>gh_x</ToUserName><MsgType>text</MsgType></xml>`, `<xml></xml>`} {
		if got := w.push("/wechat/"+string(service)+"/messages", message, time.Now()); got.status != 200 || string(got.body) != "success" {
			t.Errorf("got %d %s, want success", got.status, got.body)
		}
	}
	if n := w.platform.inbox.Counts.Unknown.Load(); n != 4 {
		t.Errorf("got %d counted, want 4", n)
	}
	if w.stored() != 0 {
		t.Error("got something stored, want nothing")
	}
}

func TestARepeatedEventIsStoredOnce(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		message := w.event("unauthorized", "<AuthorizerAppid>wx00000000000000aa</AuthorizerAppid>")
		for range 3 {
			if got := w.push(eventsPath, message, time.Now()); string(got.body) != "success" {
				w.t.Fatalf("got %d %s", got.status, got.body)
			}
		}
		if n := w.stored(); n != 1 {
			w.t.Errorf("got %d, want 1", n)
		}
	})
}

func TestAnEventThatSQLCannotTakeIsNotAnsweredSuccessButATicketIs(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	_ = w.platform.db.Close()
	w.wants(w.push(eventsPath, w.event("unauthorized", "<AuthorizerAppid>wx00000000000000aa</AuthorizerAppid>"), time.Now()), 503, "unavailable")
	if got := w.push(eventsPath, w.event("component_verify_ticket", "<ComponentVerifyTicket>ticket@@@new</ComponentVerifyTicket>"), time.Now()); string(got.body) != "success" {
		t.Errorf("got %d %s, want success", got.status, got.body)
	}
	if got := w.platform.component.Newest().Value.Reveal(); got != "ticket@@@new" {
		t.Error("got another ticket, want the newest kept in the process")
	}
}

func TestAnOldTicketDoesNotReplaceANewerOne(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		ticket := func(value string, at time.Time) string {
			return fmt.Sprintf(`<xml><AppId>%s</AppId><CreateTime> %d </CreateTime><InfoType>component_verify_ticket</InfoType><ComponentVerifyTicket>%s</ComponentVerifyTicket></xml>`, w.sim.Config().AppID, at.Unix(), value)
		}
		w.push(eventsPath, ticket("ticket@@@young", time.Now().Add(time.Minute)), time.Now())
		w.push(eventsPath, ticket("ticket@@@old", time.Now().Add(-time.Minute)), time.Now())
		if got := w.platform.component.Newest().Value.Reveal(); got != "ticket@@@young" {
			w.t.Errorf("got %s in the process, want the younger", got)
		}
		if err := w.platform.component.Refresh(anyContext); err != nil || w.platform.component.Newest().Value.Reveal() != "ticket@@@young" {
			w.t.Errorf("got %s from SQL (%v), want the younger", w.platform.component.Newest().Value.Reveal(), err)
		}
	})
}

// A time in milliseconds, or any other impossible time, counts as now, so that it does not block
// later events.
func TestATicketWithATimeThatCannotBeFreezesNoLaterOne(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		keeps := func(value, created string) {
			w.push(eventsPath, fmt.Sprintf(`<xml><AppId>%s</AppId><CreateTime>%s</CreateTime><InfoType>component_verify_ticket</InfoType><ComponentVerifyTicket>%s</ComponentVerifyTicket></xml>`,
				w.sim.Config().AppID, created, value), time.Now())
			stored := w.number(`SELECT COUNT(*) FROM tickets WHERE created_at > received_at OR created_at < received_at - 60000`)
			if got := w.platform.component.Newest().Value.Reveal(); got != value || stored != 0 {
				w.t.Errorf("created %q: got the ticket %s and %d stored with another time than now, want %s", created, got, stored, value)
			}
		}
		for n, created := range []string{fmt.Sprint(time.Now().UnixMilli()), "", "-1", "soon", "99999999999999999999", fmt.Sprint(time.Now().Add(time.Hour).Unix())} {
			keeps(fmt.Sprintf("ticket@@@%d-odd", n), created)
			keeps(fmt.Sprintf("ticket@@@%d-proper", n), fmt.Sprint(time.Now().Unix()))
		}
	})
}

func TestTheEchoOfTheConsole(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	if err := w.sim.Probe(anyContext, w.publicURL+eventsPath, ""); err != nil {
		t.Error(err)
	}
	if err := w.sim.Probe(anyContext, w.publicURL+"/wechat/$APPID$/messages", service); err != nil {
		t.Error(err)
	}
	w.wants(w.raw("GET", eventsPath+"?signature=x&timestamp=1&nonce=2&echostr=3", nil, ""), 403, "not-authentic")
}

func TestEventsInAnyOrderEndTheSame(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "1")
		if err := w.sim.FaultPushes(wechatsim.PushFault{Count: 3, Do: wechatsim.Hold}); err != nil {
			w.t.Fatal(err)
		}
		if err := w.sim.ChangeSets(service, 3); err != nil {
			w.t.Fatal(err)
		}
		if err := w.sim.ChangeSets(service, 1, 6); err != nil {
			w.t.Fatal(err)
		}
		w.sim.Release()
		if err := w.sim.Settle(anyContext); err != nil {
			w.t.Fatal(err)
		}
		w.settles()
		w.open(kfAccount)
		w.ok(w.shut(kfAccount))
		if got := w.ask(http.MethodGet, "/v1/authorizers/"+string(service), ""); !strings.Contains(string(got.body), `"permission_sets":[1,6]`) {
			w.t.Errorf("got %s, want the newest sets", got.body)
		}
	})
}

// A merchant authorizes, withdraws, authorizes again and changes its sets. Every event comes twice,
// the withdrawal last.
func TestAWithdrawalThatComesLateEndsNothing(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		w.grant(service, "3")
		w.settles()
		for _, kind := range []string{"authorized", "updateauthorized", "unauthorized"} {
			if err := w.sim.FaultPushes(wechatsim.PushFault{Kind: kind, Count: 10, Do: wechatsim.Lose}); err != nil {
				w.t.Fatal(err)
			}
		}
		if err := w.sim.Unauthorize(service); err != nil {
			w.t.Fatal(err)
		}
		w.grant(service, "1")
		w.sim.ClearFaults()
		if err := w.sim.FaultPushes(wechatsim.PushFault{Count: 10, Do: wechatsim.Repeat}); err != nil {
			w.t.Fatal(err)
		}
		if err := w.sim.ChangeSets(service, 1, 6); err != nil {
			w.t.Fatal(err)
		}
		if err := w.sim.Settle(anyContext); err != nil {
			w.t.Fatal(err)
		}
		late := w.event("unauthorized", "<AuthorizerAppid>"+string(service)+"</AuthorizerAppid>")
		for range 2 {
			if got := w.push(eventsPath, late, time.Now()); string(got.body) != "success" {
				w.t.Fatalf("got %d %s", got.status, got.body)
			}
		}
		w.settles()
		w.later(61 * time.Second)
		w.eventually("WeChat to be asked", func() bool { return w.checks() >= 1 })
		w.open(kfAccount)
		w.ok(w.shut(kfAccount))
		if got := w.authorizer(service); got.field("state") != "healthy" || !strings.Contains(string(got.body), `"permission_sets":[1,6]`) {
			w.t.Errorf("got %s, want it healthy, with the newest sets", got.body)
		}
	})
}

// The exchange of a code that came through one link is slow. Sixteen more merchants follow the same
// link, more than are processed at once, and one follows another link.
func TestABusyLinkDelaysNoOtherMerchantsEvent(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		busy, link := w.invitation("")
		page := w.raw("GET", strings.TrimPrefix(link, w.publicURL), nil, "")
		preAuth := preAuthCode(w.t, string(page.body))
		defer w.keepsBusy(busy)()
		for n := range 16 {
			w.push(eventsPath, w.event("authorized", fmt.Sprintf("<AuthorizerAppid>wx00000000000000a%x</AuthorizerAppid><AuthorizationCode>queryauthcode@@@%d</AuthorizationCode><PreAuthCode>%s</PreAuthCode>", n, n, preAuth)), time.Now())
		}
		w.eventually("the busy link's events to give up their places", func() bool { // if they waited in them, eight would have places at any time
			return w.number(`SELECT COUNT(*) FROM events WHERE done_at = 0 AND attempts > 0 AND lease_until = 0`) == 16
		})
		id, link := w.invitation("")
		page = w.raw("GET", strings.TrimPrefix(link, w.publicURL), nil, "")
		if _, err := w.sim.Consent(anyContext, preAuthCode(w.t, string(page.body)), service, 1); err != nil {
			w.t.Fatal(err)
		}
		w.eventually("the other merchant's event to be worked off", func() bool { return w.status(id) == "authorized" })
		if n := w.number(`SELECT COUNT(*) FROM events WHERE done_at = 0 AND account <> $1`, string(service)); n != 16 {
			w.t.Errorf("got %d events that wait, want those of the busy link", n)
		}
		for line := range strings.Lines(w.log.String()) {
			if strings.Contains(line, `"keeper":"inbox"`) && !strings.Contains(line, db.ErrUnavailable.Error()) {
				w.t.Errorf("got %s, and that an event waits is no fault", line)
			}
		}
	})
}

// keepsBusy holds an invitation's lease, as a slow exchange does, until it is released.
func (w *world) keepsBusy(invitation string) (release func()) {
	hold := func() error {
		until := time.Now().Add(11 * time.Second) // one second less than the longest that is believed
		_, err := db.Exec(anyContext, w.platform.db, `UPDATE invitations SET lease_until = $1 WHERE hash = $2`, until.UnixMilli(), seal.NewSecret(invitation).Hash())
		return err
	}
	if err := hold(); err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(anyContext)
	var holding errgroup.Group
	holding.Go(func() error {
		for ctx.Err() == nil {
			if err := hold(); err != nil {
				return err
			}
			time.Sleep(200 * time.Millisecond)
		}
		return nil
	})
	return func() {
		stop()
		if err := holding.Wait(); err != nil {
			w.t.Error(err)
		}
	}
}

// While WeChat is slow with one merchant's auth code, that merchant's next event waits, and no
// other merchant's does.
func TestASlowEventDelaysOnlyTheNextOfItsMerchant(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		const other = wechatsim.SampleOfficial
		w.grant(service, "1")
		w.grant(other, "1")
		w.settles()
		answer := make(chan struct{})
		w.sim.Fault(wechatsim.Fault{Path: "/cgi-bin/component/api_query_auth", AppID: service, Hold: answer, Count: wechatsim.Always}) // given up, it is held again
		for _, sets := range [][]wechat.PermissionSet{{1, 6}, {1, 6, 11}} {
			if err := w.sim.ChangeSets(service, sets...); err != nil {
				w.t.Fatal(err)
			}
			w.eventually("the first to be at work", func() bool {
				return w.number(`SELECT COUNT(*) FROM events WHERE account = $1 AND attempts > 0 AND done_at = 0`, string(service)) == 1
			})
		}
		if err := w.sim.ChangeSets(other, 1, 11); err != nil {
			w.t.Fatal(err)
		}
		sets := func(id wechat.AppID) string { return string(w.authorizer(id).body) }
		w.eventually("the other merchant's event to be worked off", func() bool { return strings.Contains(sets(other), `"permission_sets":[1,11]`) })
		if n := w.number(`SELECT COUNT(*) FROM events WHERE account = $1 AND done_at = 0`, string(service)); n != 2 {
			w.t.Errorf("got %d events of the slow merchant that wait, want both", n)
		}
		if n := w.number(`SELECT COUNT(*) FROM events WHERE account = $1 AND attempts > 0 AND done_at = 0`, string(service)); n != 1 {
			w.t.Errorf("got %d of them tried, want the first alone", n)
		}
		close(answer)
		w.settles()
		if got := sets(service); !strings.Contains(got, `"permission_sets":[1,6,11]`) {
			w.t.Errorf("got %s, want what the last event brought", got)
		}
	})
}

// WeChat is slow to confirm the withdrawals of three merchants. The fourth one's is confirmed
// meanwhile.
func TestASlowCheckDelaysNoOther(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		slow := []wechat.AppID{wechatsim.SampleOfficial, wechatsim.SampleUnverified, wechatsim.SampleMiniProgram}
		w.grant(service, "1")
		w.grant(slow[0], "1")
		w.grant(slow[1], "1")
		w.grant(slow[2], "19")
		w.settles()
		answers := make(chan struct{})
		defer close(answers)
		for _, id := range slow {
			w.sim.Fault(wechatsim.Fault{Path: "/cgi-bin/component/api_get_authorizer_info", AppID: id, Hold: answers, Count: wechatsim.Always})
		}
		if err := w.sim.Unauthorize(service); err != nil {
			w.t.Fatal(err)
		}
		w.eventually("the withdrawal to be noted", func() bool {
			return w.number(`SELECT COUNT(*) FROM authorizers WHERE appid = $1 AND check_at > 0`, string(service)) == 1
		})
		w.exec(`UPDATE authorizers SET authorized_at = 1, check_at = CASE WHEN appid = $1 THEN 2 ELSE 1 END`, string(service))
		w.eventually("the withdrawal to be confirmed", func() bool { return w.authorizer(service).field("state") == "revoked" })
		if strings.Contains(w.log.String(), "ask whether") {
			w.t.Error("got a slow check given up before, want all three under way")
		}
	})
}
