package main

import (
	"bufio"
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

	"wxplatform/internal/db"
	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

const eventsPath = "/wechat/events"

func (w *world) event(infoType, more string) string {
	return fmt.Sprintf(`<xml><AppId>%s</AppId><CreateTime>%d</CreateTime><InfoType>%s</InfoType>%s</xml>`, w.sim.Config().AppID, time.Now().Unix(), infoType, more)
}

// stored counts the events that SQL has, worked off or not.
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
	bad := map[string]wechat.Push{
		"another signature":                {Timestamp: good.Timestamp, Nonce: good.Nonce, Signature: strings.Repeat("0", 40), Encrypt: good.Encrypt},
		"no signature":                     {Timestamp: good.Timestamp, Nonce: good.Nonce, Encrypt: good.Encrypt},
		"another nonce":                    {Timestamp: good.Timestamp, Nonce: "m", Signature: good.Signature, Encrypt: good.Encrypt},
		"another component":                others.Seal(message, now, "n"),
		"another key":                      wrongKey.Seal(message, now, "n"),
		"eleven minutes old":               ours.Seal(message, fmt.Sprint(time.Now().Add(-11*time.Minute).Unix()), "n"),
		"eleven minutes ahead":             ours.Seal(message, fmt.Sprint(time.Now().Add(11*time.Minute).Unix()), "n"),
		"no number for a time":             ours.Seal(message, "soon", "n"),
		"timestamp that is not ten digits": ours.Seal(message, "0"+now, "n"),
		"not base64":                       signed("%%%%"),
		"not a block":                      signed("AAAA"),
		"broken padding":                   signed("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
		"another AppId inside":             ours.Seal([]byte(strings.Replace(string(message), string(about.AppID), "wx0000000000000001", 1)), now, "n"),
		"no XML inside":                    ours.Seal([]byte("hello"), now, "n"),
	}
	before := w.stored()
	for name, p := range bad {
		t.Run(name, func(t *testing.T) {
			w.wants(w.pushed(eventsPath, p), 403, "not-authentic")
			if name != "no XML inside" && name != "another AppId inside" { // a message that cannot be read is none of ours, but authentic
				w.wants(w.pushed("/wechat/"+string(service)+"/messages", p), 403, "not-authentic")
			}
		})
	}
	for name, body := range map[string]string{
		"nothing": "", "no XML": "hello", "no Encrypt": "<xml><A>x</A></xml>", "broken": "<xml><Encrypt>x",
		"a bomb": `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><xml><Encrypt>&b;</Encrypt></xml>`,
		"deep":   strings.Repeat("<a>", 20000),
	} {
		t.Run(name, func(t *testing.T) {
			w.wants(w.raw("POST", eventsPath+"?timestamp="+now+"&nonce=n&msg_signature=x", map[string]string{"Content-Type": "text/xml"}, body), 403, "not-authentic")
		})
	}
	w.wants(w.raw("POST", eventsPath+"?timestamp="+now+"&nonce=n&msg_signature=x", map[string]string{"Content-Type": "text/xml"}, "<xml>"+strings.Repeat("x", 300<<10)), 413, "too-large")
	if got := w.stored(); got != before {
		t.Errorf("got %d events stored, want none", got-before)
	}
	w.open(kfAccount)
	w.ok(w.shut(kfAccount))
}

// sealed is a push of message, sealed as WeChat seals it now.
func (w *world) sealed(message string) wechat.Push {
	w.t.Helper()
	about := w.sim.Config()
	envelope, err := wechat.NewEnvelope(about.AppID, []string{about.Token}, []string{about.AESKey})
	if err != nil {
		w.t.Fatal(err)
	}
	return envelope.Seal([]byte(message), fmt.Sprint(time.Now().Unix()), "nonce1")
}

// The signature says what is authentic. How the rest is written costs nothing (cases B17 and of 2013).
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

// A push that people saw in 2013 was HTTP/1.0, with Connection: Keep-Alive and without a charset.
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

func TestAnAuthenticPushOfAnUnknownKindIsCountedAndAnswered(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	for _, message := range []string{w.event("notify_third_fasteregister", ""), w.event("", ""), w.event("component_verify_ticket", "")} {
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

// Case B21: a time in milliseconds, and all others that cannot be, count as now, and so freeze nothing.
func TestATicketWithATimeThatCannotBeFreezesNoLaterOne(t *testing.T) {
	t.Parallel()
	engines(t, func(w *world) {
		for n, created := range []string{fmt.Sprint(time.Now().UnixMilli()), "", "-1", "soon", "99999999999999999999", fmt.Sprint(time.Now().Add(time.Hour).Unix())} {
			for m, at := range []string{created, fmt.Sprint(time.Now().Unix())} {
				value := fmt.Sprintf("ticket@@@%d-%d", n, m)
				w.push(eventsPath, fmt.Sprintf(`<xml><AppId>%s</AppId><CreateTime>%s</CreateTime><InfoType>component_verify_ticket</InfoType><ComponentVerifyTicket>%s</ComponentVerifyTicket></xml>`,
					w.sim.Config().AppID, at, value), time.Now())
				stored := w.number(`SELECT COUNT(*) FROM tickets WHERE created_at > received_at OR created_at < received_at - 60000`)
				if got := w.platform.component.Newest().Value.Reveal(); got != value || stored != 0 {
					w.t.Errorf("created %q: got the ticket %s and %d stored with another time than now, want %s", created, got, stored, value)
				}
			}
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

// A merchant authorizes, withdraws, authorizes again and changes its sets, and all that WeChat tells of it comes twice, the withdrawal last.
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
