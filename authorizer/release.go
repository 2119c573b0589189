package authorizer

import (
	"context"
	"fmt"
	"net/http"

	"wxplatform/wechat"
)

// SendText sends a custom message (docs/wechat.md, "Custom messages") for id on the platform's own
// account. WeChat's release test requires it; tenants cannot reach it.
func (r *Registry) SendText(ctx context.Context, id wechat.AppID, to wechat.OpenID, text string) error {
	with, err := r.token(ctx, id)
	if err != nil {
		return fmt.Errorf("access token of %s: %w", id, err)
	}
	_, err = r.api.send(ctx, with, wechat.Call{
		Method: http.MethodPost,
		Path:   "/cgi-bin/message/custom/send",
		Body:   wechat.JSON(map[string]any{"touser": to, "msgtype": "text", "text": map[string]string{"content": text}}),

		Explicit: true,
	})
	return err
}
