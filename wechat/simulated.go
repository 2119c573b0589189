package wechat

import (
	"bytes"
	"context"
)

// Simulated returns a client that passes each request to send, as the bytes that it would write to
// a connection. send returns a status and a body, or an error and whether a byte may have left this
// machine. The request belongs to send. It is for simulations without a network.
func Simulated(send func(ctx context.Context, request []byte) (status int, body string, left bool, err error)) *Client {
	return &Client{
		host: &host{name: "simulated"},
		send: func(ctx context.Context, request []byte, how delivery) (answer, bool, error) {
			ctx, cancel := context.WithDeadline(ctx, how.until)
			defer cancel()
			status, body, left, err := send(ctx, bytes.Clone(request))
			return answer{status: status, body: []byte(body)}, left, err
		},
	}
}
