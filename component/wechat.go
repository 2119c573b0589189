package component

import (
	"context"
	"net/http"
	"time"

	"wxplatform/internal/seal"
	"wxplatform/token"
	"wxplatform/wechat"
)

// tokenRequest asks for a component token (docs/wechat.md, "Component token"). There is no refresh
// token: the ticket is what WeChat gives the token for. It is a token.Asker.
type tokenRequest struct {
	c      *Component
	ticket Ticket
}

// Prepare takes the newest ticket. It fails with ErrNoTicket.
func (q *tokenRequest) Prepare(ctx context.Context) error {
	q.c.lookForTicket(ctx)
	if q.ticket = q.c.Newest(); q.ticket.Value.IsZero() {
		return ErrNoTicket
	}
	return nil
}

// Send asks WeChat for a token with the ticket.
func (q *tokenRequest) Send(ctx context.Context, _ seal.Secret) (token.Answer, error) {
	var answer token.Answer
	_, err := q.c.wechat.Do(ctx, wechat.Call{
		Method: http.MethodPost,
		Path:   "/cgi-bin/component/api_component_token",
		Body: wechat.JSON(map[string]string{
			"component_appid":         string(q.c.AppID),
			"component_appsecret":     q.c.secret.Reveal(),
			"component_verify_ticket": q.ticket.Value.Reveal(),
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

// Conclude returns err. It records nothing, because every replica sees the component token's state
// in SQL.
func (q *tokenRequest) Conclude(_ context.Context, err error) error { return err }

// StartPush asks WeChat to push tickets again (docs/wechat.md, "Start push").
func (c *Component) StartPush(ctx context.Context) error {
	_, err := c.Greet(ctx)
	return err
}

// GreetPath is the path that Greet calls.
const GreetPath = "/cgi-bin/component/api_start_push_ticket"

// Greet is StartPush for a caller that checks whether WeChat is reachable, accepts the secret and
// accepts calls from this address: only errcode 0 says so, because a proxy may answer 200 as well.
// It changes nothing while tickets are pushed. It returns WeChat's clock. The field is
// component_secret here, and component_appsecret in a token request.
func (c *Component) Greet(ctx context.Context) (time.Time, error) {
	answer, err := c.wechat.Do(ctx, wechat.Call{
		Method:   http.MethodPost,
		Path:     GreetPath,
		Body:     wechat.JSON(map[string]string{"component_appid": string(c.AppID), "component_secret": c.secret.Reveal()}),
		Explicit: true,
	})
	return answer.DateAsSaid(), err
}
