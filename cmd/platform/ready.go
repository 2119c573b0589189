package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

type readyCmd struct{ format }

// Run succeeds if the platform on PLATFORM_PRIVATE_LISTEN serves, degraded or not. With --json it
// prints the body of /readyz, also if it fails; the status of a platform that does not answer is
// "unreachable".
func (c readyCmd) Run(s shell) error {
	e := &environment{lookup: s.lookup}
	address := e.get(settingNamed("PLATFORM_PRIVATE_LISTEN"))
	if err := errors.Join(e.faults...); err != nil {
		return err
	}
	r, err := askReady(s.ctx, address)
	if err != nil && s.ctx.Err() != nil { // says nothing about the platform
		return err
	}
	if err != nil && r.Status == "" {
		r = readiness{Status: "unreachable", Reasons: []string{err.Error()}}
	}
	if c.JSON {
		return errors.Join(err, printJSON(s.out, r))
	}
	if err != nil {
		return err
	}
	lines := append(append([]string{r.Status}, r.Reasons...), r.ReasonsZH...)
	for _, one := range r.Replicas {
		line := one.line()
		lines = append(lines, "replica "+line.en, "副本 "+line.zh)
	}
	_, err = fmt.Fprintln(s.out, strings.Join(lines, "\n  "))
	return err
}

// askReady reads /readyz of the platform whose operations listener is at address. It returns what
// a platform that is stopping says, and an error.
func askReady(ctx context.Context, address string) (readiness, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return readiness{}, fmt.Errorf("PLATFORM_PRIVATE_LISTEN: %w", err)
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return readiness{}, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return readiness{}, fmt.Errorf("no platform answers: %w", err)
	}
	defer response.Body.Close()
	var r readiness
	if err := json.NewDecoder(response.Body).Decode(&r); err != nil || response.StatusCode != http.StatusOK {
		return r, fmt.Errorf("not ready: HTTP %d %s", response.StatusCode, strings.Join(r.Reasons, "; "))
	}
	return r, nil
}
