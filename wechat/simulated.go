package wechat

import (
	"context"
	"net/http"
)

// Simulated is a client whose requests go to send, as they would be written to a connection: for the simulation. send answers with a status and a body, or fails, and then left says whether a byte may have left.
func Simulated(send func(ctx context.Context, request []byte) (status int, body string, left bool, err error)) *Client {
	return &Client{
		host: &host{name: "simulated"},
		send: func(ctx context.Context, request []byte, _ delivery) (answer, bool, error) {
			status, body, left, err := send(ctx, request)
			return answer{status: status, header: http.Header{}, body: []byte(body)}, left, err
		},
	}
}
