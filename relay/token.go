package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"

	"wxplatform/authorizer"
	"wxplatform/internal/requestlog"
	"wxplatform/internal/seal"
	"wxplatform/internal/strict"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// TokenHandler serves WeChat's two token calls to SDKs. They send an account's appid and, in place
// of its appsecret, the secret of a client, and get a JWT for that account in place of its access
// token. While SQL is unavailable, clients and accounts that are known get a JWT as before; others
// are told 45011, after which SDKs wait and try again.
type TokenHandler struct{ Gate SecretGate }

// SecretGate finds the client and the account of a request that carries an account's appid and, in
// place of its appsecret, the secret of a client, as SDKs send it.
type SecretGate struct {
	Tenants     *tenant.Registry
	Authorizers *authorizer.Registry
}

// saidLifetime is how many seconds an SDK is told that the JWT lives. It lives five minutes longer,
// as WeChat's tokens do, because some SDKs use it to the last second.
const saidLifetime = 7200

// The codes of refusals that only these calls have. Refusals never say 40001, 42001 or -1: some
// SDKs repeat the token call after those without end.
const (
	BadGrantType  wechat.Code = 40002
	BadAppID      wechat.Code = 40013
	badParameters wechat.Code = 47001
)

// Fault is what is wrong with a request, with the errcode that WeChat has for it.
type Fault struct {
	Code wechat.Code
	Why  string
}

// Error returns Why.
func (f *Fault) Error() string { return f.Why }

var (
	errGrantType  = &Fault{BadGrantType, "invalid grant_type: it must be client_credential, once"}
	errAppID      = &Fault{BadAppID, "invalid appid: it is missing, or no appid"}
	errParameters = &Fault{badParameters, "data format error: the query or the body cannot be read"}
)

// bind gives out a JWT for the account that the parameters name. A merchant's withdrawal is not
// looked at: the calls that the JWT is used for are refused with what WeChat says then.
func (h TokenHandler) bind(ctx context.Context, parameters url.Values) (tenant.Grant, error) {
	if OnlyValue(parameters, "grant_type") != "client_credential" {
		return tenant.Grant{}, errGrantType
	}
	client, appid, err := h.Gate.Client(ctx, parameters)
	if err != nil {
		return tenant.Grant{}, err
	}
	return h.Gate.Tenants.Bind(ctx, client, string(appid))
}

// Client returns the client whose secret the parameters have, and the account of its tenant that
// they name. It says nothing about the account to a caller without a client's secret. It fails with
// a *Fault, authorizer.ErrUnknown, or like tenant.Registry.BySecret.
func (g SecretGate) Client(ctx context.Context, parameters url.Values) (tenant.Client, wechat.AppID, error) {
	appid := wechat.AppID(OnlyValue(parameters, "appid"))
	if !appid.Plausible() {
		return tenant.Client{}, "", errAppID
	}
	client, err := g.Tenants.BySecret(ctx, seal.NewSecret(OnlyValue(parameters, "secret")))
	if err != nil {
		return tenant.Client{}, "", err
	}
	requestlog.Add(ctx, "tenant", string(client.Tenant))
	requestlog.Add(ctx, "client", string(client.ID))
	if _, err := g.Authorizers.Get(ctx, client.Tenant, appid); err != nil {
		return tenant.Client{}, "", err
	}
	requestlog.Add(ctx, "appid", string(appid))
	return client, appid, nil
}

// OnlyValue returns the value of a parameter. If it has several that differ, one reader would take
// the first and another the last, so none counts.
func OnlyValue(parameters url.Values, name string) string {
	values := parameters[name]
	for _, value := range values {
		if value != values[0] {
			return ""
		}
	}
	return parameters.Get(name)
}

// Parameters reads the parameters from the query, and from the body of a POST, which is a form or a
// JSON object. Its Content-Type is not looked at: some SDKs send JSON without one. It fails with a
// *Fault.
func Parameters(request *http.Request) (url.Values, error) {
	parameters, err := url.ParseQuery(request.URL.RawQuery)
	if err != nil {
		return nil, errParameters
	}
	if request.Method != http.MethodPost {
		return parameters, nil
	}
	body, err := io.ReadAll(io.LimitReader(request.Body, strict.BodyLimit+1))
	if err != nil || len(body) > strict.BodyLimit || readBody(bytes.TrimSpace(body), parameters) != nil {
		return nil, errParameters
	}
	return parameters, nil
}

func readBody(body []byte, into url.Values) error {
	if bytes.HasPrefix(body, []byte("{")) {
		return readObject(body, into)
	}
	form, err := url.ParseQuery(string(body))
	for name, values := range form {
		into[name] = append(into[name], values...)
	}
	return err
}

// readObject reads the members of one JSON object. It keeps both values of a name that comes twice.
func readObject(body []byte, into url.Values) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	_, err := decoder.Token()
	for err == nil && decoder.More() {
		err = readMember(decoder, into)
	}
	if err == nil {
		_, err = decoder.Token()
	}
	if _, end := decoder.Token(); err == nil && end != io.EOF {
		return errParameters
	}
	return err
}

// readMember reads one member. A value that is not a string counts as an empty one.
func readMember(decoder *json.Decoder, into url.Values) error {
	token, err := decoder.Token()
	name, ok := token.(string)
	if err != nil || !ok {
		return errParameters
	}
	var value any
	if err := decoder.Decode(&value); err != nil {
		return err
	}
	text, _ := value.(string)
	into.Add(name, text)
	return nil
}
