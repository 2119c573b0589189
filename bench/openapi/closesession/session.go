package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"wxplatform/bench/openapi/client"
)

// session is the demo's session, and a client that has a JWT.
type session struct {
	*demo
	api *client.ClientWithResponses
}

// signIn gets a JWT for the demo's client.
func (d *demo) signIn(ctx context.Context) (session, error) {
	api, err := client.NewClientWithResponses(d.url)
	if err != nil {
		return session{}, err
	}
	answer, err := api.GetTokenWithFormdataBodyWithResponse(ctx, client.GetTokenFormdataRequestBody{
		GrantType: "client_credentials", ClientId: &d.id, ClientSecret: &d.secret,
	})
	if err != nil {
		return session{}, err
	}
	if answer.JSON200 == nil {
		return session{}, fmt.Errorf("getToken answered %s", answer.Status())
	}
	bearer := func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", string(answer.JSON200.TokenType)+" "+answer.JSON200.AccessToken)
		return nil
	}
	api, err = client.NewClientWithResponses(d.url, client.WithRequestEditorFn(bearer))
	return session{d, api}, err
}

// closeOnce opens the session, finds it open, and closes it.
func (s session) closeOnce(ctx context.Context) error {
	created, err := s.api.CreateSessionWithResponse(ctx, s.appid, s.session)
	if err != nil || created.JSON200 == nil {
		return errors.Join(err, fmt.Errorf("createSession answered %v", created))
	}
	found, err := s.api.GetSessionWithResponse(ctx, s.appid, &client.GetSessionParams{Openid: s.session.Openid})
	if err != nil || found.JSON200 == nil || found.JSON200.KfAccount != s.session.KfAccount {
		return errors.Join(err, fmt.Errorf("getSession answered %v", found))
	}
	closed, err := s.api.CloseSessionWithResponse(ctx, s.appid, s.session)
	if err != nil || closed.JSON200 == nil || closed.JSON200.Errcode != 0 {
		return errors.Join(err, fmt.Errorf("closeSession answered %v", closed))
	}
	return nil
}

// closeAgain closes the session that is closed: the problem no-session, with WeChat's errcode.
func (s session) closeAgain(ctx context.Context) error {
	again, err := s.api.CloseSessionWithResponse(ctx, s.appid, s.session)
	if err != nil {
		return err
	}
	p := again.ApplicationproblemJSON409
	if p == nil || p.Type != "/problems/no-session" || p.Retryable || p.Errcode == nil || *p.Errcode != 65413 {
		return fmt.Errorf("closeSession of a closed session answered %s %s", again.Status(), again.Body)
	}
	return nil
}
