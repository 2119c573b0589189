// Package relay makes every WeChat API of a merchant's account available to its tenant, at two
// doors: below /v1/authorizers/{appid}, and at WeChat's own paths for SDKs.
//
// The catalogue (catalogue.tsv) describes WeChat's APIs. What it does not list is relayed only for
// clients with the scope wechat:any. It stores nothing: while SQL or Redis is unavailable it works
// as long as package authorizer can admit the caller and has a token.
package relay
