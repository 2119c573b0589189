package authorizer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"wxplatform/component"
	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/seal"
	"wxplatform/share"
	"wxplatform/token"
	"wxplatform/wechat"
)

// uploads is a registry with a WeChat that takes uploads.
type uploads struct {
	keeping
	mu      sync.Mutex
	got     []string // the token and the body of each upload
	rejects func(token string) bool
	busy    bool // no token can be refreshed
}

func takesUploads(t *testing.T, life time.Duration, rejects func(token string) bool) *uploads {
	t.Helper()
	u := &uploads{rejects: rejects}
	server := httptest.NewServer(http.HandlerFunc(u.answer))
	t.Cleanup(server.Close)
	d := dbtest.Open(t, dbtest.SQLiteURL(t))
	u.Registry = replica(t, d, dbtest.Ring(t), server.URL)
	err := errors.Join(
		u.component.Keep(ctx, component.Ticket{Value: seal.NewSecret("ticket"), Created: time.Now(), Received: time.Now()}),
		d.Tx(ctx, func(tx *db.Tx) error {
			_, err := u.Grant(ctx, tx, Grant{AppID: id, Answer: token.Answer{Access: seal.NewSecret("a"), Refresh: seal.NewSecret("r"), ExpiresIn: life}, Sent: time.Now()})
			return err
		}))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (u *uploads) answer(w http.ResponseWriter, r *http.Request) {
	if u.busy && strings.HasSuffix(r.URL.Path, "/api_authorizer_token") {
		fmt.Fprint(w, `{"errcode":-1,"errmsg":"system error"}`)
		return
	}
	if r.URL.Path != "/cgi-bin/media/upload" {
		u.keeping.answer(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	with := r.URL.Query().Get("access_token")
	u.mu.Lock()
	defer u.mu.Unlock()
	u.got = append(u.got, with+" "+string(body))
	if u.rejects(with) {
		fmt.Fprint(w, `{"errcode":40001,"errmsg":"invalid credential"}`)
		return
	}
	fmt.Fprint(w, `{"media_id":"m"}`)
}

func (u *uploads) upload(t *testing.T) (wechat.Answer, error) {
	t.Helper()
	turn, err := u.BeginStream(ctx, Admitted{Authorizer: Authorizer{AppID: id}})
	if err != nil {
		t.Fatal(err)
	}
	defer turn.End()
	return turn.Call(ctx, wechat.Call{Method: "POST", Path: "/cgi-bin/media/upload", Upload: strings.NewReader("body"), UploadLength: 4})
}

func never(string) bool { return false }

func TestAnUploadIsSentWithATokenThatLasts(t *testing.T) {
	for life, want := range map[time.Duration]string{time.Hour: "[a body]", 4 * time.Minute: "[a1 body]"} {
		u := takesUploads(t, life, never)
		if _, err := u.upload(t); err != nil || fmt.Sprint(u.got) != want {
			t.Errorf("a token for %v: got %v and %v, want %v", life, u.got, err, want)
		}
	}
}

func TestAnUploadIsSentWithTheOldTokenWhereThereIsNoOther(t *testing.T) {
	u := takesUploads(t, 4*time.Minute, never)
	u.busy = true
	if _, err := u.upload(t); err != nil || fmt.Sprint(u.got) != "[a body]" {
		t.Errorf("got %v and %v, want it sent with the token that there is", u.got, err)
	}
}

func TestAnUploadIsNotRepeatedAfterARejection(t *testing.T) {
	u := takesUploads(t, time.Hour, func(token string) bool { return token == "a" })
	answer, err := u.upload(t)
	if !errors.Is(err, ErrTokenReplaced) || !strings.Contains(string(answer.Body), "40001") {
		t.Errorf("got %v and %s, want ErrTokenReplaced", err, answer.Body)
	}
	if _, err := u.upload(t); err != nil || fmt.Sprint(u.got) != "[a body a1 body]" {
		t.Errorf("got %v and %v, want the next upload to succeed with a newer token", u.got, err)
	}
}

func TestAnUploadThatWeChatAlwaysRejectsDoesNotAskForTokensForever(t *testing.T) {
	u := takesUploads(t, time.Hour, func(string) bool { return true })
	var err error
	for range 10 {
		_, err = u.upload(t)
	}
	if asks := u.asks.Load(); !errors.Is(err, ErrRejected) || errors.Is(err, ErrTokenReplaced) || asks > 6 {
		t.Errorf("got %v after %d refreshes, want ErrRejected", err, asks)
	}
}

func TestStreamsHaveSlotsOfTheirOwn(t *testing.T) {
	u := takesUploads(t, time.Hour, never)
	a := Admitted{Authorizer: Authorizer{AppID: id, Tenant: "one"}}
	var err error
	for err == nil {
		_, err = u.BeginStream(ctx, a)
	}
	if !errors.Is(err, share.ErrOver) {
		t.Errorf("got %v, want its share used up", err)
	}
	turn, err := u.Begin(context.Background(), a)
	if err != nil {
		t.Fatalf("got %v, want a call beside the streams", err)
	}
	turn.End()
	if got := u.StreamUsage(); len(got) != 1 || got[0].InFlight < wechat.MostTransfers/2 || got[0].Over != 1 || u.Usage()[0].Over != 0 {
		t.Errorf("got %+v of streams, want most of them in flight", got)
	}
}
