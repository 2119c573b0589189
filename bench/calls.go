package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"wxplatform/token"
	"wxplatform/wechat/wechatsim"
)

// A merchant's number is in the access token and in the body of its calls, so that the upstream can
// tell whether they belong together. It is near the end of each, because LuaJIT (load.lua,
// gateway.lua) hashes only a few bytes of a long text, the last four among them: 100,000 texts that
// differed only in their middle would all have the same hash.
const (
	closePath = "/customservice/kfsession/close"

	tokenBegins = "83_"
	tokenRandom = 93  // bytes
	tokenLength = 139 // as WeChat's
	bodyBegins  = `{"openid":"` + string(wechatsim.SampleCustomer) + `","kf_account":"kf1@`
	bodyEnds    = `"}`
)

func number(i int) string    { return fmt.Sprintf("%012x", i) }
func closeBody(i int) string { return bodyBegins + number(i) + bodyEnds }

func accessToken(i int) string {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(i))
	random := make([]byte, tokenRandom)
	_, _ = rand.NewChaCha8(seed).Read(random)
	return tokenBegins + base64.RawURLEncoding.EncodeToString(random) + number(i)
}

// call is a request that closes a session of one merchant.
type call struct{ path, jwt, body string }

// call returns the i-th merchant's call through the program. All programs get the same headers.
// Those that pass calls through get WeChat's path with the access token.
func (b *bench) call(p *program, i int) call {
	return b.callOf(p.passes, i)
}

func (b *bench) callOf(passes bool, i int) call {
	path := "/v1/authorizers/" + string(wechatsim.SyntheticAppID(i)) + closePath
	if passes {
		path = closePath + "?access_token=" + accessToken(i)
	}
	return call{path, b.jwts[i], closeBody(i)}
}

func (c call) text() string {
	return "POST " + c.path + " HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer " + c.jwt +
		"\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(c.body)) + "\r\n\r\n" + c.body
}

// fillMerchants writes the merchants, all of the client's tenant, with access tokens that were got
// just now.
func (b *bench) fillMerchants(ctx context.Context) error {
	b.sim.AddSynthetic(b.merchants + b.idle)
	if err := b.open(ctx); err != nil {
		return err
	}
	now, life := time.Now(), token.DefaultTimes().Life
	inUse := renewal{got: now, used: now, due: now.Add(life * 4 / 10), life: life, early: life * 6 / 10, late: life / 8}
	cold := renewal{got: now.Add(-100 * life), used: now.Add(-100 * life), life: life, early: inUse.early, late: inUse.late}
	return b.fill(ctx, b.merchants+b.idle, func(i int) filled {
		r := inUse
		if i >= b.merchants {
			r = cold
		}
		return b.row(i, b.client.owner, accessToken(i), r)
	})
}

// mintAll makes a JWT for each merchant. They are all of one client and all different.
func (b *bench) mintAll(ctx context.Context) (err error) {
	b.jwts, err = b.mint(ctx, "http://"+b.address, time.Now(), b.merchants)
	return err
}

// writeCalls writes the files with the calls that wrk makes: one a line, in the form PATH TAB JWT
// TAB BODY.
func (b *bench) writeCalls() error {
	return errors.Join(b.writeCallsOf(true), b.writeCallsOf(false))
}

func (b *bench) writeCallsOf(passes bool) error {
	file, err := os.Create(b.callsFile(passes))
	if err != nil {
		return err
	}
	out := bufio.NewWriter(file)
	for i := range b.merchants {
		c := b.callOf(passes, i)
		_, _ = fmt.Fprintf(out, "%s\t%s\t%s\n", c.path, c.jwt, c.body)
	}
	return errors.Join(out.Flush(), file.Close())
}

func (b *bench) callsFile(passes bool) string {
	return filepath.Join(b.binaries, fmt.Sprintf("calls-passes-%v", passes))
}

// conn is one connection to a program, for one request after the other.
type conn struct {
	net.Conn
	in *bufio.Reader
}

func dial(ctx context.Context, address string) (*conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &conn{c, bufio.NewReader(c)}, nil
}

// send sends a request, and returns the status and the body of the answer.
func (c *conn) send(request string) (int, string, error) {
	if _, err := io.WriteString(c, request); err != nil {
		return 0, "", err
	}
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body), err
}

// close makes a call, which must succeed.
func (c *conn) close(session call) error {
	status, body, err := c.send(session.text())
	if err == nil && (status != http.StatusOK || body != answerOK) {
		err = fmt.Errorf("a close was answered with %d %s", status, strings.TrimSpace(body))
	}
	return err
}

// closeOnce closes a session of the first merchant.
func (b *bench) closeOnce(ctx context.Context, p *program) error {
	c, err := dial(ctx, p.address())
	if err != nil {
		return err
	}
	defer c.Close()
	return c.close(b.call(p, 0))
}

// atOnce is over how many connections the merchants' first calls are made.
const atOnce = 16

// closeAll closes a session of every merchant.
func (b *bench) closeAll(ctx context.Context, p *program) error {
	began := time.Now()
	group, closing := errgroup.WithContext(ctx)
	for first := range atOnce {
		group.Go(func() error { return b.closeFrom(closing, p, first) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	fmt.Fprintf(os.Stderr, "%s: %d merchants called in %v\n", p.name, b.merchants, time.Since(began).Round(time.Millisecond))
	time.Sleep(rest)
	return p.checkLog(int64(b.merchants))
}

// closeFrom closes a session of one in atOnce merchants.
func (b *bench) closeFrom(ctx context.Context, p *program, first int) error {
	c, err := dial(ctx, p.address())
	if err != nil {
		return err
	}
	defer c.Close()
	for i := first; i < b.merchants && ctx.Err() == nil; i += atOnce {
		if err := c.close(b.call(p, i)); err != nil {
			return fmt.Errorf("merchant %d: %w", i, err)
		}
	}
	return ctx.Err()
}
