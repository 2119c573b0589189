package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"wxplatform/bench/sdk/sdk"
	"wxplatform/bench/sdk/world"
	"wxplatform/wechat"
)

const (
	refreshPath = "/cgi-bin/component/api_authorizer_token"
	customer    = "oDF3iY9ffA-hqb2vVvbr7qxf6A0Q"
)

// suite runs the cases, one after the other: some SDKs have their host in a variable of the
// process, and every call that reaches WeChat belongs to the case that runs.
type suite struct {
	world *world.World
	file  string // 3 MB, as a picture
	photo []byte
}

// trial is one SDK with merchants of its own.
type trial struct {
	*suite
	subject
	front  *world.Front
	tenant world.Tenant
	shop   world.Merchant // granted everything
	poor   world.Merchant // granted nothing that messages need, and withdraws in the end
	mini   world.Merchant // has a mini program
	opened int
	asked  int // of WeChat's calls, those that a tally has seen
	bodies int // how many bodies WeChat got as the SDK sent them
}

func (s *suite) runAll(ctx context.Context, which *regexp.Regexp) *table {
	t := &table{}
	var trials []*trial
	for _, one := range subjects() {
		if !which.MatchString(one.Name) {
			continue
		}
		made, err := s.prepare(ctx, one)
		if err != nil {
			t.add(one, "set up", "", err)
			continue
		}
		defer made.front.Close()
		trials = append(trials, made)
	}
	for _, phase := range [][]oneCase{cases(), lastCases()} { // the last ones wait until a withdrawal counts
		for _, made := range trials {
			for _, one := range phase {
				said, err := made.try(ctx, one)
				t.add(made.subject, one.name, said, err)
			}
		}
	}
	return t
}

// prepare makes the SDK's tenant and merchants.
func (s *suite) prepare(ctx context.Context, one subject) (*trial, error) {
	t := &trial{suite: s, subject: one}
	if err := s.makeFile(); err != nil {
		return nil, err
	}
	var err error
	if t.tenant, err = s.world.NewTenant(one.Name); err != nil {
		return nil, err
	}
	alias := strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(one.Name))
	if t.shop, err = s.world.NewMerchant(ctx, t.tenant, alias, 1, 3, 4, 6, 11, 15); err != nil {
		return nil, err
	}
	if t.poor, err = s.world.NewMerchant(ctx, t.tenant, alias+"2", 3); err != nil {
		return nil, err
	}
	if t.mini, err = s.world.NewMiniProgram(ctx, t.tenant, alias+"3"); err != nil {
		return nil, err
	}
	if t.front, err = s.world.NewFront(one.Secure); err != nil {
		return nil, err
	}
	t.asked = s.world.WeChat.Count()
	return t, nil
}

// makeFile writes 3 MB that begin like a JPEG.
func (s *suite) makeFile() error {
	if s.photo != nil {
		return nil
	}
	s.photo = make([]byte, 3<<20)
	_, _ = rand.Read(s.photo)
	copy(s.photo, "\xff\xd8\xff\xe0")
	return os.WriteFile(s.file, s.photo, 0o600)
}

// try runs a case. Whatever the case finds, every answer must be one that all SDKs can read, and
// every body must reach WeChat as it was sent.
func (t *trial) try(ctx context.Context, one oneCase) (string, error) {
	_, _ = t.tally()
	said, err := one.run(ctx, t)
	t.world.Sim.ClearFaults()
	t.front.Stale("")
	_, unread := t.tally()
	if errors.Is(err, sdk.ErrNotOffered) {
		said, err = "-", nil
	}
	return said, errors.Join(err, unread)
}

// open sets the SDK up anew, with an empty cache, for the shop or as changed.
func (t *trial) open(change ...func(*sdk.Settings)) (sdk.Client, error) {
	t.opened++
	s := sdk.Settings{
		Base: t.front.Base, CA: t.front.CA, AppID: t.shop.AppID, Secret: t.tenant.Secret,
		Dir: filepath.Join(t.world.Dir, t.Name, fmt.Sprint(t.opened)),
	}
	for _, one := range change {
		one(&s)
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, err
	}
	return t.Open(s)
}

// using calls the SDK once with an empty cache.
func (t *trial) using(call func(sdk.Client) error, change ...func(*sdk.Settings)) error {
	c, err := t.open(change...)
	if err != nil {
		return err
	}
	defer c.Close()
	return call(c)
}

func addresses(c sdk.Client) error { return c.Addresses() }

func send(text string) func(sdk.Client) error {
	return func(c sdk.Client) error { return c.Send(customer, text) }
}

// tally is how many requests there were.
type tally struct {
	Tokens    int // token calls of the SDK
	Calls     int // other calls of the SDK
	WeChat    int // calls that reached WeChat for the account
	Refreshes int // of the account's access token
}

// tally counts what happened since the last tally. It fails if an SDK could not read an answer, or
// if WeChat got other bytes than the SDK sent.
func (t *trial) tally() (tally, error) {
	said, err := t.front.Take()
	asked := t.world.WeChat.Since(t.asked)
	t.asked += len(asked)
	var n tally
	for _, e := range said {
		if world.IsTokenCall(e.Path) {
			n.Tokens++
		} else {
			n.Calls++
		}
	}
	for _, c := range asked {
		switch {
		case c.Path == refreshPath:
			n.Refreshes++
		case strings.HasPrefix(c.Path, "/sns/"):
			n.WeChat++ // the platform makes another call of it
		case !strings.HasPrefix(c.Path, "/cgi-bin/component/"):
			n.WeChat++
			err = errors.Join(err, t.sent(c, said))
		}
	}
	return n, err
}

// sent fails unless the SDK sent a call as WeChat got it. WxJava puts two slashes before a path.
func (t *trial) sent(c world.Call, said []world.Exchange) error {
	same := slices.ContainsFunc(said, func(e world.Exchange) bool {
		return e.Method == c.Method && strings.TrimLeft(e.Path, "/") == c.Path[1:] && e.Query == c.Query && e.ContentType == c.ContentType && bytes.Equal(e.Body, c.Body)
	})
	if !same {
		return fmt.Errorf("WeChat got %s %s?%s, %d bytes of %q, which the SDK did not send", c.Method, c.Path, c.Query, len(c.Body), c.ContentType)
	}
	t.bodies++
	return nil
}

// want fails unless exactly so much happened since the last tally.
func (t *trial) want(want tally) error {
	got, err := t.tally()
	if got != want {
		err = errors.Join(err, fmt.Errorf("got %+v, want %+v", got, want))
	}
	return err
}

// atMost fails if more happened since the last tally: a storm.
func (t *trial) atMost(most tally) error {
	got, err := t.tally()
	if got.Tokens > most.Tokens || got.Calls > most.Calls || got.WeChat > most.WeChat || got.Refreshes > most.Refreshes {
		err = errors.Join(err, fmt.Errorf("got %+v, want at most %+v", got, most))
	}
	return err
}

// told fails unless the SDK told its caller the errcode.
func told(err error, code int) error {
	var refused *sdk.Refused
	switch {
	case errors.Is(err, sdk.ErrNotOffered):
		return err
	case !errors.As(err, &refused):
		return fmt.Errorf("got %w, want errcode %d", hidden(err), code)
	case refused.Code != code:
		return fmt.Errorf("got %w, want errcode %d", hidden(refused), code)
	}
	return nil
}

var secrets = regexp.MustCompile(`(access_token|secret)=[^&"\s]*|wxs_[A-Za-z0-9_-]+|eyJ[A-Za-z0-9_.-]+`)

// hidden returns an error without tokens and secrets: some SDKs put whole URLs into theirs.
func hidden(err error) error {
	if err == nil {
		return errors.New("success")
	}
	return errors.New(secrets.ReplaceAllString(err.Error(), "…"))
}

func (t *trial) appid() wechat.AppID { return wechat.AppID(t.shop.AppID) }

// customerWrites lets the shop answer a customer.
func (t *trial) customerWrites() error {
	return t.world.Sim.CustomerMessage(t.appid(), customer, "在吗 "+url.QueryEscape(t.Name))
}
