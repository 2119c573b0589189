// Package wechatsim simulates WeChat on your machine: the third-party platform's API, the
// customer-service API, the consent page and the encrypted pushes, with the state behind them.
// Tokens expire, are replaced and overlap; refresh tokens can change or get lost; pushes come late,
// twice or never.
//
// It shares only the encryption of pushes and the types of ids with the platform that it tests, so
// that a misunderstanding of WeChat cannot cancel itself out. It does what WeChat's documents say.
// Where they are silent or disagree, Behaviour chooses between the readings that matter.
//
// # In a Go test
//
//	sim, err := wechatsim.New(wechatsim.Config{EventURL: …, MessageURL: "http://…/$APPID$/…"})
//	server := httptest.NewServer(sim)   // WeChat's API and its consent pages
//	sim.PushTicket()                    // or go sim.Run(ctx)
//	sim.Consent(ctx, preAuthCode, wechatsim.SampleService, 1, 6)
//	sim.Fault(wechatsim.Fault{Path: refreshPath, When: wechatsim.After, Do: wechatsim.Cut})
//	sim.Settle(ctx)                     // everything is pushed
//	sim.Close()
//
// Its clock is Config.Now; only delays and the ticker of Run use the machine's. Close leaves no
// goroutine behind.
//
// A Fault chooses what is answered, and separately what the connection does with the answer: the
// third call answered {}, the true answer without a field or with another type, the true answer
// twice, or -1 although WeChat has acted and then an unannounced end of the connection.
//
//	text := func(s string) map[string]json.RawMessage {
//		return map[string]json.RawMessage{"expires_in": []byte(s)}
//	}
//	sim.Fault(wechatsim.Fault{Path: path, Skip: 2, Body: "{}"})
//	sim.Fault(wechatsim.Fault{Path: path, Drop: []string{"expires_in"}})
//	sim.Fault(wechatsim.Fault{Path: path, Set: text(`"7200"`)})
//	sim.Fault(wechatsim.Fault{Path: path, Wire: wechatsim.StrayAfter, Gap: time.Millisecond})
//	sim.Fault(wechatsim.Fault{
//		Path: path, When: wechatsim.After, Code: -1, Wire: wechatsim.CloseAfter,
//	})
//
// Faults of the connection work on every server of net/http's that lets connections be hijacked,
// with and without TLS.
//
// # Files
//
// Uploads are parsed as WeChat does: it answers 412 to a body in chunks, and knows neither quoted
// boundaries nor filename*. A fault that strikes before an upload is answered without reading its
// body, and AddMedia gives an account a file of any size to fetch.
//
// # In the field
//
// With Behaviour.Field, answers and pushes are odd in ways that real platforms met: numbers are
// texts or floats, names hold control bytes, lists have entries that say nothing, members are
// missing where others have reported that, connections end unannounced, and pushes come twice, in
// JSON, or with blanks in their elements. Which oddities the n-th answer or push has depends on the
// seed alone. No token is lost and no errcode is wrong, so a platform that tolerates all of it
// loses nothing. field.go names the source of each oddity.
//
// # As a process
//
// cmd/wechatsim serves it. Everything that a test can do through Go, a script can do through HTTP,
// under /_sim/ of the same address. There is no password: the address should be reachable only by
// those who test. Bodies are JSON. GET /_sim/ returns the manual, with an example of each body:
//
//	GET    /_sim/
//	GET    /_sim/state
//	GET    /_sim/accounts
//	POST   /_sim/accounts
//	GET    /_sim/accounts/{appid}
//	PATCH  /_sim/accounts/{appid}
//	POST   /_sim/accounts/{appid}/agents
//	POST   /_sim/accounts/{appid}/authorize
//	POST   /_sim/accounts/{appid}/sets
//	POST   /_sim/accounts/{appid}/unauthorize
//	POST   /_sim/accounts/{appid}/reject
//	POST   /_sim/accounts/{appid}/refresh_token
//	POST   /_sim/accounts/{appid}/login
//	POST   /_sim/accounts/{appid}/messages
//	POST   /_sim/accounts/{appid}/forward
//	GET    /_sim/accounts/{appid}/sessions/{openid}
//	POST   /_sim/accounts/{appid}/sessions/{openid}
//	PUT    /_sim/accounts/{appid}/sessions/{openid}
//	DELETE /_sim/accounts/{appid}/sessions/{openid}
//	POST   /_sim/synthetic
//	POST   /_sim/consent
//	POST   /_sim/ticket
//	DELETE /_sim/ticket
//	POST   /_sim/release_test
//	POST   /_sim/probe
//	GET    /_sim/calls
//	DELETE /_sim/calls
//	GET    /_sim/pushes
//	POST   /_sim/settle
//	POST   /_sim/release
//	GET    /_sim/messages
//	GET    /_sim/faults
//	POST   /_sim/faults
//	DELETE /_sim/faults
//	POST   /_sim/push_faults
//	PATCH  /_sim/behaviour
//	PUT    /_sim/quotas
//	PUT    /_sim/allowed_ips
//	PUT    /_sim/secret
//	PUT    /_sim/envelope
//
// # The consent page
//
// A merchant's browser comes to it from a link on a page whose host equals that of redirect_uri.
// WeChat, and so the simulator, takes that host from the Referer, and refuses a link without one.
// Behaviour.AnyReferer switches that off.
package wechatsim
