package component

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"wxplatform/internal/seal"
	"wxplatform/token"
	"wxplatform/wechat"
)

// ask asks for a component token (wechat-protocol §3.1). A component token has no refresh token: the ticket buys it.
func (c *Component) ask(ctx context.Context, _ seal.Secret) (token.Answer, error) {
	ticket := c.Newest()
	if ticket.Value.IsZero() {
		return token.Answer{}, fmt.Errorf("%w: %w", token.ErrNotAsked, ErrNoTicket)
	}
	var answer token.Answer
	_, err := c.wechat.Do(ctx, wechat.Call{
		Method: http.MethodPost,
		Path:   "/cgi-bin/component/api_component_token",
		Body: wechat.JSON(map[string]string{
			"component_appid":         string(c.AppID),
			"component_appsecret":     c.secret.Reveal(),
			"component_verify_ticket": ticket.Value.Reveal(),
		}),
		Once: true,
		Read: func(o wechat.Object) (lacks string) {
			var ok bool
			if answer.Access, ok = o.Secret("component_access_token"); !ok {
				return "component_access_token"
			}
			answer.ExpiresIn = o.Life("expires_in")
			return ""
		},
	})
	return answer, err
}

// StartPush asks WeChat to push tickets again (wechat-protocol §1.3).
func (c *Component) StartPush(ctx context.Context) error {
	_, err := c.Greet(ctx)
	return err
}

// GreetPath is the API that Greet calls.
const GreetPath = "/cgi-bin/component/api_start_push_ticket"

// Greet is StartPush for whoever wants to know whether WeChat is there, knows the secret and takes calls from this address: it changes nothing while tickets are pushed. It returns WeChat's clock.
// The secret is named component_secret here, and component_appsecret above.
func (c *Component) Greet(ctx context.Context) (time.Time, error) {
	answer, err := c.wechat.Do(ctx, wechat.Call{
		Method: http.MethodPost,
		Path:   GreetPath,
		Body:   wechat.JSON(map[string]string{"component_appid": string(c.AppID), "component_secret": c.secret.Reveal()}),
	})
	return answer.DateAsSaid(), err
}
