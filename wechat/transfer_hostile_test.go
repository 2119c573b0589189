package wechat

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"wxplatform/internal/seal"
)

// picture is a binary body that names the request it answers.
func picture(own string) string {
	_, body, _ := strings.Cut(own, "\r\n\r\n")
	return strings.Repeat("\xff"+body, 3000)
}

// inChunks sends body in chunks, as far as until says.
func inChunks(body string, until float64) string {
	var text strings.Builder
	text.WriteString("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	for len(body) > 0 {
		n := min(len(body), 10_000)
		fmt.Fprintf(&text, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	text.WriteString("0\r\n\r\n")
	return text.String()[:int(until*float64(text.Len()))]
}

func ofLength(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func inPieces(text string) (pieces []string) {
	for len(text) > 0 {
		n := min(len(text), 1+len(text)/9)
		pieces, text = append(pieces, text[:n]), text[n:]
	}
	return pieces
}

// pictures are what a host does with a request for a picture; whole says that it arrives.
var pictures = map[string]struct {
	conduct
	whole bool
}{
	"of its length":        {whole: true, conduct: saying(func(body, _ string) []string { return []string{ofLength(body)} })},
	"in chunks":            {whole: true, conduct: saying(func(body, _ string) []string { return []string{inChunks(body, 1)} })},
	"in small pieces":      {whole: true, conduct: saying(func(body, _ string) []string { return inPieces(ofLength(body)) })},
	"surplus":              {whole: true, conduct: saying(func(body, stray string) []string { return []string{ofLength(body) + stray} })},
	"surplus in a record":  {whole: true, conduct: saying(func(body, stray string) []string { return []string{ofLength(body), stray} })},
	"surplus after chunks": {whole: true, conduct: saying(func(body, stray string) []string { return []string{inChunks(body, 1) + stray} })},
	"a FIN in it":          {conduct: ending(func(body string) string { return ofLength(body)[:len(body)/2] }, (*peer).finish)},
	"a FIN before its end": {conduct: ending(func(body string) string { text := ofLength(body); return text[:len(text)-1] }, (*peer).finish)},
	"a RST in it":          {conduct: ending(func(body string) string { return ofLength(body)[:len(body)/2] }, (*peer).reset)},
	"a FIN in chunks":      {conduct: ending(func(body string) string { return inChunks(body, .5) }, (*peer).finish)},
	"no last chunk":        {conduct: ending(func(body string) string { return strings.TrimSuffix(inChunks(body, 1), "0\r\n\r\n") }, (*peer).finish)},
	"a RST in chunks":      {conduct: ending(func(body string) string { return inChunks(body, .5) }, (*peer).reset)},
	"no chunk":             {conduct: ending(func(body string) string { return inChunks(body, .5) + "nonsense\r\n" }, (*peer).finish)},
	"half a header":        {conduct: ending(func(body string) string { return ofLength(body)[:20] }, (*peer).finish)},
	"half a header, reset": {conduct: ending(func(body string) string { return ofLength(body)[:20] }, (*peer).reset)},
	"nothing":              {conduct: ending(func(string) string { return "" }, (*peer).finish)},
	"a long header": {conduct: ending(func(body string) string {
		return strings.Replace(ofLength(body), "\r\n", "\r\nX: "+strings.Repeat("x", headerLimit)+"\r\n", 1)
	}, (*peer).finish)},
	"two lengths": {conduct: ending(func(body string) string {
		return strings.Replace(ofLength(body), "\r\n", "\r\nContent-Length: 1\r\n", 1)
	}, (*peer).finish)},
	"another status": {conduct: ending(func(body string) string { return strings.Replace(ofLength(body), "200", "206", 1) }, (*peer).finish)},
}

func (p *peer) finish() { _ = p.TCPConn.Close() }

func saying(texts func(body, stray string) []string) conduct {
	return func(p *peer, own, stray string) bool {
		p.say(texts(picture(own), stray)...)
		return false
	}
}

func ending(text func(body string) string, end func(*peer)) conduct {
	return func(p *peer, own, _ string) bool {
		p.say(text(picture(own)))
		end(p)
		return false
	}
}

// A stream that ends without an error is the whole answer to its own request, whatever the host
// does; and calls beside it are not affected.
func TestNoStreamEndsEarly(t *testing.T) {
	var all errgroup.Group
	all.SetLimit(4)
	for name, c := range pictures {
		for _, scheme := range []string{"http", "https"} {
			all.Go(func() error {
				t.Run(name+"/"+scheme, func(t *testing.T) { fetchAll(t, scheme, c.conduct, c.whole) })
				return nil
			})
		}
	}
	_ = all.Wait()
}

func fetchAll(t *testing.T, scheme string, conduct conduct, whole bool) {
	const fetches = 12
	client, _, _ := hostile(t, scheme, conduct)
	var right atomic.Int64
	var fetching errgroup.Group
	fetching.SetLimit(8)
	for n := range fetches {
		fetching.Go(func() error {
			tag := fmt.Sprint("p", n)
			got, err := fetchPicture(client, tag)
			switch {
			case err == nil && got != picture(tagged(tag)):
				return fmt.Errorf("%s: a stream of %d bytes ended as if it were whole, want %d", tag, len(got), len(picture(tagged(tag))))
			case err == nil:
				right.Add(1)
			case whole && !NotSent(err): // a busy machine may not connect in time
				return fmt.Errorf("%s: %w", tag, err)
			}
			return nil
		})
	}
	if err := fetching.Wait(); err != nil {
		t.Error(err)
	}
	if got := right.Load() > 0; got != whole {
		t.Errorf("got %d of %d pictures, want them %v", right.Load(), fetches, whole)
	}
	if left := len(client.host.transfers); left > 0 {
		t.Errorf("got %d places taken after all ended", left)
	}
}

func fetchPicture(client *Client, tag string) (string, error) {
	a, err := client.Do(context.Background(), Call{
		Method: http.MethodGet, Path: "/x", Query: "tag=" + tag, As: AccessToken, Token: seal.NewSecret(canary), Streamed: true,
	})
	if err != nil {
		return "", err
	}
	defer a.Stream.Close()
	got, err := io.ReadAll(a.Stream)
	return string(got), err
}
