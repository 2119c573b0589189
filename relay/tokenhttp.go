package relay

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"wxplatform/internal/requestlog"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// WeChatJSON is the Content-Type of WeChat's JSON answers.
const WeChatJSON = "application/json; encoding=utf-8"

// Routes adds the routes to e.
func (h TokenHandler) Routes(e *echo.Echo) {
	for path, methods := range tokenCalls {
		for _, method := range methods {
			e.Add(method, path, h.token)
		}
	}
}

// tokenCalls are the paths of the calls, with their methods.
var tokenCalls = map[string][]string{"/cgi-bin/token": {"GET", "POST"}, "/cgi-bin/stable_token": {"POST"}}

// IsTokenCall reports whether path is that of one of the calls.
func IsTokenCall(path string) bool { return tokenCalls[path] != nil }

type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int    `json:"expires_in"`
}

type refusal struct {
	Code    wechat.Code `json:"errcode"`
	Message string      `json:"errmsg"`
}

func (h TokenHandler) token(c echo.Context) error {
	grant, err := h.grant(c.Request())
	if err != nil {
		return err
	}
	return answerSDK(c, tokenAnswer{grant.Token.Reveal(), saidLifetime})
}

func (h TokenHandler) grant(request *http.Request) (tenant.Grant, error) {
	parameters, err := Parameters(request)
	if err != nil {
		return tenant.Grant{}, err
	}
	return h.bind(request.Context(), parameters)
}

// Refuse answers an SDK with an errcode and an errmsg, which ends with the request's id.
func Refuse(c echo.Context, code wechat.Code, message string) error {
	return answerSDK(c, refusal{code, message + " rid: " + requestlog.ID(c.Request().Context())})
}

func answerSDK(c echo.Context, answer any) error {
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return AnswerLikeWeChat(c, body)
}

// AnswerLikeWeChat answers an SDK with JSON as WeChat does: always with status 200. body has no
// line break, because one SDK cannot read that.
func AnswerLikeWeChat(c echo.Context, body []byte) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.Blob(http.StatusOK, WeChatJSON, body)
}
