package wechatsim

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// steer calls the control API.
func (r *rig) steer(method, path, body string) (int, object) {
	r.t.Helper()
	req, err := http.NewRequest(method, r.server.URL+path, strings.NewReader(body))
	r.must(err)
	resp, err := http.DefaultTransport.RoundTrip(req)
	r.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	r.must(err)
	if strings.HasPrefix(string(text), "[") {
		text = []byte(`{"list":` + string(text) + `}`)
	}
	var answer object
	if err := json.Unmarshal(text, &answer); err != nil {
		r.t.Fatalf("%s %s answered %s", method, path, text)
	}
	return resp.StatusCode, answer
}

func (r *rig) steered(method, path, body string) object {
	r.t.Helper()
	status, answer := r.steer(method, path, body)
	if status != http.StatusOK {
		r.t.Errorf("%s %s: got %d %v", method, path, status, answer)
	}
	return answer
}

func TestControlTellsAWholeStory(t *testing.T) {
	r := newRig(t)
	account := r.steered("POST", "/_sim/accounts", `{"kind":"service","nick_name":"茶馆","alias":"tea","customer_service":true,"agents":[{"kf_account":"a@tea","online":true},{"kf_account":"b@tea","online":true}]}`)
	base := "/_sim/accounts/" + account["appid"].(string)
	consent := r.steered("POST", "/_sim/consent", `{"pre_auth_code":"`+r.preAuthCode()+`","appid":"`+account["appid"].(string)+`","sets":[1],"redirect_uri":"https://a/b"}`)
	if !strings.HasPrefix(consent["location"].(string), "https://a/b?auth_code=queryauthcode%40%40%40") {
		t.Errorf("got %v, want a location", consent)
	}
	r.want(0, r.exchange(consent["auth_code"].(string)))
	const who = "/sessions/" + string(SampleCustomer)
	r.steered("POST", base+"/messages", `{"openid":"`+string(SampleCustomer)+`","text":"在吗"}`)
	r.steered("POST", base+"/forward", `{"openid":"`+string(SampleCustomer)+`"}`)
	r.steered("POST", base+who, `{"kf_account":"a@tea"}`)
	r.steered("PUT", base+who, `{"kf_account":"a@tea","to":"b@tea"}`)
	if got := r.steered("GET", base+who, ""); got["kf_account"] != "b@tea" {
		t.Errorf("got %v, want b@tea", got)
	}
	if got := r.steered("GET", base, ""); got["served"] != 1.0 || got["authorized"] != true {
		t.Errorf("got %v, want one served", got)
	}
	r.steered("DELETE", base+who, `{"kf_account":"b@tea"}`)
	r.steered("POST", base+"/sets", `{"sets":[1,6]}`)
	r.steered("POST", base+"/refresh_token", "")
	r.steered("POST", base+"/reject", "")
	r.steered("PATCH", base, `{"verify_type":-1}`)
	r.steered("POST", base+"/agents", `{"kf_account":"a@tea","online":false}`)
	changed := r.steered("GET", base, "")
	if changed["verify_type"] != -1.0 || changed["nick_name"] != "茶馆" || changed["agents"].([]any)[0].(object)["online"] != false {
		t.Errorf("got %v, want what was changed, and only that", changed)
	}
	r.steered("POST", base+"/unauthorize", "")
	r.steered("POST", base+"/authorize", "")
	r.steered("POST", "/_sim/ticket", "")
	r.steered("POST", "/_sim/settle", "")
	kinds := ""
	for _, p := range r.Pushes() {
		kinds += p.Kind + " "
	}
	if want := "authorized text kf_create_session kf_switch_session kf_close_session updateauthorized unauthorized component_verify_ticket "; sorted(kinds) != sorted(want) {
		t.Errorf("got %s, want %s", kinds, want)
	}
}

// sorted makes words comparable if their order is a matter of luck: pushes about different accounts
// overtake each other.
func sorted(words string) string {
	fields := strings.Fields(words)
	slices.Sort(fields)
	return strings.Join(fields, " ")
}

func TestControlSteersTheSimulator(t *testing.T) {
	r := newRig(t)
	r.steered("POST", "/_sim/synthetic", `{"count":10}`)
	r.steered("POST", "/_sim/faults", `{"path":"/cgi-bin/*","count":5,"code":-1}`)
	r.steered("POST", "/_sim/push_faults", `{"do":"hold"}`)
	r.steered("PATCH", "/_sim/behaviour", `{"rotate_on_refresh":true}`)
	r.steered("PUT", "/_sim/quotas", `{"path":"/customservice/kfsession/close","per_day":10}`)
	r.steered("POST", "/_sim/ticket", "")
	r.want(-1, r.do(componentTokenPath, nil, r.credentials()))
	state := r.steered("GET", "/_sim/state", "")
	if state["synthetic"] != 10.0 || state["authorized"] != 10.0 || state["pushes_held"] != 1.0 || len(state["faults"].([]any)) != 1 ||
		state["behaviour"].(object)["rotate_on_refresh"] != true || state["quotas"].(object)[closePath].(object)["per_day"] != 10.0 {
		t.Errorf("got %v", state)
	}
	r.steered("POST", "/_sim/release", "")
	r.steered("DELETE", "/_sim/faults", "")
	r.steered("DELETE", "/_sim/ticket", "")
	r.steered("PUT", "/_sim/allowed_ips", `{"ips":["127.0.0.1"]}`)
	r.want(0, r.do(componentTokenPath, nil, r.credentials()))
	if got := r.steered("GET", "/_sim/calls", ""); got["counts"].(object)[componentTokenPath] != 2.0 {
		t.Errorf("got %v, want two calls", got)
	}
	r.steered("DELETE", "/_sim/calls", "")
	r.steered("PUT", "/_sim/secret", `{"secret":"another"}`)
	r.steered("POST", "/_sim/probe", "")
	r.steered("PUT", "/_sim/envelope", `{"token":"tok","aes_key":"`+DefaultAESKey+`"}`)
	for _, path := range []string{"accounts", "pushes", "messages", "faults"} {
		if _, is := r.steered("GET", "/_sim/"+path, "")["list"]; !is {
			t.Errorf("%s: want a list", path)
		}
	}
}

func TestControlSaysWhatIsWrong(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/_sim/accounts/wx1", "", 404},
		{"POST", "/_sim/accounts/wx1/unauthorize", "", 404},
		{"POST", "/_sim/accounts/" + string(SampleService) + "/unauthorize", "", 409},
		{"POST", "/_sim/accounts/" + string(SampleService) + "/sessions/x", `{"kf_account":"test1@test"}`, 409},
		{"POST", "/_sim/consent", `{"appid":"` + string(SampleService) + `"}`, 409},
		{"POST", "/_sim/faults", `{"cound":1}`, 400},
		{"POST", "/_sim/push_faults", `{"do":"explode"}`, 400},
		{"POST", "/_sim/accounts", `{"appid":"x"}`, 400},
		{"POST", "/_sim/synthetic", `{"count":0}`, 400},
		{"PUT", "/_sim/quotas", `{"path":"/x"}`, 400},
		{"PUT", "/_sim/secret", `{}`, 400},
		{"PUT", "/_sim/envelope", `{"token":"t","aes_key":"short"}`, 400},
		{"POST", "/_sim/accounts/" + string(SampleService) + "/agents", `{}`, 400},
	} {
		status, answer := r.steer(c.method, c.path, c.body)
		if status != c.status || answer["error"] == "" {
			t.Errorf("%s %s: got %d %v, want %d", c.method, c.path, status, answer, c.status)
		}
	}
}

func TestStateHasNoSecret(t *testing.T) {
	r := newRigAuthorized(t)
	r.consent(SampleService)
	r.pushes()
	for _, path := range []string{"state", "accounts", "accounts/" + string(SampleService), "calls", "pushes"} {
		text, err := json.Marshal(r.steered("GET", "/_sim/"+path, ""))
		r.must(err)
		for _, secret := range []string{r.LastAccessToken(SampleService), r.RefreshToken(SampleService), r.LastComponentToken(), r.Ticket(), DefaultSecret, DefaultToken, DefaultAESKey, "queryauthcode"} {
			if strings.Contains(string(text), secret) {
				t.Errorf("%s holds %.20s…", path, secret)
			}
		}
	}
}

func TestManualAndPackageDocHaveEveryRoute(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	squeezed := strings.Join(strings.Fields(string(doc)), " ") + " "
	for _, route := range controlTable() {
		if !strings.Contains(squeezed, "// "+route.pattern+" ") {
			t.Errorf("the package doc has no %s", route.pattern)
		}
	}
	resp, err := http.Get(newRig(t).server.URL + "/_sim/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	manual, err := io.ReadAll(resp.Body)
	if err != nil || string(manual) != ControlHelp() {
		t.Errorf("got %s, %v, want the manual", manual, err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// People copy the examples of the manual, so each must be accepted.
func TestManualsExamplesAreRead(t *testing.T) {
	for _, route := range controlTable() {
		if route.body != "" && !json.Valid([]byte(route.body)) {
			t.Errorf("%s: %s is not JSON", route.pattern, route.body)
		}
	}
	examples := regexp.MustCompile(`\{".*\}`).FindAllString(faultHelp, -1)
	for _, text := range examples {
		var f Fault
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	if len(examples) != 6 {
		t.Errorf("got %d examples of faults, want 6", len(examples))
	}
}

func TestTheManualHasEveryFault(t *testing.T) {
	for _, effect := range effects[1:] {
		if !strings.Contains(faultHelp, "        "+string(effect)+" ") && !strings.Contains(faultHelp, "  "+string(effect)+" ") {
			t.Errorf("the manual has no do %s", effect)
		}
	}
	words := strings.FieldsFunc(faultHelp, func(r rune) bool { return r == ' ' || r == ',' || r == '\n' })
	for _, wire := range wires[1:] {
		if !slices.Contains(words, string(wire)) {
			t.Errorf("the manual has no wire %s", wire)
		}
	}
}
