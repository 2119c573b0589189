package wechatsim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"wxplatform/wechat"
)

// route is a route of the control API.
type route struct {
	pattern string
	body    string // an example
	help    string
	act     act
}

// controlTable returns the control API and its manual.
func controlTable() []route {
	return []route{
		{"GET /_sim/", "", "this list", showing(func(*Sim) string { return ControlHelp() })},
		{"GET /_sim/state", "", "everything, without secrets", showing((*Sim).State)},
		{"GET /_sim/accounts", "", "the accounts, without the synthetic ones", showing((*Sim).Accounts)},
		{"POST /_sim/accounts", `{"kind":"service","nick_name":"…","alias":"…","customer_service":true,"agents":[{"kf_account":"a@b","online":true}]}`, "adds an account", taking(addAccount)},
		{"GET /_sim/accounts/{appid}", "", "one account and what it granted", showAccount},
		{"PATCH /_sim/accounts/{appid}", `{"verify_type":-1}`, "changes what is given; verify_type -1 is unverified", changeAccount},
		{"POST /_sim/accounts/{appid}/agents", `{"kf_account":"a@b","online":false}`, "adds or changes an agent", taking(setAgent)},
		{"POST /_sim/accounts/{appid}/authorize", `{"sets":[1,6]}`, "authorizes without pushes, as if the code was exchanged; no sets mean all", taking(authorizeAccount)},
		{"POST /_sim/accounts/{appid}/sets", `{"sets":[1]}`, "the merchant changes the permission sets: updateauthorized is pushed", taking(changeSets)},
		{"POST /_sim/accounts/{appid}/unauthorize", "", "the merchant withdraws: unauthorized is pushed", onAccount((*Sim).Unauthorize)},
		{"POST /_sim/accounts/{appid}/reject", "", "the newest access token is refused from now on; with the component's appid, the component token", onAccount((*Sim).Reject)},
		{"POST /_sim/accounts/{appid}/refresh_token", "", "replaces the refresh token without telling anyone", onAccount((*Sim).ReplaceRefreshToken)},
		{"POST /_sim/accounts/{appid}/login", `{"openid":"o…","scope":"snsapi_userinfo"}`, "a user logs in; answers the code; the scope is for web pages", taking(logIn)},
		{"POST /_sim/accounts/{appid}/messages", `{"openid":"o…","text":"在吗"}`, "a customer writes", taking(customerWrites)},
		{"POST /_sim/accounts/{appid}/forward", `{"openid":"o…"}`, "a customer writes and waits for an agent", taking(forward)},
		{"GET /_sim/accounts/{appid}/sessions/{openid}", "", "which agent serves a customer", showSession},
		{"POST /_sim/accounts/{appid}/sessions/{openid}", `{"kf_account":"a@b"}`, "an agent accepts a customer", taking(openSession)},
		{"PUT /_sim/accounts/{appid}/sessions/{openid}", `{"kf_account":"a@b","to":"c@b"}`, "an agent passes a customer to another", taking(switchSession)},
		{"DELETE /_sim/accounts/{appid}/sessions/{openid}", `{"kf_account":"a@b"}`, "an agent ends the session", taking(closeSession)},
		{"POST /_sim/synthetic", `{"count":1000}`, "adds authorized accounts; the i-th is wx5171 and i in 12 hex digits, its agent kf1@shop<i>", taking(addSynthetic)},
		{"POST /_sim/consent", `{"pre_auth_code":"preauthcode@@@…","appid":"wx…","sets":[1,6],"redirect_uri":"…"}`, "a merchant consents; answers the auth code; sets and redirect_uri may be left out", taking(consent)},
		{"POST /_sim/ticket", "", "pushes a ticket now", doing((*Sim).PushTicket)},
		{"DELETE /_sim/ticket", "", "stops tickets until api_start_push_ticket", doing((*Sim).StopTickets)},
		{"POST /_sim/release_test", "", "runs the full-network release test, and returns what passed", releaseTest},
		{"POST /_sim/probe", `{"url":"…","appid":"wx…"}`, "the console's GET with echostr; without url: the event URL", taking(probe)},
		{"GET /_sim/calls", "", "counts by path, and the last calls", showing((*Sim).calls)},
		{"DELETE /_sim/calls", "", "clears them", doing((*Sim).ResetCalls)},
		{"GET /_sim/pushes", "", "the last pushes and their results", showing((*Sim).Pushes)},
		{"POST /_sim/settle", "", "waits until everything is pushed", settle},
		{"POST /_sim/release", "", "sends the pushes that a fault holds back", doing((*Sim).Release)},
		{"GET /_sim/messages", "", "the last messages that customers received", showing((*Sim).Messages)},
		{"GET /_sim/faults", "", "the faults still to come", showing((*Sim).Faults)},
		{"POST /_sim/faults", `{"path":"/customservice/*","appid":"wx…","skip":0,"count":2,"when":"before|after","delay":"3s","do":"code|status|html|empty|edit|gzip|body|raw|cut|reset","code":-1}`,
			faultHelp, taking(addFault)},
		{"POST /_sim/push_faults", `{"kind":"authorized","appid":"wx…","count":1,"do":"lose|repeat|hold"}`, "something goes wrong with pushes; kind is InfoType, Event or MsgType", taking(addPushFault)},
		{"DELETE /_sim/faults", "", "ends all faults", doing((*Sim).ClearFaults)},
		{"PATCH /_sim/behaviour", `{"rotate_on_refresh":true}`, "switches; see the state for all of them", changeBehaviour},
		{"PUT /_sim/quotas", `{"path":"/customservice/kfsession/close","per_day":10,"per_minute":2}`, "limits an API for each account; 0 means no limit", taking(setQuota)},
		{"PUT /_sim/allowed_ips", `{"ips":["10.0.0.1"]}`, "the addresses that may call; none means all", taking(setAllowedIPs)},
		{"PUT /_sim/secret", `{"secret":"…"}`, "resets the component's secret", taking(setSecret)},
		{"PUT /_sim/envelope", `{"token":"…","aes_key":"…"}`, "changes how pushes are signed and encrypted", taking(setEnvelope)},
	}
}

const faultHelp = `something goes wrong with calls; all fields are optional, do too if the others imply it
      path      exact, or a prefix that ends with *        skip   leaves the first matching calls alone
      appid     the authorizer that a call is about        count  then strikes so many; -1 means for ever
      when      before WeChat acts, or after it            delay  comes first
      do        what is answered instead of the true answer:
        code    an errcode: {"code":40001}; -1 if there is none
        status  an HTML page with a status: {"status":502}
        html    an HTML page with 200
        empty   200 and no body
        cut     nothing, the connection is closed
        reset   nothing, the connection is reset
        body    anything: {"body":"{}","status":200,"header":{"Content-Type":"text/plain","Date":""}}; an empty header is left out
        gzip    the true answer, compressed
        raw     bytes instead of HTTP: {"do":"raw","body_base64":"AAE="}; body_base64 is for what is not UTF-8
        edit    the true answer, changed: {"set":{"authorization_info.func_info.0":null},"drop":["authorizer_info.alias"]}; "-" adds
                a last element; set_text is like set, for what is not JSON
      wire      what the connection does with the answer, true or not:
        close, reset            ends after it, unannounced
        half_close, half_reset  ends in the middle of it
        stray                   sends a second answer, extra or the same again, gap after the first; the connection is kept
        stray_with, stray_two   sends the second in the same segment; _two: in a TLS record of its own
        stray_before            sends the second first
        trickle                 sends it byte by byte, gap between them
        long_header             puts 70,000 bytes into its header
      gap       for a wire that waits: {"path":"/cgi-bin/*","wire":"stray","gap":"2ms"}`

// ControlHelp returns the manual of the control API.
func ControlHelp() string {
	var b strings.Builder
	for _, r := range controlTable() {
		fmt.Fprintf(&b, "%s\n", r.pattern)
		if r.body != "" {
			fmt.Fprintf(&b, "      %s\n", r.body)
		}
		fmt.Fprintf(&b, "      %s\n", r.help)
	}
	return b.String()
}

func (s *Sim) controlRoutes() http.Handler {
	mux := http.NewServeMux()
	for _, r := range controlTable() {
		pattern := r.pattern
		if strings.HasSuffix(pattern, "/") {
			pattern += "{$}"
		}
		mux.HandleFunc(pattern, func(w http.ResponseWriter, req *http.Request) {
			req.Body = http.MaxBytesReader(w, req.Body, maxRequestBody)
			result, err := r.act(s, req)
			writeControl(w, result, err)
		})
	}
	return mux
}

func writeControl(w http.ResponseWriter, result any, err error) {
	if text, plain := result.(string); plain && err == nil {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, text)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if err != nil {
		w.WriteHeader(controlStatus(err))
		result = map[string]string{"error": err.Error()}
	}
	if result == nil {
		result = struct{}{}
	}
	_, _ = w.Write(append(encode(result), '\n'))
}

func controlStatus(err error) int {
	var refusal *Refusal
	switch {
	case errors.Is(err, ErrUnknownAccount):
		return http.StatusNotFound
	case errors.As(err, &refusal), errors.Is(err, ErrNotAuthorized), errors.Is(err, ErrPreAuthCode), errors.Is(err, ErrInactive):
		return http.StatusConflict
	}
	return http.StatusBadRequest
}

// read decodes a body, which may be missing. It refuses unknown fields: a misspelt one would
// silently do nothing.
func read(r *http.Request, into any) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	return strictly(body, into)
}

func strictly(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

func appIDOf(r *http.Request) wechat.AppID   { return wechat.AppID(r.PathValue("appid")) }
func openIDOf(r *http.Request) wechat.OpenID { return wechat.OpenID(r.PathValue("openid")) }
